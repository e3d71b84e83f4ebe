# What a worker process runs first: import the application, load the server into
# this interpreter, serve. launch.py runs it, with the settings as JSON.
# Until the version is checked it must be valid for any Python.
import io
import json
import os
import signal
import stat
import sys

CONTROL, LIBRARY, SECRETS, LISTENERS = 3, 5, 8, 9  # 4: the scoreboard, 6 and 7: the exchange


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


class Descriptors:
    """What the master left to this process, and children that the application forks
    are not to keep: with a listener they would hold the address when the worker has
    long gone. Each is known by its file, for its number may be the application's by
    now. (Once the library runs it closes them itself, and clients' connections, too.)"""

    def __init__(self, fds):
        self.spared = False  # a mold forks a worker
        self.files = {}
        self.take(*fds)
        os.register_at_fork(after_in_child=self.close)

    @staticmethod
    def file(fd):
        try:
            st = os.fstat(fd)
        except OSError:
            return None
        if stat.S_ISCHR(st.st_mode):
            return None  # /dev/null stands for what there is not, and is everybody's
        return st.st_dev, st.st_ino

    def take(self, *fds):
        self.files.update((fd, self.file(fd)) for fd in fds)

    def close(self):
        for fd, file in () if self.spared else self.files.items():
            if file is not None and self.file(fd) == file:
                os.close(fd)


class LoadError(Exception):
    """There is no application, and the text says why well enough."""


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
            raise LoadError("module %r has neither 'application' nor 'app'; say which: %s:NAME" % (name, name))
    factory = attr.endswith("()")
    obj = module
    for part in (attr[:-2] if factory else attr).split("."):
        try:
            obj = getattr(obj, part)
        except AttributeError:
            raise LoadError("cannot find %r in module %r" % (attr, name))
    if factory:
        if not callable(obj):
            raise LoadError("%r in module %r is not callable" % (attr[:-2], name))
        obj = obj()
    if not callable(obj):
        raise LoadError("%r in module %r is not callable, but %s" % (attr, name, type(obj).__name__))
    return obj


def unreadable():
    """Say which of the directories that modules are looked for in may not be read: to
    an import they are empty."""
    closed = []
    for path in sys.path:
        try:
            os.listdir(path)
        except PermissionError:
            closed.append(path)
        except OSError:
            pass  # it is not there, or an archive
    return "; permission denied: " + ", ".join(closed) if closed else ""


HOOKS = ("on_starting", "on_reload", "child_exit", "on_exit", "post_fork", "post_worker_init", "worker_exit")


def load_hooks(settings):
    """Return the functions of the module that --hooks names, by name."""
    if not settings.get("hooks"):
        return {}
    import importlib

    try:
        module = importlib.import_module(settings["hooks"])
    except BaseException:
        import traceback

        fail("cannot load the hooks in %s:\n%s" % (settings["hooks"], traceback.format_exc()))
    hooks = {name: getattr(module, name) for name in HOOKS if hasattr(module, name)}
    for name, hook in hooks.items():
        if not callable(hook):
            fail("the hook %s in %s is not callable, but %s" % (name, settings["hooks"], type(hook).__name__))
    return hooks


def run_hook(hooks, name, *args):
    """Run a hook, if there is one. Return what it raised, as a traceback, or None."""
    if name not in hooks:
        return None
    try:
        hooks[name](*args)
    except BaseException:
        import traceback

        return "the hook %s failed:\n%s" % (name, traceback.format_exc())
    return None


def try_hook(hooks, name, *args):
    """Run a hook that may fail: that is logged. Return it as one line, or None."""
    text = run_hook(hooks, name, *args)
    if text is None:
        return None
    sys.stderr.write("hostler: " + text)
    sys.stderr.flush()
    return "the hook %s failed: %s" % (name, text.rstrip().rpartition("\n")[2])


def hook_args(settings, **worker):
    """Return what hooks are given as the server and as the worker."""
    import logging
    from types import SimpleNamespace

    log = logging.Logger("hostler.hooks", logging.getLevelName(settings["log_level"].upper()))
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s hooks: %(message)s"))
    log.addHandler(handler)
    cfg = SimpleNamespace(**{k: settings.get(k) for k in ("app", "name", "workers", "threads", "chdir", "preload", "graceful_timeout")})
    server = SimpleNamespace(pid=settings["master_pid"], log=log, cfg=cfg)
    number = worker.setdefault("number", settings["worker"])
    return server, SimpleNamespace(**dict(dict(pid=os.getpid(), generation=settings["generation"], age=number, log=log, cfg=cfg), **worker))


def be_hooks(settings, hooks):
    """Run the master's hooks when it asks for them, until it is gone."""
    import socket

    signal.signal(signal.SIGTERM, lambda *_: None)  # it is the master that says when; not SIG_IGN, which exec would pass on
    control = socket.socket(fileno=os.dup(CONTROL))
    for fd in range(CONTROL + 1, LISTENERS):
        os.close(fd)
    os.write(CONTROL, b"N" + " ".join(hooks).encode())
    while True:
        message = control.recv(1 << 16)
        if message[:1] in (b"", b"D"):
            return
        if message[:1] != b"H":
            continue
        call = json.loads(message[1:].decode())
        server, worker = hook_args(settings, **call.get("worker") or {})
        args = (server, worker) if "worker" in call else (server,)
        error = try_hook(hooks, call["hook"], *args)
        os.write(CONTROL, b"K" + (error or "").encode("utf-8", "backslashreplace")[-1000:])


def real_file(f):
    """Return f, or the file in it, if reading from it is the same as reading from
    its descriptor; else None. (A GzipFile has a fileno(), too.)"""
    if type(f).__name__ == "_TemporaryFileWrapper" and type(f).__module__ == "tempfile":
        f = f.file
    raw = f.raw if type(f) in (io.BufferedReader, io.BufferedRandom) else f
    return f if type(raw) is io.FileIO else None


class FileWrapper:
    """wsgi.file_wrapper; a real file goes out through sendfile(2). It has what the file
    has: who looks for close(), or seeks to the begin of a range, finds the file's own."""

    def __init__(self, filelike, blksize=8192):
        self.filelike = filelike
        self.blksize = blksize
        self.real = real_file(filelike)

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.__dict__.get("filelike"), name)

    def __iter__(self):
        return self

    def __next__(self):
        data = self.filelike.read(self.blksize)
        if data:
            return data
        raise StopIteration


class RequestTimeout(BaseException):
    """Raised in the thread of a request that runs into --timeout. It is no
    Exception: whoever retries or goes on after any error must not do so here."""

    __module__ = "hostler"

    def __init__(self, text="the request runs longer than --timeout, or its hostler.deadline, allows"):
        BaseException.__init__(self, text)


def make_deadline(function):
    """environ["hostler.deadline"]: one for all requests, since the function knows
    by its thread which it is called for."""

    class Deadline:
        """deadline() is how many seconds this request has left until --timeout (None: no limit),
        deadline(seconds) makes it that many from now."""

        __slots__ = ()
        __call__ = staticmethod(function)
        RequestTimeout = RequestTimeout

    return Deadline()


def no_op():
    """Where it is called, an exception that waits for Python code is raised."""


def stack_of(ident):
    """What a thread is at, from the application's outermost call on."""
    import traceback

    frame = sys._current_frames().get(ident)
    frames = traceback.extract_stack(frame) if frame else []
    while frames and is_ours(frames[0].filename):
        del frames[0]
    return "".join(traceback.format_list(frames)).encode("utf-8", "replace").decode()


def report(method, target, type_, value, tb):
    """Log an exception that the application let go."""
    import traceback

    lines = traceback.format_exception(type_, value, tb)
    sys.stderr.write("hostler: the application raised on %s %s\n%s" % (method, target.encode("ascii", "backslashreplace").decode(), "".join(lines)))
    sys.stderr.flush()


def server_name(listener):
    """SERVER_NAME and SERVER_PORT of a listener, as they stand in a URL; "" is for what
    only the request's Host field says."""
    host, _, zone = listener["host"].partition("%")
    if listener["network"] == "unix":
        return "", ""
    if not host.strip("0:."):  # whatever way it is written
        host = ""
    return "[%s]" % host if ":" in host else host, listener["port"]


def base_environ(settings, listener, early_hints, deadline):
    name, port = server_name(listener)
    env = {
        "SCRIPT_NAME": "",
        "QUERY_STRING": "",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": name or "localhost",
        "SERVER_PORT": port or ("443" if listener.get("tls") else "80"),
        "SERVER_SOFTWARE": "hostler/" + settings["version"],
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
        "hostler.deadline": deadline,
    }
    if listener.get("tls"):
        env["wsgi.url_scheme"] = "https"
        env["HTTPS"] = "on"
    return env


def cannot_start():
    import traceback

    fail("cannot start the server in %s:\n%s" % (sys.executable, traceback.format_exc()))


def load_library():
    """Load the server, whose Go runtime does not start before server.init."""
    from importlib.machinery import ExtensionFileLoader, ModuleSpec

    path = "/proc/self/fd/%d" % LIBRARY
    try:
        loader = ExtensionFileLoader("_hostler", path)
        module = loader.create_module(ModuleSpec("_hostler", loader, origin=path))
        loader.exec_module(module)
        return module
    except BaseException:
        cannot_start()


def block_signals():
    """Return the signal mask that was. Threads started meanwhile, Go's, keep
    signals blocked, so that Python's handlers run on Python's threads."""
    faults = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}
    return signal.pthread_sigmask(signal.SIG_BLOCK, set(range(1, signal.NSIG)) - faults - {32, 33})


def own_signals():
    """Handle the signals that are not the application's to die by, and leave them
    as they were to children that it forks."""

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
    if signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        return

    def drain(*_):
        server.drain()

    def restore():
        if signal.getsignal(signal.SIGTERM) is drain:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    signal.signal(signal.SIGTERM, drain)
    os.register_at_fork(after_in_child=restore)


def warm_up(settings, app, target):
    """Run one request through the application; its answer is thrown away."""
    from urllib.parse import unquote_to_bytes

    path, _, query = target.partition("?")
    listener = settings["listeners"][0]
    env = base_environ(settings, listener, None, None)
    del env["wsgi.early_hints"], env["hostler.deadline"]
    env.update(
        {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query,
            "RAW_URI": target,
            "HTTP_HOST": "localhost",
            "REMOTE_ADDR": "127.0.0.1",
            "wsgi.input": io.BytesIO(),
        }
    )
    result = None
    try:
        result = app(env, lambda status, headers, exc_info=None: lambda data: None)
        for _ in result:
            pass
    except BaseException as e:
        report("GET", target, type(e), e, e.__traceback__)
    finally:
        if hasattr(result, "close"):
            result.close()


def audit(listeners):
    """Say what will not survive the fork: other threads, open sockets, Go."""
    import threading

    def warn(text):
        sys.stderr.write("hostler: preload: %s\n" % text)

    named = [t for t in threading.enumerate() if t is not threading.main_thread()]
    for t in named:
        target = getattr(t, "_target", None) or type(t)
        warn("the thread %r (%s.%s) will not be in the workers" % (t.name, getattr(target, "__module__", "?"), getattr(target, "__qualname__", "?")))
    others = len(os.listdir("/proc/self/task")) - 1 - len(named)
    if others > 0:
        warn("%d threads that Python does not know will not be in the workers" % others)
    owners = {}
    if "socket" in sys.modules:
        import gc

        socket_type = sys.modules["socket"].socket
        for o in gc.get_objects():
            if isinstance(o, socket_type) and o.fileno() >= 0:
                names = [m + "." + k for m, module in list(sys.modules.items()) for k, v in list(vars(module).items()) if v is o]
                owners[o.fileno()] = "%s %r" % (", ".join(names) or "held by no module itself:", o)
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        try:
            if fd >= LISTENERS + listeners and os.readlink("/proc/self/fd/" + name).startswith("socket:"):
                warn("a socket will be shared by all workers: %s" % owners.get(fd, "descriptor %d" % fd))
        except OSError:
            pass  # the directory itself
    with open("/proc/self/maps") as maps:
        files = {line.split(None, 5)[5].strip() for line in maps if " r" in line and ".so" in line}
    for path in files:
        try:
            with open(path, "rb") as f:
                if b"Go\x00\x00" in f.read(4096):  # the note with its build id
                    warn("%s is written in Go, whose runtime does not survive a fork: import it in the workers only" % path)
        except OSError:
            pass
    sys.stderr.flush()


def plain_fork():
    """fork(2) without the fork handlers, which shall run once, in the worker."""
    try:
        import ctypes

        return ctypes.PyDLL(None).fork
    except (ImportError, AttributeError, OSError):
        return os.fork


def fork_worker(fork, fds):
    """Return what to tell the master; in the worker None. The worker's parent
    leaves at once, so that the master becomes it."""
    back, front = os.pipe()
    try:
        pid = fork()
    except OSError:
        pid = -1
    if pid == 0:
        try:
            pid = os.fork()
        except OSError:
            os._exit(1)
        if pid:
            os.write(front, b"%d" % pid)
            os._exit(0)
        os.close(back)
        os.close(front)
        os.setpgid(0, 0)
        for fd, name in zip(fds, (CONTROL, SECRETS)):
            if fd != name:
                os.dup2(fd, name, inheritable=False)
                os.close(fd)
        return None
    os.close(front)
    answer = os.read(back, 32)
    os.close(back)
    for fd in fds:
        os.close(fd)
    if pid > 0:
        os.waitpid(pid, 0)
    return b"P" + (answer + b" " if answer else b"0 the kernel refused to fork")


def be_mold(settings, app, own):
    """Fork a worker whenever the master asks for one. Return, in a worker, its
    settings and the library. The mold has one thread, and no Go runtime in it: the
    library is there, but what the dynamic linker has made of it is all it shares."""
    import array
    import gc
    import socket

    for target in settings.get("warmup") or ():
        warm_up(settings, app, target)
    audit(len(settings["listeners"]))
    server = load_library()
    fork = plain_fork()
    control = socket.socket(fileno=os.dup(CONTROL))
    size = array.array("i").itemsize
    gc.freeze()  # the collector would write to every object, and so unshare it
    server.slim()
    os.write(CONTROL, b"R")
    while True:
        message, beside, _, _ = control.recvmsg(1 << 16, socket.CMSG_SPACE(2 * size), socket.MSG_CMSG_CLOEXEC)
        if not message:
            os._exit(0)  # the master has gone
        if message[:1] != b"W":
            continue
        own.spared = True
        answer = fork_worker(fork, array.array("i", beside[0][2]).tolist())
        own.spared = False
        if answer is None:
            own.take(CONTROL)
            control.close()
            gc.enable()
            own_signals()
            return message[1:].decode(), server
        os.write(CONTROL, answer)


def wait(server):
    """Wait until the threads have left. Signal handlers run here; what they raise is
    logged. True: they want an end (SystemExit). In a child that one has forked it
    raises what that child ends with."""
    while True:
        try:
            server.wait()
            return False
        except BaseException as e:
            if server.forked():
                raise
            if isinstance(e, SystemExit):
                return True
            import traceback

            traceback.print_exc()


def main():
    check_python()
    import faulthandler
    import threading  # whose main thread is the one that imports it first

    raw = sys.argv[1]
    settings = json.loads(raw)
    for name in settings.get("internal_env") or ():
        os.environ.pop(name, None)  # Go reads it from the process's first stack
    faulthandler.enable()  # before the library: after it, it would hide Go's own faults
    faulthandler.register(signal.SIGRTMIN + 1, all_threads=True, chain=False)
    own_signals()
    # Not even for a moment for programs that the application runs.
    listeners = len(settings["listeners"] or ())
    if settings.get("check"):
        listeners = 0
    for fd in range(CONTROL, LISTENERS + listeners):
        os.set_inheritable(fd, False)
    own = Descriptors(range(CONTROL, LISTENERS + listeners))

    if settings.get("umask"):
        os.umask(int(settings["umask"], 8))
    if settings.get("chdir"):
        try:
            os.chdir(settings["chdir"])
        except OSError as e:
            fail("cannot change to the directory %s: %s" % (settings["chdir"], e.strerror))
    sys.path[:] = [p for p in sys.path if p != ""]
    sys.path[:0] = settings.get("pythonpath") or []
    sys.path.insert(0, os.getcwd())
    sys.argv[:] = ["hostler", settings["app"]]
    development = settings.get("development")
    modules = Modules(CONTROL) if development else None
    hooks = load_hooks(settings)
    if settings.get("hooks_only"):
        be_hooks(settings, hooks)
        return
    if hooks and not settings.get("mold") and not settings.get("check"):
        worker_args = hook_args(settings, wsgi=None)
        try_hook(hooks, "post_fork", *worker_args)
    try:
        if settings.get("mold"):
            import gc

            gc.disable()
        app = None if settings.get("page") else load_app(settings["app"])
    except BaseException as e:
        if isinstance(e, LoadError):
            text = str(e)
        else:
            import traceback

            text = "cannot load %s:\n%s" % (settings["app"], traceback.format_exc())
            if isinstance(e, ImportError):
                text = text.rstrip() + unreadable()
        if development:
            modules.tell(source_files() | files_of(e))
        fail(text)
    if development:
        modules.tell(source_files())
    if settings.get("check"):
        os.write(CONTROL, b"R")
        return
    if settings.get("mold"):
        raw, server = be_mold(settings, app, own)  # returns in each worker
        settings = json.loads(raw)
        if hooks:
            worker_args = hook_args(settings, wsgi=None)
            try_hook(hooks, "post_fork", *worker_args)
    else:
        server = load_library()
    if hooks:
        worker_args[1].wsgi = app
        error = run_hook(hooks, "post_worker_init", worker_args[1])
        if error:
            fail(error)
    try:
        mask = block_signals()
        try:
            hints = server.early_hints()
            deadline = make_deadline(server.deadline())
            bases = [base_environ(settings, listener, hints, deadline) for listener in settings["listeners"]]
            if development:
                app = or_error_page(server, app)
            profiler = Profiler(server.profiled)
            sys.unraisablehook = server.unraisablehook(sys.unraisablehook)
            open_ends = [[not part for part in server_name(listener)] for listener in settings["listeners"]]
            threads = server.init(raw, app, bases, open_ends, FileWrapper, report, RequestTimeout, no_op, stack_of, profiler.start)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    except RuntimeError as e:  # the library says what is wrong
        fail(str(e))
    except BaseException:
        cannot_start()
    os.close(LIBRARY)
    drain_on_sigterm(server)
    try:
        server.serve()
    except BaseException as e:
        fail("cannot serve: %s" % e)
    server.slim()
    if development:
        modules.follow()
    if threads == 1:
        server.run(0)
    else:
        # A handler that forks must not find the main thread in the middle of this.
        mask = block_signals()

        def run(i):
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            server.run(i)

        pool = [threading.Thread(target=run, args=(i,), name="hostler-%d" % i, daemon=True) for i in range(threads)]
        for t in pool:
            t.start()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        while wait(server):
            server.drain()
        for t in pool:
            t.join()
    if hooks:
        try_hook(hooks, "worker_exit", *worker_args)
    profiler.end()
    server.leave()


main()
