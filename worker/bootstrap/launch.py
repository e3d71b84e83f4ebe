# What python runs as -c, with the settings and the number of a descriptor as its
# arguments. Behind that are the modules of the package _hostler, as text. To compile
# them takes more than two megabytes, which Python would not give back, and tens of
# milliseconds: another process does that, in the order in which they are needed, while this
# one, which never sees the text, imports what it has of them, and then the application.
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
        """The names of the modules that each process needs, and the texts of all by their
        names: a line with the former, and "NAME SIZE" and a line end before each text."""
        data, found = b"", {}
        while len(data) < os.fstat(fd).st_size:
            data += os.pread(fd, 1 << 20, len(data))  # all processes have one offset
        first, _, data = data.partition(b"\n")
        while data:
            head, _, data = data.partition(b"\n")
            name, size = head.decode().split()
            found[name], data = data[: int(size)], data[int(size) :]
        return first.decode().split(), found

    def code(name, text):
        return marshal.dumps(compile(text, "<%s.py>" % name.replace("_hostler", "hostler").replace(".", "/"), "exec"))

    def compiler(fd, asked, out):
        """Compile what each process needs, and then what is asked for. Who reads may be busy
        with other things: what the pipe does not take is kept, and said once all is compiled."""
        first, modules = texts(fd)
        rest = marshal.dumps((first, list(modules)))
        while first:
            os.set_blocking(out, False)
            for name in first:
                rest += marshal.dumps((name, code(name, modules[name])))
                try:
                    rest = rest[os.write(out, rest) :]
                except BlockingIOError:
                    pass
            os.set_blocking(out, True)
            while rest:
                rest = rest[os.write(out, rest) :]
            first = os.read(asked, 1 << 16).decode().split()

    def compile_elsewhere(fd, asked, out):
        """Have a process do that which is nobody's child, as what runs here meanwhile may be
        others' code, which waits for children. It has nothing else of ours, and ends with
        who reads; if that has left children behind which have the pipe, in ten minutes."""
        try:
            child = os.fork()
        except OSError:
            return
        if child:
            os.waitpid(child, 0)
            return
        try:
            least = 0
            for n in sorted((fd, asked, out)):
                os.closerange(least, n)
                least = n + 1
            os.closerange(least, least + 1000)
            if os.fork() == 0:
                import _signal

                _signal.alarm(600)
                compiler(fd, asked, out)
        finally:
            os._exit(0)

    class Finder:
        """Finds and loads the package and its modules, each once, and nothing else. What was
        not asked for, or does not come, is compiled here; if that fails, here is where it is
        said. Descriptors are known by their files: others' code may close them, and have
        something else by their numbers."""

        def __init__(self, fd):
            self.codes = {}
            r, out = os.pipe()
            asked, ask = os.pipe()
            self.fd, self.r, self.ask = fd, r, ask
            os.set_inheritable(fd, False)  # not for programs that the application runs
            self.files = {n: os.fstat(n).st_ino for n in (fd, r, ask)}
            compile_elsewhere(fd, asked, out)
            os.close(out)
            os.close(asked)
            self.pipe = open(r, "rb", closefd=False)
            first, self.names = self.read() or ((), list(texts(fd)[1]))
            self.coming = set(first)

        def is_ours(self, fd):
            try:
                return os.fstat(fd).st_ino == self.files[fd]
            except (OSError, KeyError):
                return False

        def drop(self, fd):
            if self.is_ours(fd):
                os.close(fd)
            self.files.pop(fd, None)

        def read(self):
            """What the compiler says next, or None if it says nothing more."""
            try:
                return marshal.load(self.pipe) if self.is_ours(self.r) else None
            except (EOFError, ValueError, TypeError):
                return None

        def more(self):
            """Wait for another module."""
            found = self.read()
            if found:
                self.codes[found[0]] = found[1]
                self.coming.discard(found[0])
            else:
                self.coming = set()

        def need(self, names):
            """Have these compiled, too, in this order. It is called once, before others' code."""
            names = [n for n in dict.fromkeys("_hostler." + n for n in names) if n in self.names]
            try:
                os.write(self.ask, " ".join(names).encode())
                self.coming.update(names)
            except OSError:
                pass
            self.drop(self.ask)

        def whole(self):
            """Wait until all that was asked for is there, and the compiler has ended."""
            self.drop(self.ask)
            while self.coming:
                self.more()
            self.drop(self.r)

        def find_spec(self, name, path=None, target=None):
            if name in self.names:
                return ModuleSpec(name, self, origin="hostler", is_package=any(n.startswith(name + ".") for n in self.names))
            return None

        def create_module(self, spec):
            return None

        def exec_module(self, module):
            name = module.__name__
            while name in self.coming:
                self.more()
            if name not in self.codes:
                if not self.is_ours(self.fd):
                    raise ImportError("the descriptor with %s was closed by the application" % name)
                self.codes[name] = code(name, texts(self.fd)[1][name])
            exec(marshal.loads(self.codes.pop(name)), vars(module))

        def close(self):
            """No more modules are needed."""
            self.whole()
            self.drop(self.fd)
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
