#!/usr/bin/env python3
"""test_install.py DIST WHEELHOUSE TOOLS [INSIDE [TOOL ...]]: install the wheel as people do, and serve Flask.
test_install.py --installed DIR VERSION: serve Flask with what pip has put into DIR.

DIST has the wheels; WHEELHOUSE, by version of Python, what Flask needs; TOOLS is an
environment with pip, uv, pipx and poetry. INSIDE is a version of Python: that one alone
is tried, with pip and uv or the TOOLs named, as in a root of another system that has
nothing else.
"""

import glob
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile
from pathlib import Path

APP = """
import sys
import flask

app = flask.Flask(__name__)


@app.get("/")
def hello():
    return "%d.%d %s" % (*sys.version_info[:2], sys.prefix)
"""
PATIENCE = 600  # seconds, on a busy machine, or one that is emulated


def run(*command, **kw):
    kw.setdefault("env", os.environ)
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kw)
    if done.returncode:
        raise SystemExit("test-install: %s: exit status %d\n%s" % (" ".join(map(str, command)), done.returncode, done.stdout))
    return done.stdout


def interpreter(version):
    """A CPython of this version on this machine."""
    found = glob.glob(os.path.expanduser("~/.pyenv/versions/%s.*/bin/python%s" % (version, version)))
    python = found[0] if found else shutil.which("python" + version)
    if not python:
        raise SystemExit("test-install: there is no Python %s on this machine, neither on the PATH nor by pyenv" % version)
    return python


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(port, process):
    for _ in range(PATIENCE * 10):
        try:
            return urllib.request.urlopen("http://127.0.0.1:%d/" % port, timeout=5).read().decode()
        except OSError:
            if process.poll() is not None:
                return None
            time.sleep(0.1)
    return None


def serve(name, hostler, version, prefix, work, env=None):
    """Serve the application; it must run in the environment, after a reload too."""
    port = free_port()
    with open(work / "log", "w+b") as log:
        process = subprocess.Popen(
            [str(c) for c in [*hostler, "--bind", "127.0.0.1:%d" % port, "--admin-bind", "off", "--boot-timeout", str(PATIENCE), "app:app"]],
            cwd=str(work),
            env=dict(os.environ, **(env or {})),
            stdout=log,
            stderr=log,
        )
        try:
            want = "%s %s" % (version, os.path.realpath(prefix) if prefix else "")
            first = wait_for(port, process)
            process.send_signal(signal.SIGHUP)
            for _ in range(PATIENCE * 10):
                if b"msg=reloaded" in (work / "log").read_bytes() or process.poll() is not None:
                    break
                time.sleep(0.1)
            second = wait_for(port, process)
            process.terminate()
            status = process.wait(PATIENCE)
        finally:
            if process.poll() is None:
                process.kill()
        text = (work / "log").read_text(errors="replace")
    for got in (first, second):
        if not got or not (got.startswith(want) if prefix else got.startswith(version + " ")):
            raise SystemExit("test-install: %s: %r is served, not %r\n%s" % (name, got, want, text))
    if status or b"level=ERROR" in text.encode():
        raise SystemExit("test-install: %s: exit status %d\n%s" % (name, status, text))
    print("ok", name, flush=True)


class Installation:
    def __init__(self, dist, wheelhouse, tools, version, python, work):
        self.wheel = str(next(iter(dist.glob("hostler-*-manylinux_2_17_%s.*.whl" % platform.machine()))))
        self.house = wheelhouse / version
        self.tools, self.version, self.python, self.work = tools, version, python, work
        (work / "app.py").write_text(APP)

    def new(self, name):
        d = self.work / name
        d.mkdir()
        shutil.copy(str(self.work / "app.py"), str(d))
        return d

    def pip(self):
        d = self.new("pip")
        run(self.python, "-m", "venv", "--without-pip", d / "venv")
        python = d / "venv/bin/python"
        pip = next(iter(self.house.glob("pip-*.whl")))  # a wheel that can install itself, too
        run(python, str(pip) + "/pip", "-q", "install", "--no-index", "--find-links", self.house, self.wheel, "flask")
        serve("pip " + self.version, [d / "venv/bin/hostler"], self.version, d / "venv", d)
        files = run(python, str(pip) + "/pip", "show", "-f", "hostler")
        run(python, str(pip) + "/pip", "-q", "uninstall", "-y", "hostler")
        if (d / "venv/bin/hostler").exists() or "bin/hostler" not in files:
            raise SystemExit("test-install: pip uninstall leaves it there\n" + files)

    def uv(self):
        for mode in ("hardlink", "symlink"):
            d = self.new("uv-" + mode)
            env = dict(os.environ, UV_CACHE_DIR=str(self.work / "uv-cache"), UV_LINK_MODE=mode, UV_PYTHON_DOWNLOADS="never")
            uv = self.tools / "bin/uv"
            run(uv, "-q", "venv", "--python", self.python, d / "venv", env=env)
            env["VIRTUAL_ENV"] = str(d / "venv")
            run(uv, "-q", "pip", "install", "--no-index", "--find-links", self.house, self.wheel, "flask", env=env)
            serve("uv %s, %s" % (self.version, mode), [d / "venv/bin/hostler"], self.version, d / "venv", d)

    def pipx(self):
        d = self.new("pipx")
        # The pip that pipx brings along does not run on 3.8 any more.
        backend = "uv" if self.version == "3.8" else "pip"
        env = {"PIPX_HOME": str(d / "home"), "PIPX_BIN_DIR": str(d / "bin"), "PIPX_DEFAULT_BACKEND": backend}
        env.update({"PIP_FIND_LINKS": str(self.house), "UV_FIND_LINKS": str(self.house), "UV_NO_INDEX": "1"})
        pipx = [self.tools / "bin/pipx"]
        run(*pipx, "install", "--python", self.python, self.wheel, env=dict(os.environ, **env))
        run(*pipx, "inject", "hostler", "flask", env=dict(os.environ, **env))
        own = d / "home/venvs/hostler"
        serve("pipx " + self.version, [d / "bin/hostler"], self.version, own, d, {"VIRTUAL_ENV": ""})
        # A tool's hostler serves the environment that is active.
        active = self.work / "pip/venv"
        serve("pipx %s, another environment active" % self.version, [d / "bin/hostler"], self.version, active, d, {"VIRTUAL_ENV": str(active)})

    def poetry(self):
        d = self.new("poetry")
        parts = [p for p in sorted(self.house.glob("*.whl")) if not p.name.startswith("pip-")]
        lines = ['"%s @ file://%s",' % (p.name.split("-")[0], p) for p in [Path(self.wheel), *parts]]
        (d / "pyproject.toml").write_text(
            "[project]\nname = 'shop'\nversion = '1'\nrequires-python = '~=%s.0'\ndependencies = [\n%s\n]\n"
            "[tool.poetry]\npackage-mode = false\n" % (self.version, "\n".join(lines))
        )
        env = dict(os.environ, POETRY_VIRTUALENVS_IN_PROJECT="true", POETRY_CACHE_DIR=str(d / "cache"), POETRY_CONFIG_DIR=str(d / "config"))
        env.pop("VIRTUAL_ENV", None)
        poetry = self.tools / "bin/poetry"
        # Poetry takes the environment that is there; what it makes them with has left 3.8.
        run(self.python, "-m", "venv", "--without-pip", d / ".venv")
        run(poetry, "-n", "install", cwd=str(d), env=env)
        serve("poetry " + self.version, [poetry, "-q", "run", "hostler"], self.version, d / ".venv", d, env)


def check_library(tools, root, work):
    """auditwheel looks at libraries only, and the wheel has none: it is given the one
    that the binary has in it."""
    for arch in ("x86_64", "aarch64"):
        so = root / "build/targets" / (arch + "-gnu") / "worker.so"
        name = "worker-0-py3-none-linux_%s.whl" % arch
        with zipfile.ZipFile(str(work / name), "w") as z:
            z.write(str(so), "worker.so")
            for file, text in {
                "METADATA": "Metadata-Version: 2.1\nName: worker\nVersion: 0\n",
                "WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: false\nTag: py3-none-linux_%s\n" % arch,
                "RECORD": "worker.so,,\n",
            }.items():
                z.writestr("worker-0.dist-info/" + file, text)
        said = run(tools / "bin/auditwheel", "show", work / name)
        if '"manylinux_2_17_%s"' % arch not in " ".join(said.split()).replace("'", '"'):
            raise SystemExit("test-install: auditwheel does not find it to be manylinux_2_17_%s:\n%s" % (arch, said))
        print("ok auditwheel", arch, flush=True)


def serve_installed(folder, version):
    """For a machine on which pip itself would take too long: one that is emulated."""
    folder = Path(folder).resolve()
    work = Path(tempfile.mkdtemp(prefix="test-install-"))
    try:
        (work / "app.py").write_text(APP)
        serve("pip --target, %s %s" % (platform.machine(), version), [folder / "bin/hostler"], version, None, work, {"PYTHONPATH": str(folder)})
    finally:
        shutil.rmtree(str(work))


def main():
    if sys.argv[1] == "--installed":
        serve_installed(*sys.argv[2:])
        return
    dist, wheelhouse, tools = (Path(p).resolve() for p in sys.argv[1:4])
    inside, chosen = sys.argv[4:5], sys.argv[5:] or ["pip", "uv"]
    work = Path(tempfile.mkdtemp(prefix="test-install-"))
    os.environ.pop("VIRTUAL_ENV", None)
    os.environ["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    try:
        if not inside:
            check_library(tools, Path(__file__).resolve().parent.parent, work)
        for version in inside or ["3.8", "3.13"]:
            (work / version).mkdir()
            i = Installation(dist, wheelhouse, tools, version, sys.executable if inside else interpreter(version), work / version)
            for tool in chosen if inside else ("pip", "uv", "pipx", "poetry"):
                getattr(i, tool)()
    finally:
        shutil.rmtree(str(work))


main()
