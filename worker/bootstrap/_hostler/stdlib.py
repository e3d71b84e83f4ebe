"""What this package imports is the standard library's, whatever files of the same names
lie where the application is: a json.py there must not prevent the start, nor a
traceback.py lose tracebacks. So this module comes first, and imports next to nothing."""

import os
import sys

# All that the package imports, now or when it needs it, and what these import, by
# the union of CPython's versions. (The application finds those, too: other servers have
# imported most of them before it comes.)
OWN = frozenset(
    """
    __future__ _asyncio _bisect _bootlocale _bz2 _collections_abc _colorize _compat_pickle _compression _contextvars _ctypes _heapq
    _interpreters _json _lzma _missing_stdlib_info _opcode _opcode_metadata _pickle _posixsubprocess _py_warnings _queue _random _sha2
    _sha512 _socket _ssl _struct _typing _weakrefset abc annotationlib array ast asyncio base64 binascii bisect bz2 codecs codeop
    collections compression concurrent configparser contextlib contextvars copy copyreg ctypes dataclasses dis enum fcntl fnmatch
    functools genericpath grp hashlib heapq html importlib inspect io ipaddress json keyword linecache locale logging lzma math ntpath
    opcode operator os pathlib pickle posixpath queue random re reprlib select selectors shutil signal socket socketserver sre_compile
    sre_constants sre_parse ssl stat string struct subprocess tempfile textwrap threading token tokenize traceback types typing
    unicodedata urllib warnings weakref zlib
    """.split()
)


_when_imported = {}  # functions, by the names of modules


class StandardLibrary:
    """A finder that goes before those of sys.path."""

    def __init__(self, finder, path):
        self.finder = finder
        self.path = path

    def find_spec(self, name, path=None, target=None):
        if path is not None or name not in OWN:
            return None
        spec = self.finder.find_spec(name, self.path, target)
        if spec and name in _when_imported:
            spec.loader = Then(spec.loader, _when_imported.pop(name))
        return spec


class Then:
    """A loader that calls a function with the module that another has loaded."""

    def __init__(self, loader, then):
        self.loader = loader
        self.then = then

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self.loader  # as if we had not been there
        self.loader.exec_module(module)
        self.then(module)


def when_imported(name, then):
    """Have then(module) called once a module of OWN is imported, now if it is."""
    if name in sys.modules:
        then(sys.modules[name])
    else:
        _when_imported[name] = then


def copy_of(name):
    """Return a module of the standard library's, if need be one of our own: the name is
    left to the application, which may have a package of it."""
    for finder in sys.meta_path:
        if isinstance(finder, StandardLibrary):
            spec = finder.finder.find_spec(name, finder.path)
            module = type(sys)(name)
            spec.loader.exec_module(module)
            return module
    return __import__(name)


def prefer_standard_library():
    home = os.path.dirname(os.__file__)
    path = [p for p in sys.path if p == home or os.path.dirname(p) == home and not p.endswith("-packages")]
    finders = [f for f in sys.meta_path if getattr(f, "__name__", "") == "PathFinder"]
    if path and finders:  # else it is a Python that is built in some other way
        sys.meta_path.insert(sys.meta_path.index(finders[0]), StandardLibrary(finders[0], path))
