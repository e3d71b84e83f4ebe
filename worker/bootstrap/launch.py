# What python runs as -c, with the settings and the number of a descriptor as its
# arguments. Behind that are the modules of the package _hostler, as text. To compile
# them takes more than two megabytes, which Python would not give back: a child does that,
# and this process never sees the text.
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

    def compiled(fd):
        """The modules' code, marshalled, by their names."""
        return {
            name: marshal.dumps(compile(text, "<%s.py>" % name.replace("_hostler", "hostler").replace(".", "/"), "exec"))
            for name, text in texts(fd).items()
        }

    def compiled_elsewhere(fd):
        r, w = os.pipe()
        try:
            pid = os.fork()
        except OSError:
            pid = -1
        if pid == 0:
            try:
                os.close(r)  # or a child whose parent is killed would wait for itself to read
                data = marshal.dumps(compiled(fd))
                while data:
                    data = data[os.write(w, data) :]
            finally:
                os._exit(0)
        os.close(w)
        data = b""
        if pid > 0:
            with os.fdopen(r, "rb") as f:
                data = f.read()
            os.waitpid(pid, 0)
        else:
            os.close(r)
        try:
            return marshal.loads(data)
        except (EOFError, ValueError, TypeError):
            return compiled(fd)  # if that fails, here is where it is said

    class Finder:
        """Finds and loads the package and its modules, each once, and nothing else."""

        def __init__(self, codes):
            self.codes = codes

        def find_spec(self, name, path=None, target=None):
            if name in self.codes:
                return ModuleSpec(name, self, origin="hostler", is_package=any(n.startswith(name + ".") for n in self.codes))
            return None

        def create_module(self, spec):
            return None

        def exec_module(self, module):
            exec(marshal.loads(self.codes.pop(module.__name__)), vars(module))

        def close(self):
            """No more modules are needed."""
            self.codes.clear()
            if self in sys.meta_path:
                sys.meta_path.remove(self)

    fd = int(sys.argv[2])
    finder = Finder(compiled_elsewhere(fd))
    os.close(fd)
    sys.meta_path.insert(0, finder)
    del globals()["launch"]

    from _hostler import stdlib

    stdlib.prefer_standard_library()
    from _hostler import start

    start.main(finder)


launch()
