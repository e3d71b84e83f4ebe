"""What several of the tests need."""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import textwrap
from unittest import mock

from _hostler import protocol


@contextlib.contextmanager
def control():
    """The master's end of a control socket, whose other end is this process's."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, mock.patch.object(protocol, "CONTROL", ours.fileno()):
        theirs.settimeout(10)
        yield theirs


@contextlib.contextmanager
def folder(**files):
    """A folder of modules, which is found while this lasts."""
    before = set(sys.modules)
    with tempfile.TemporaryDirectory() as path, mock.patch.object(sys, "path", [path] + sys.path):
        for name, text in files.items():
            with open(os.path.join(path, name + ".py"), "w") as f:
                f.write(textwrap.dedent(text))
        try:
            yield path
        finally:
            for name in set(sys.modules) - before:
                if name in files:
                    del sys.modules[name]


def python(text, *args):
    """Run a program in an interpreter of its own. Return what it has printed."""
    done = subprocess.run(
        [sys.executable, "-B", "-c", textwrap.dedent(text)] + list(args), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, encoding="utf-8"
    )
    if done.returncode:
        raise AssertionError("exit status %d\n%s" % (done.returncode, done.stdout))
    return done.stdout


def in_child(function):
    """Run a function in a forked child. Return whether it returned something true."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if function() else 1
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1] == 0
