"""Modules of others that are waited for: until the application imports them, if it ever does,
nothing of ours is done to it."""

import sys


class Imports:
    """A finder that calls functions with the modules of some names, once each is imported."""

    def __init__(self, functions):
        self.functions = dict(functions)
        for name in functions:
            if name in sys.modules:  # something in site-packages has been faster
                self.functions.pop(name)(sys.modules[name])
        if self.functions:
            sys.meta_path.insert(0, self)

    def find_spec(self, name, path=None, target=None):
        if name not in self.functions:
            return None
        for finder in list(sys.meta_path):
            spec = finder.find_spec(name, path, target) if finder is not self and hasattr(finder, "find_spec") else None
            if spec is not None and hasattr(spec.loader, "exec_module"):
                return self.follow(name, spec)
            if spec is not None:
                return spec
        return None

    def follow(self, name, spec):
        """Have the module's own loader, which it keeps, tell when it has loaded it."""
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            then = self.functions.pop(name, None)
            if not self.functions and self in sys.meta_path:
                sys.meta_path.remove(self)
            if then:
                then(module)

        try:
            spec.loader.exec_module = exec_module
        except AttributeError:
            pass  # a loader of somebody else's: all is as if we were not there
        return spec
