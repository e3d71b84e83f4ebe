# What the bootstrap imports is the standard library's, whatever files of the same
# names lie where the application is: a json.py there must not prevent the start, nor
# a traceback.py lose tracebacks. The build puts this file before all others. It must be
# valid for any Python.
import os
import sys

# All that the bootstrap imports, now or when it needs it, and what these import, by
# the union of CPython's versions. (The application finds those, too: other servers have
# imported most of them before it comes.)
OWN = frozenset(
    """
    _bisect _collections_abc _colorize _contextvars _ctypes _heapq _json _opcode _opcode_metadata _random _sha2 _sha512 _socket _struct
    _weakrefset abc annotationlib array ast base64 binascii bisect codecs codeop collections contextlib contextvars copy copyreg ctypes
    dataclasses dis enum functools genericpath hashlib heapq html importlib inspect io ipaddress json keyword linecache logging math opcode
    operator os posixpath random re reprlib select selectors signal socket sre_compile sre_constants sre_parse stat string struct textwrap
    threading token tokenize traceback types unicodedata urllib warnings weakref
    """.split()
)


class StandardLibrary:
    """A finder that goes before those of sys.path."""

    def __init__(self, finder, path):
        self.finder = finder
        self.path = path

    def find_spec(self, name, path=None, target=None):
        if path is None and name in OWN:
            return self.finder.find_spec(name, self.path, target)
        return None


def prefer_standard_library():
    home = os.path.dirname(os.__file__)
    path = [p for p in sys.path if p == home or os.path.dirname(p) == home and not p.endswith("-packages")]
    finders = [f for f in sys.meta_path if getattr(f, "__name__", "") == "PathFinder"]
    if path and finders:  # else it is a Python that is built in some other way
        sys.meta_path.insert(sys.meta_path.index(finders[0]), StandardLibrary(finders[0], path))


prefer_standard_library()
# Threads of the system's, also where the application has something else put in the
# place of Python's threads: gevent and eventlet make each threading.Thread one of many
# tasks of one thread, of which the first that serves would keep all others from running.
# The build puts this file before bootstrap.py. It must be valid for any Python.
try:
    import _thread
except ImportError:  # Python 2
    _thread = None


def originals():
    """What threads are made with."""
    import threading

    names = ("Thread", "_start_new_thread", "_start_joinable_thread", "Lock", "get_ident")
    return [getattr(threading, name, None) for name in names] + [threading.Thread.start, _thread.start_new_thread]


class Threads:
    """Makes threads, by what there is before the application is imported."""

    def __init__(self):
        self.originals = originals()
        self.start_new, self.lock = _thread.start_new_thread, _thread.allocate_lock

    def start(self, target, args, name):
        """Start a thread, and return something to join it by."""
        import threading

        # Others may wrap Thread.start, and so may have it called.
        now = originals()
        if now[:-2] == self.originals[:-2] and now[-1] is self.originals[-1]:
            thread = threading.Thread(target=target, args=args, name=name, daemon=True)
            thread.start()
            return thread
        return PlainThread(self, target, args, name)


class PlainThread:
    """A thread that the module threading has not made."""

    def __init__(self, threads, target, args, name):
        self.over = threads.lock()
        self.over.acquire()
        threads.start_new(self.run, (target, args, name))

    def run(self, target, args, name):
        try:
            import threading

            threading.current_thread().name = name  # a stand-in, made for the occasion
        except Exception:
            pass  # for people only
        try:
            target(*args)
        finally:
            self.over.release()

    def join(self, timeout=-1):
        if self.over.acquire(True, timeout):
            self.over.release()
# For --reload: which files the application is made of, and what is wrong with them.
# The build puts this file before bootstrap.py.
import os
import sys


def source_files():
    """The files of all modules that are imported, less Python's own."""
    own = os.path.dirname(os.__file__) + os.sep
    found = set()
    for module in list(sys.modules.values()):
        try:
            path = vars(module).get("__file__")  # getattr would wake lazy modules
        except TypeError:
            continue
        if not isinstance(path, str) or not path:
            continue
        path = os.path.abspath(path)
        if not path.startswith(own) or "-packages" + os.sep in path:
            found.add(path)
    return found


def files_of(error):
    """The files in which an exception, and what led to it, went through."""
    found = set()
    todo, seen = [error], set()
    while todo:
        e = todo.pop()
        if e is None or id(e) in seen:
            continue
        seen.add(id(e))
        todo += [e.__cause__, e.__context__]
        if isinstance(e, SyntaxError):
            found.add(e.filename)
        tb = e.__traceback__
        while tb is not None:
            found.add(tb.tb_frame.f_code.co_filename)
            tb = tb.tb_next
    return {os.path.abspath(f) for f in found if f and os.path.isfile(f)}


class Modules:
    """Tells the master of files, of each once."""

    def __init__(self, control):
        self.control = control
        self.told = set()

    def tell(self, files):
        packet = b"M"
        for path in sorted(files - self.told):
            name = os.fsencode(path) + b"\0"
            if len(packet) + len(name) > 32768:
                os.write(self.control, packet)
                packet = b"M"
            packet += name
        if len(packet) > 1:
            os.write(self.control, packet)
        self.told |= files

    def follow(self, threads):
        """Tell of what is imported later, for as long as the process lives."""
        import time

        def look():
            count = 0
            while True:
                if len(sys.modules) != count:
                    count = len(sys.modules)
                    try:
                        self.tell(source_files())
                    except OSError:
                        return  # the master has gone
                time.sleep(0.5)

        threads.start(look, (), "hostler-modules")


PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>The code is broken</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; margin: 3em auto; max-width: 60em; padding: 0 1em; color: #222; background: #fff }
pre { font: 14px/1.45 ui-monospace, monospace; padding: 1em; overflow-x: auto; color: #222; background: #f4f1ee; border-left: 4px solid #b33 }
</style>
</head>
<body>
<h1>The code is broken</h1>
<pre>%s</pre>
<p>hostler loads it again as soon as a file changes. You see this page since <code>--reload</code> is on.</p>
</body>
</html>
"""


def error_page(environ, start_response, text):
    """Answer with what is wrong: as HTML to who asks for it, else as text."""
    if "text/html" in environ.get("HTTP_ACCEPT", ""):
        import html

        kind, body = "text/html", PAGE % html.escape(text)
    else:
        kind, body = "text/plain", text + "\n"
    body = body.encode("utf-8", "backslashreplace")
    start_response(
        "500 Internal Server Error",
        [
            ("Content-Type", kind + "; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"),
            ("X-Content-Type-Options", "nosniff"),
        ],
    )
    return [body]


def or_error_page(server, app):
    """The application, as long as its code is not broken."""

    def application(environ, start_response):
        text = server.page()
        if text:
            return error_page(environ, start_response, text.decode("utf-8", "replace"))
        return app(environ, start_response)

    return application
# For hostler ctl profile: what the threads are at, time and again.
# The build puts this file before bootstrap.py.
import os
import sys

DEEPEST = 256  # frames of a stack; of deeper ones the middle is left out
LARGEST = 4 << 20  # bytes of what is sent; what took least is left out


class Profiler:
    """Samples the stacks of all threads that are in the application's code. Each
    sample counts for the time since the one before it, so code that holds the GIL
    for long counts for as long, though nobody could look meanwhile."""

    def __init__(self, send, threads):
        self.send = send
        self.threads = threads
        self.thread = self.ending = None

    def start(self, request):
        """Begin a profile, in a thread of its own. One that still runs was given up by
        whoever asked for it, and ends."""
        import json
        import threading

        if self.ending:
            self.ending.set()
        ending = threading.Event()
        self.thread = self.threads.start(self.run, (json.loads(request), ending), "hostler-profile")
        self.ending = ending

    def end(self):
        """Send what there is: the process is about to end."""
        if self.ending:
            self.ending.set()
            self.thread.join(1)

    def run(self, request, ending):
        import random
        import threading
        import time

        own, main = threading.get_ident(), threading.main_thread().ident
        period = 1 / request["rate"]
        stacks, labels = {}, {}
        samples = 0
        begin = last = time.monotonic()
        end = begin + request["seconds"]
        while last < end:
            # Not at an even pace: it might be that of something in the application.
            over = ending.wait(min(period * random.uniform(0.5, 1.5), end - last))
            now = time.monotonic()
            weight = min(now - last, 1)  # the whole process may have been stopped
            last = now
            samples += 1
            names = {t.ident: t.name for t in threading.enumerate()}
            for ident, frame in sys._current_frames().items():
                if ident == own:
                    continue
                codes = codes_of(frame, labels)
                if codes:
                    name = names.get(ident, "?")
                    root = "requests" if ident == main or name.startswith("hostler-") else "thread " + name
                    stacks[root, codes] = stacks.get((root, codes), 0) + weight
            frame = None  # it would keep an application's objects alive
            if over:
                break
        self.send(result(request, samples, last - begin, time.thread_time(), stacks, labels))


def codes_of(frame, labels):
    """The ids of the code objects of a stack, from the application's outermost call on;
    () for a thread that is not in its code. labels learns what they are called, and
    keeps them alive. (They compare by value, and equal where only the file differs.)"""
    codes = []
    while frame is not None:
        code = frame.f_code
        if id(code) not in labels:
            labels[id(code)] = code, label(code, frame.f_globals)
        codes.append(id(code))
        frame = frame.f_back
    while codes and is_ours(labels[codes[-1]][0].co_filename):
        codes.pop()
    codes.reverse()
    if len(codes) > DEEPEST:
        codes[DEEPEST // 2 : -DEEPEST // 2] = [None]
    return tuple(codes)


def is_ours(filename):
    return filename == "<string>" or os.path.basename(filename) == "threading.py"


def label(code, names):
    where = names.get("__name__")
    if not isinstance(where, str):
        where = os.path.basename(code.co_filename)
    text = "%s:%s:%d" % (where, getattr(code, "co_qualname", code.co_name), code.co_firstlineno)
    return clean(text)


def clean(text):
    """Text for a frame of a folded stack, which ";" and line ends would cut."""
    return "".join("_" if c == ";" or not c.isprintable() else c for c in text)[:200]


def result(request, samples, seconds, cost, stacks, labels):
    """A line of JSON, and folded stacks with microseconds (see protocol/profile.go)."""
    import json

    lines, size, cut = [], 0, 0
    for (root, codes), weight in sorted(stacks.items(), key=lambda item: -item[1]):
        frames = [clean(root)] + [labels[c][1] if c else "..." for c in codes]
        line = ("%s %d\n" % (";".join(frames), weight * 1e6)).encode("utf-8", "replace")
        size += len(line)
        if size > LARGEST:
            cut += weight
        else:
            lines.append(line)
    head = {"id": request["id"], "samples": samples, "seconds": seconds, "cost_seconds": cost, "cut_seconds": cut}
    return json.dumps(head).encode() + b"\n" + b"".join(lines)
# What a worker process runs first: import the application, load the server into
# this interpreter, serve. launch.py runs it, with the settings as JSON.
# Until the version is checked it must be valid for any Python.
import io
import json
import os
import signal
import stat
import sys
from select import POLLOUT, poll  # for itself: gevent puts others in their place

CONTROL, LIBRARY, SECRETS, LISTENERS = 3, 5, 8, 9  # 4: the scoreboard, 6 and 7: the exchange


def fail(text):
    """Tell the master why there is no worker, and go."""
    os.write(CONTROL, b"F" + text.encode("utf-8", "backslashreplace")[-60000:])
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(1)


behind = None  # the library's say, once it runs


def say(text):
    """Write what is ours to the error log. Nobody waits for that: where standard error
    is a pipe that is full, what does not fit is lost."""
    data = text.encode("utf-8", "backslashreplace")
    room = poll()
    room.register(2, POLLOUT)
    try:
        if room.poll(0):
            sys.stderr.flush()  # what the application has said before comes before it
    except Exception:
        pass  # it has been closed, or replaced by something odd
    if behind and behind(data):
        return
    try:
        while data and room.poll(100):
            n = data.rfind(b"\n", 0, 4096) + 1  # as much as a pipe takes in one piece
            data = data[os.write(2, data[: n or 4096]) :]
    except OSError:
        pass


def check_python():
    if sys.version_info < (3, 8):
        fail("Python %d.%d is too old: hostler needs 3.8 or newer (%s)" % (sys.version_info[0], sys.version_info[1], sys.executable))
    if sys.implementation.name != "cpython":
        fail("hostler needs CPython, and %s is %s" % (sys.executable, sys.implementation.name))
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


def load_paste(spec):
    """Return the application that FILE[#NAME] describes, as PasteDeploy has it, with
    the file's logging set up: by plaster, which Pyramid has, or without it."""
    path, _, name = spec.partition("#")
    path = os.path.abspath(path)
    if not os.path.isfile(path):
        raise LoadError("there is no file %s (--paste)" % path)
    app = by_plaster(path, name or None) or by_paste(path, name or None)
    if not callable(app):
        raise LoadError("what %s describes is not callable, but %s" % (spec, type(app).__name__))
    return app


def by_plaster(path, name):
    """Return None if plaster, or its loader of such files, is not installed."""
    try:
        import plaster
    except ImportError:
        return None
    try:
        loader = plaster.get_loader(path, protocols=["wsgi"])
    except plaster.LoaderNotFound:
        return None
    loader.setup_logging()
    return loader.get_wsgi_app(name)


def by_paste(path, name):
    import configparser
    import logging.config

    try:
        from paste.deploy import loadapp
    except ImportError:
        raise LoadError("--paste needs PasteDeploy, or plaster and plaster_pastedeploy, which %s does not have" % sys.executable)
    there = {"__file__": path, "here": os.path.dirname(path)}
    file = configparser.RawConfigParser()
    file.read([path])
    if file.has_section("loggers"):
        logging.config.fileConfig(path, there, disable_existing_loggers=False)
    return loadapp("config:" + path, name=name)


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
    say("hostler: " + text)
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


def receive(control):
    """Return the master's next message, b"" at the end, and the descriptors beside
    it. A new file for the error log is taken at once."""
    import _socket

    while True:
        message, beside, _, _ = control.recvmsg(1 << 16, _socket.CMSG_SPACE(2 * 4), _socket.MSG_CMSG_CLOEXEC)
        data = beside[0][2] if beside else b""
        fds = [int.from_bytes(data[i : i + 4], sys.byteorder) for i in range(0, len(data), 4)]
        if message[:1] != b"U":
            return message, fds
        for fd in fds:
            os.dup2(fd, 2)
            os.close(fd)


def be_hooks(settings, hooks):
    """Run the master's hooks when it asks for them, until it is gone."""
    signal.signal(signal.SIGTERM, lambda *_: None)  # it is the master that says when; not SIG_IGN, which exec would pass on
    control = control_socket()
    set_title(title(settings, "hooks"))
    for fd in range(CONTROL + 1, LISTENERS):
        os.close(fd)
    os.write(CONTROL, b"N" + " ".join(hooks).encode())
    while True:
        message, _ = receive(control)
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


# What a client has sent may be in an exception's text, and the log on a terminal.
CONTROLS = {c: "\\x%02x" % c for c in (*range(9), *range(11, 32), *range(127, 160))}


def report(method, target, type_, value, tb):
    """Log an exception that the application let go."""
    import traceback

    lines = traceback.format_exception(type_, value, tb)
    say("hostler: the application raised on %s %s\n%s" % (method, target.encode("ascii", "backslashreplace").decode(), "".join(lines).translate(CONTROLS)))


def server_name(listener):
    """SERVER_NAME and SERVER_PORT of a listener, as they stand in a URL; "" is for what
    only the request's Host field says."""
    host, _, zone = listener["host"].partition("%")
    if listener["network"] == "unix":
        return "", ""
    if not host.strip("0:."):  # whatever way it is written
        host = ""
    return "[%s]" % host if ":" in host else host, listener["port"]


def script_name():
    """Where the application is, if the environment says so (as to Gunicorn)."""
    name = os.fsencode(os.environ.get("SCRIPT_NAME", "")).decode("latin-1").rstrip("/")
    if name and not name.startswith("/"):
        fail("SCRIPT_NAME in the environment has to begin with a slash: %r" % name)
    return name


def base_environ(settings, listener, early_hints, deadline):
    name, port = server_name(listener)
    env = {
        "SCRIPT_NAME": script_name(),
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


NEWEST = (3, 15)  # that hostler has been tested with


def mention_build():
    """Say what people should know about this build of Python."""
    version = "%d.%d" % sys.version_info[:2]
    if sys.version_info[:2] > NEWEST:
        sys.stderr.write("hostler: Python %s is newer than this hostler, which has been tested up to %d.%d (%s)\n" % ((version,) + NEWEST + (sys.executable,)))
    if hasattr(sys, "_is_gil_enabled") and "t" in sys.abiflags:
        sys.stderr.write("hostler: the free-threaded Python %s runs with the GIL here (%s)\n" % (version, sys.executable))
    sys.stderr.flush()


def load_library():
    """Load the server, whose Go runtime does not start before server.init."""
    import warnings
    from importlib.machinery import ExtensionFileLoader, ModuleSpec

    path = "/proc/self/fd/%d" % LIBRARY
    try:
        loader = ExtensionFileLoader("_hostler", path)
        with warnings.catch_warnings():  # we say it ourselves
            warnings.filterwarnings("ignore", "The global interpreter lock", RuntimeWarning)
            module = loader.create_module(ModuleSpec("_hostler", loader, origin=path))
        loader.exec_module(module)
    except BaseException:
        cannot_start()
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        fail("the free-threaded %s can be used with the GIL only: take PYTHON_GIL=0 or -X gil=0 away" % sys.executable)
    return module


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
    if path.startswith(env["SCRIPT_NAME"] + "/"):
        path = path[len(env["SCRIPT_NAME"]) :]
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


def describe(fd):
    """What is at a socket's other end, as far as the kernel knows."""
    import _socket

    copy = _socket.socket(fileno=os.dup(fd))
    try:
        for word, ask in (("connected to", copy.getpeername), ("bound to", copy.getsockname)):
            try:
                name = ask()
            except OSError:
                continue
            if type(name) is tuple and len(name) > 1:
                return "descriptor %d, %s %s:%s" % (fd, word, name[0], name[1])
            if type(name) in (str, bytes) and name:
                return "descriptor %d, %s %s" % (fd, word, os.fsdecode(name))
    finally:
        copy.close()
    return "descriptor %d" % fd


def open_sockets(first):
    """The sockets among the descriptors from first on, by what the kernel calls them."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            link = os.readlink("/proc/self/fd/" + name)
        except OSError:
            continue  # the directory itself
        if int(name) >= first and link.startswith("socket:"):
            found[link] = int(name)
    return found


# What the audit looks at is the application's. An object may run code as soon as it
# is asked for its class, an attribute, its truth or its text (lazy ones do, and then
# do what they have put off); so nothing is asked but type(), which answers for the
# interpreter, and the slots of Python's own types.

is_kind = type.__subclasscheck__  # (a type of Python's, any type)


def slot(owner, name, o):
    """What a type of Python's has noted down about o, which is of that kind."""
    return owner.__dict__[name].__get__(o)


def only_str(o):
    return o if type(o) is str else "?"


def type_name(cls):
    return "%s.%s" % (only_str(slot(type, "__module__", cls)), only_str(slot(type, "__qualname__", cls)))


def code_name(o):
    """The name of what a thread runs."""
    from types import BuiltinFunctionType, FunctionType, MethodType

    while type(o) is MethodType:
        o = o.__func__
    if type(o) is FunctionType or type(o) is BuiltinFunctionType:
        return "%s.%s" % (only_str(o.__module__), only_str(o.__qualname__))
    return type_name(type(o))


def thread_names(threads):
    """The names of threads, and of what they run."""
    import threading

    names = []
    for t in threads:
        noted = slot(threading.Thread, "__dict__", t) if is_kind(threading.Thread, type(t)) else {}
        target = noted.get("_target")
        if target is None and type(t) is threading.Timer:
            target = noted.get("function")
        names.append("%r (%s)" % (only_str(noted.get("_name")), type_name(type(t)) if target is None else code_name(target)))
    return names


def socket_owners():
    """Where in modules the sockets are that Python knows, by their descriptors."""
    import gc
    import _socket
    from types import ModuleType

    sockets = {}
    for o in gc.get_objects():
        if is_kind(_socket.socket, type(o)):
            sockets[id(o)] = (_socket.socket.fileno(o), [], o)
    if not sockets:
        return {}
    for name, module in list(dict.items(sys.modules)):
        if type(name) is str and is_kind(ModuleType, type(module)):
            for key, value in list(slot(ModuleType, "__dict__", module).items()):
                if type(key) is str and id(value) in sockets:
                    sockets[id(value)][1].append(name + "." + key)
    return {fd: ", ".join(names) for fd, names, _ in sockets.values()}


def warn(text):
    say("hostler: preload: %s\n" % text)


def audit_threads():
    import threading

    named = thread_names(t for t in threading.enumerate() if t is not threading.main_thread())
    for name in named:
        warn("the thread %s will not be in the workers" % name)
    others = len(os.listdir("/proc/self/task")) - 1 - len(named)
    if others > 0:
        warn("%d threads that Python does not know will not be in the workers" % others)


def audit_sockets(first, before):
    sockets = open_sockets(first)
    owners = socket_owners() if sockets else {}
    for link, fd in sockets.items():
        name = "%s (%s)" % (owners.get(fd) or "held by no module itself", describe(fd))
        if link in before:
            warn("a socket will be shared by all workers: %s" % name)
        else:
            warn("warming up has opened a connection, and all workers would share it: %s" % name)
    if any(link not in before for link in sockets):
        warn(
            "what workers say on one connection gets mixed up: close it before the fork, in a function for"
            " os.register_at_fork(before=...) (SQLAlchemy: engine.dispose, psycopg_pool: pool.close), and open it in the worker"
        )


def audit_libraries():
    with open("/proc/self/maps") as maps:
        files = {line.split(None, 5)[5].strip() for line in maps if " r" in line and ".so" in line}
    own = os.fstat(LIBRARY)
    for path in files:
        try:
            with open(path, "rb") as f:
                # Its first page has the note with its build id.
                if b"Go\x00\x00" in f.read(4096) and not os.path.samestat(os.fstat(f.fileno()), own):
                    warn("%s is written in Go, whose runtime does not survive a fork: import it in the workers only" % path)
        except OSError:
            pass


def audit(first, before):
    """Say what will not survive the fork: other threads, open sockets, of which
    those in before are not from the warm-up, Go. It is for people: it does not
    matter if it fails."""
    for look in (audit_threads, lambda: audit_sockets(first, before), audit_libraries):
        try:
            look()
        except Exception as e:
            warn("cannot look for all that does not survive a fork: %s" % type_name(type(e)))


def close_databases():
    """Close Django's connections, of which a copy in each worker is of no use."""
    if "django.db" not in sys.modules:
        return
    try:
        if sys.modules["django.conf"].settings.configured:
            sys.modules["django.db"].connections.close_all()
    except Exception:
        import traceback

        warn("cannot close Django's connections:\n" + traceback.format_exc())


def flush():
    """Or each worker writes what the application has not written yet."""
    for f in (sys.stdout, sys.stderr):
        try:
            f.flush()
        except Exception:
            pass  # None, closed, or something of the application's


def set_title(text):
    """Make text what ps shows, in place of a command line with all of this in it."""
    try:
        with open("/proc/self/stat", "rb") as f:
            fields = f.read().rpartition(b")")[2].split()  # from the third on
        start, end = int(fields[48 - 3]), int(fields[49 - 3])
        title = text.encode("utf-8", "backslashreplace")[: end - start - 1]
        with open("/proc/self/mem", "r+b", buffering=0) as memory:
            memory.seek(start)
            memory.write(title.ljust(end - start, b"\0"))
    except Exception:
        pass  # where /proc is not what it is elsewhere


def title(settings, what):
    return "hostler: %s gen %d [%s]" % (what, settings["generation"], settings["name"] or settings["app"])


def control_socket():
    """The control socket, whatever the application has made of Python's."""
    import _socket

    control = _socket.socket(fileno=os.dup(CONTROL))
    control.settimeout(None)  # socket.setdefaulttimeout() is not meant for us
    return control


def begin_mold(settings):
    """Load the library, before the application can have registered fork handlers."""
    import gc

    gc.disable()
    server = load_library()
    server.mold(settings["master_pid"])
    os.register_at_fork(before=server.arm)  # the first to be registered runs last
    return server


def fork_worker(server, fds):
    """Fork a worker, which gets these descriptors as its CONTROL and SECRETS. Return
    True in it, in the mold what to tell the master."""
    import warnings

    flush()
    server.order(*fds)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # that there are threads; the audit has said which
            pid = os.fork()
    except OSError:
        pid = -1
    if pid == 0:
        return True
    return b"P" if server.ordered(pid) else b"Pthe kernel refused to fork"


def be_mold(settings, app, server, own):
    """Fork a worker whenever the master asks for one. Return, in a worker, its
    settings. The mold has one thread, and no Go runtime in it: the library is there,
    but what the dynamic linker has made of it is all it shares."""
    import _signal
    import gc

    first = LISTENERS + len(settings["listeners"])
    before = open_sockets(first)
    for target in settings.get("warmup") or ():
        warm_up(settings, app, target)
    close_databases()
    audit(first, before)
    control = control_socket()
    set_title(title(settings, "mold"))
    # A handler of the application's would hear of processes that are none of its.
    on_child = _signal.getsignal(_signal.SIGCHLD)
    if on_child is not None:  # not Python's
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
    gc.freeze()  # the collector would write to every object, and so unshare it
    server.slim()
    os.write(CONTROL, b"R")
    while True:
        message, fds = receive(control)
        if not message:
            os._exit(0)  # the master has gone
        if message[:1] != b"W":
            continue
        own.spared = True
        answer = fork_worker(server, fds)
        own.spared = False
        if answer is True:
            own.take(CONTROL, SECRETS)
            control.close()
            if on_child is not None:
                _signal.signal(_signal.SIGCHLD, on_child)
            gc.enable()
            own_signals()
            return message[1:].decode()
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

            say(traceback.format_exc())


def no_daemons():
    """The threads whose end Python waits for."""
    import threading

    threads = (t for t in threading.enumerate() if t is not threading.main_thread() and is_kind(threading.Thread, type(t)))
    return [t for t in threads if slot(threading.Thread, "__dict__", t).get("_daemonic") is False]


def see_off(settings, seconds):
    """Python ends when the application's threads have, and then does what it is to do
    at exit. Say which threads it waits for, and after seconds do so without them:
    whoever stops the server does not wait for ever, and would kill this process."""
    import atexit
    import threading
    import time

    if not no_daemons():
        return
    over = time.monotonic() + seconds
    at_exit = []
    atexit.register(at_exit.append, True)  # the last to be registered runs first

    def say(text):
        sys.stderr.write("hostler: worker %d %s: %s\n" % (settings["worker"], text, ", ".join(thread_names(no_daemons()))))
        sys.stderr.flush()

    def watch():
        time.sleep(0.2)  # those of an idle pool end as soon as Python begins to wait
        if at_exit:
            return
        say("cannot end as long as threads run that are no daemons")
        time.sleep(max(0, over - time.monotonic()))
        if at_exit:
            return
        say("ends without its threads, for its time is over")
        atexit._run_exitfuncs()
        flush()
        os._exit(0)

    threading.Thread(target=watch, daemon=True, name="hostler-end").start()


def main():
    check_python()
    import faulthandler
    makes = Threads()  # threading's main thread is the one that imports it first

    raw = sys.argv[1]
    settings = json.loads(raw)
    for name in settings.get("internal_env") or ():
        os.environ.pop(name, None)  # Go reads it from the process's first stack
    faulthandler.enable()  # before the library: after it, it would hide Go's own faults
    faulthandler.register(signal.SIGRTMIN + 1, all_threads=True, chain=False)
    if hasattr(sys.stdout, "reconfigure"):  # to a pipe it would come in blocks, late
        sys.stdout.reconfigure(line_buffering=True)
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
    try:
        here = os.getcwd()
    except OSError as e:
        fail("there is no working directory, it has been removed or moved: %s" % e.strerror)
    sys.path[:] = [p for p in sys.path if p != ""]
    sys.path[:0] = settings.get("pythonpath") or []
    sys.path.insert(0, here)
    sys.argv[:] = ["hostler", settings["app"]]
    development = settings.get("development")
    modules = Modules(CONTROL) if development else None
    hooks = load_hooks(settings)
    if settings.get("hooks_only"):
        be_hooks(settings, hooks)
        return
    if settings["worker"] <= 1:
        mention_build()
    if hooks and not settings.get("mold") and not settings.get("check"):
        worker_args = hook_args(settings, wsgi=None)
        try_hook(hooks, "post_fork", *worker_args)
    server = begin_mold(settings) if settings.get("mold") else None
    try:
        if settings.get("page"):
            app = None
        elif settings.get("paste"):
            app = load_paste(settings["paste"])
        else:
            app = load_app(settings["app"])
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
        raw = be_mold(settings, app, server, own)  # returns in each worker
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
            profiler = Profiler(server.profiled, makes)
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
    global behind
    behind = server.say
    faulthandler.register(signal.SIGRTMIN + 1, file=server.dump_fd(), all_threads=True, chain=False)
    drain_on_sigterm(server)
    try:
        server.serve()
    except BaseException as e:
        fail("cannot serve: %s" % e)
    server.slim()
    if development:
        modules.follow(makes)
    if threads == 1:
        server.run(0)
    else:
        # A handler that forks must not find the main thread in the middle of this.
        mask = block_signals()

        def run(i):
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            server.run(i)

        pool = [makes.start(run, (i,), "hostler-%d" % i) for i in range(threads)]
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        while wait(server):
            server.drain()
        for t in pool:
            t.join()
    if hooks:
        try_hook(hooks, "worker_exit", *worker_args)
    profiler.end()
    see_off(settings, server.leave())


main()
