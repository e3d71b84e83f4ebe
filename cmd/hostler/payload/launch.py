# What python runs as -c: the bootstrap, which the master puts in here. To compile
# it takes more than two megabytes, which Python would not give back: a child does
# that. It must be valid for any Python.
import marshal
import os

SOURCE = ""


def compiled():
    r, w = os.pipe()
    try:
        pid = os.fork()
    except OSError:
        pid = -1
    if pid == 0:
        try:
            os.close(r)  # or a child whose parent is killed would wait for itself to read
            code = marshal.dumps(compile(SOURCE, "<string>", "exec"))
            while code:
                code = code[os.write(w, code) :]
        finally:
            os._exit(0)
    os.close(w)
    code = b""
    if pid > 0:
        with os.fdopen(r, "rb") as f:
            code = f.read()
        os.waitpid(pid, 0)
    else:
        os.close(r)
    try:
        return marshal.loads(code)
    except (EOFError, ValueError, TypeError):
        return compile(SOURCE, "<string>", "exec")  # if that fails, here is where it is said


exec(compiled())
