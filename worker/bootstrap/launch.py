# What python runs as -c, with the settings and the number of a descriptor as its
# arguments. Behind that are the modules of the package _hostler, as text. To compile
# them takes more than two megabytes, which Python would not give back, and tens of
# milliseconds: a child does that, in the order in which they are needed, while this process,
# which never sees the text, imports what it has of them.
#
# It must be valid for any Python up to the version's check, and imports nothing but what
# each Python has built in, since the application's directory may be where Python looks
# first. Of all this nothing stays in __main__, which is the application's.
def launch():
    import marshal
    import os
    import sys

    # How the library got in here, under musl, is nothing to the application's children.
    ours, _, theirs = os.environ.get("LD_PRELOAD", "").partition(":")
    if ours == "/proc/self/fd/5":
        del os.environ["LD_PRELOAD"]
        if theirs:
            os.environ["LD_PRELOAD"] = theirs
    # Nor is what keeps Python from looking where the application is before we are here:
    # from 3.13 on, -c itself imports a module.
    if os.environ.get("PYTHONSAFEPATH") == "hostler":
        del os.environ["PYTHONSAFEPATH"]

    if sys.version_info < (3, 8):
        text = "Python %d.%d is too old: hostler needs 3.8 or newer (%s)" % (sys.version_info[0], sys.version_info[1], sys.executable)
        os.write(3, b"F" + text.encode("utf-8"))
        os._exit(1)

    from _frozen_importlib import ModuleSpec

    def texts(fd):
        """The modules' texts by their names: "NAME SIZE" and a line end before each."""
        data, found = b"", {}
        while len(data) < os.fstat(fd).st_size:
            data += os.pread(fd, 1 << 20, len(data))  # all processes have one offset
        while data:
            head, _, data = data.partition(b"\n")
            name, size = head.decode().split()
            found[name], data = data[: int(size)], data[int(size) :]
        return found

    def code(name, text):
        return marshal.dumps(compile(text, "<%s.py>" % name.replace("_hostler", "hostler").replace(".", "/"), "exec"))

    class Finder:
        """Finds and loads the package and its modules, each once, and nothing else. While a
        child compiles them, in the order in which they come, those that have been compiled
        can be imported."""

        def __init__(self, fd):
            self.fd, self.names, self.codes, self.used = fd, (), {}, set()
            r, w = os.pipe()
            try:
                self.child = os.fork()
            except OSError:
                self.child = -1
            if self.child == 0:
                try:
                    os.close(r)  # or a child whose parent is killed would wait for itself to read
                    with os.fdopen(w, "wb") as out:
                        modules = texts(fd)
                        marshal.dump(list(modules), out)
                        for name in modules:
                            marshal.dump((name, code(name, modules[name])), out)
                            out.flush()
                finally:
                    os._exit(0)
            os.close(w)
            self.pipe = os.fdopen(r, "rb")
            self.names = self.read() or list(texts(fd))

        def read(self):
            """What the child says next, or None if it says nothing more."""
            try:
                return marshal.load(self.pipe)
            except (EOFError, ValueError, TypeError):
                return None

        def more(self):
            """Wait for another module."""
            found = self.pipe and self.read()
            if found:
                self.codes[found[0]] = found[1]
            return found

        def whole(self):
            """Wait until all are there, and the child has ended: what comes now may be others'
            code. What could not be compiled elsewhere is compiled here; if that fails, here
            is where it is said."""
            if not self.pipe:
                return
            while self.more():
                pass
            self.pipe.close()
            self.pipe = None
            if self.child > 0:
                os.waitpid(self.child, 0)
            missing = [n for n in self.names if n not in self.codes and n not in self.used]
            if missing:
                modules = texts(self.fd)
                self.codes.update((n, code(n, modules[n])) for n in missing)
            os.close(self.fd)

        def find_spec(self, name, path=None, target=None):
            if name in self.names:
                return ModuleSpec(name, self, origin="hostler", is_package=any(n.startswith(name + ".") for n in self.names))
            return None

        def create_module(self, spec):
            return None

        def exec_module(self, module):
            name = module.__name__
            while name not in self.codes:
                if not self.more():
                    self.whole()
                    break
            self.used.add(name)
            exec(marshal.loads(self.codes.pop(name)), vars(module))

        def close(self):
            """No more modules are needed."""
            self.whole()
            self.names = ()
            self.codes.clear()
            if self in sys.meta_path:
                sys.meta_path.remove(self)

    finder = Finder(int(sys.argv[2]))
    sys.meta_path.insert(0, finder)
    del globals()["launch"]

    from _hostler import stdlib

    stdlib.prefer_standard_library()
    from _hostler import start

    start.main(finder)


launch()
