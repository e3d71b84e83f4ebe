# What a worker process runs first: import the application, load the server into
# this interpreter, serve. It is given to python as -c, with the settings as JSON.
# Until the version is checked it must be valid for any Python.
import io
import os
import sys

CONTROL, LIBRARY, LISTENERS = 3, 5, 8  # 4: the scoreboard, 6 and 7: the exchange


def fail(text):
    """Tell the master why there is no worker, and go."""
    os.write(CONTROL, b"F" + text.encode("utf-8", "backslashreplace")[-60000:])
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(1)


def check_python():
    if sys.version_info < (3, 8):
        fail("Python %d.%d is too old: hostler needs 3.8 or newer (%s)" % (sys.version_info[0], sys.version_info[1], sys.executable))
    if sys.implementation.name != "cpython":
        fail("hostler needs CPython, and %s is %s" % (sys.executable, sys.implementation.name))
    if "t" in getattr(sys, "abiflags", ""):
        fail("the free-threaded build of Python is not supported yet (%s)" % sys.executable)
    try:
        libc = os.confstr("CS_GNU_LIBC_VERSION")
    except (ValueError, OSError):
        libc = None
    if not libc:
        fail("%s is built for a C library other than glibc (musl?): a Go library cannot be loaded into it (golang/go#13492)" % sys.executable)


def load_app(spec):
    """Return the application that MODULE[:ATTR | :FACTORY()] names."""
    name, _, attr = spec.partition(":")
    import importlib

    module = importlib.import_module(name)
    if not attr:
        for attr in ("application", "app"):
            if hasattr(module, attr):
                break
        else:
            fail("module %r has neither 'application' nor 'app'; say which: %s:NAME" % (name, name))
    factory = attr.endswith("()")
    obj = module
    for part in (attr[:-2] if factory else attr).split("."):
        try:
            obj = getattr(obj, part)
        except AttributeError:
            fail("cannot find %r in module %r" % (attr, name))
    if factory:
        if not callable(obj):
            fail("%r in module %r is not callable" % (attr[:-2], name))
        obj = obj()
    if not callable(obj):
        fail("%r in module %r is not callable, but %s" % (attr, name, type(obj).__name__))
    return obj


def real_file(f):
    """Return f, or the file in it, if reading from it is the same as reading from
    its descriptor; else None. (A GzipFile has a fileno(), too.)"""
    if type(f).__name__ == "_TemporaryFileWrapper" and type(f).__module__ == "tempfile":
        f = f.file
    raw = f.raw if type(f) in (io.BufferedReader, io.BufferedRandom) else f
    return f if type(raw) is io.FileIO else None


class FileWrapper:
    """wsgi.file_wrapper; a real file goes out through sendfile(2)."""

    def __init__(self, filelike, blksize=8192):
        self.filelike = filelike
        self.blksize = blksize
        self.real = real_file(filelike)
        if hasattr(filelike, "close"):
            self.close = filelike.close

    def __iter__(self):
        return self

    def __next__(self):
        data = self.filelike.read(self.blksize)
        if data:
            return data
        raise StopIteration


def report(method, target, type_, value, tb):
    """Log an exception that the application let go."""
    import traceback

    lines = traceback.format_exception(type_, value, tb)
    sys.stderr.write("hostler: the application raised on %s %s\n%s" % (method, target.encode("ascii", "backslashreplace").decode(), "".join(lines)))
    sys.stderr.flush()


def base_environ(settings, listener, early_hints):
    env = {
        "SCRIPT_NAME": "",
        "QUERY_STRING": "",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": listener["host"],
        "SERVER_PORT": listener["port"],
        "SERVER_SOFTWARE": "hostler",
        "REMOTE_ADDR": "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": settings["threads"] > 1,
        "wsgi.multiprocess": settings["workers"] > 1,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
        "wsgi.file_wrapper": FileWrapper,
        "wsgi.early_hints": early_hints,
    }
    return env


def load_library():
    """Load the server. Signals are blocked meanwhile, so that the threads it
    starts keep them blocked, and Python's handlers run on Python's threads."""
    import signal
    from importlib.machinery import ExtensionFileLoader, ModuleSpec
    from importlib.util import module_from_spec

    faults = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}
    old = signal.pthread_sigmask(signal.SIG_BLOCK, set(range(1, signal.NSIG)) - faults - {32, 33})
    try:
        path = "/proc/self/fd/%d" % LIBRARY
        loader = ExtensionFileLoader("_hostler", path)
        module = module_from_spec(ModuleSpec("_hostler", loader, origin=path))
        loader.exec_module(module)
        return module, old
    except BaseException:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
        raise


def own_signals():
    """Handle the signals that are not the application's to die by, and leave them
    as they were to children that it forks."""
    import signal

    def ignore(*_):  # not SIG_IGN, which exec would pass on
        pass

    first = {s: signal.signal(s, ignore) for s in (signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)}

    def restore():
        for s, handler in first.items():
            if signal.getsignal(s) is ignore:
                signal.signal(s, handler)

    os.register_at_fork(after_in_child=restore)


def drain_on_sigterm(server):
    """Leave in good order, unless the application has a handler of its own."""
    import signal

    if signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        return

    def drain(*_):
        server.drain()

    def restore():
        if signal.getsignal(signal.SIGTERM) is drain:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    signal.signal(signal.SIGTERM, drain)
    os.register_at_fork(after_in_child=restore)


def join(thread):
    """Wait for a thread. Signal handlers run here; what they raise is
    logged. True: they want an end (SystemExit)."""
    while True:
        try:
            thread.join()
            return False
        except SystemExit:
            return True
        except BaseException:
            import traceback

            traceback.print_exc()


def main():
    check_python()
    import faulthandler
    import json
    import signal

    raw = sys.argv[1]
    settings = json.loads(raw)
    for name in settings.get("internal_env") or ():
        os.environ.pop(name, None)  # Go reads it from the process's first stack
    faulthandler.enable()  # before the library: after it, it would hide Go's own faults
    faulthandler.register(signal.SIGRTMIN + 1, all_threads=True, chain=False)
    own_signals()
    # Not even for a moment for programs that the application runs.
    listeners = 0 if settings.get("check") else len(settings["listeners"])
    for fd in range(CONTROL, LISTENERS + listeners):
        os.set_inheritable(fd, False)

    if settings.get("chdir"):
        try:
            os.chdir(settings["chdir"])
        except OSError as e:
            fail("cannot change to the directory %s: %s" % (settings["chdir"], e.strerror))
    sys.path[:] = [p for p in sys.path if p != ""]
    sys.path[:0] = settings.get("pythonpath") or []
    sys.path.insert(0, os.getcwd())
    sys.argv[:] = ["hostler", settings["app"]]
    try:
        app = load_app(settings["app"])
    except BaseException:
        import traceback

        fail("cannot load %s:\n%s" % (settings["app"], traceback.format_exc()))
    if settings.get("check"):
        os.write(CONTROL, b"R")
        return
    try:
        server, mask = load_library()
        try:
            hints = server.early_hints()
            bases = [base_environ(settings, listener, hints) for listener in settings["listeners"]]
            threads = server.init(raw, app, bases, FileWrapper, report)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    except RuntimeError as e:  # the library says what is wrong
        fail(str(e))
    except BaseException:
        import traceback

        fail("cannot start the server in %s:\n%s" % (sys.executable, traceback.format_exc()))
    os.close(LIBRARY)
    drain_on_sigterm(server)
    try:
        server.serve()
    except BaseException as e:
        fail("cannot serve: %s" % e)
    if threads == 1:
        server.run(0)
    else:
        import threading

        pool = [threading.Thread(target=server.run, args=(i,), name="hostler-%d" % i, daemon=True) for i in range(threads)]
        for t in pool:
            t.start()
        for t in pool:
            while join(t):
                server.drain()
    server.leave()


main()
