#!/usr/bin/env python3
"""test_container.py BASE BINARY: build the images of deploy/container, and run one.

BASE is a root of Debian with python3-flask and python3-venv, which stands in for the image
of Python: there is no registry here, nor a daemon. The images are built by buildah. What
runs is the image's own command as process 1 of namespaces, as the image's user, on a root
that is read-only. It wants to be root in namespaces of mounts and network of its own.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
APP = """
import os
import ssl
import time
import zoneinfo

import flask

app = flask.Flask(__name__)


@app.route("/")
def hello():
    return "hello from %d in %s, of %d, at %s" % (os.getuid(), os.getcwd(), os.getppid(), zoneinfo.ZoneInfo("Europe/Berlin").key)


@app.route("/slow")
def slow():
    open("/tmp/slow", "w").close()
    while not os.path.exists("/tmp/enough"):
        time.sleep(0.05)
    return "finished"
"""
# Process 1: what a container's runtime does before the image's command.
RUNTIME = """
import json, os, subprocess, sys
root, config = sys.argv[1], json.loads(sys.argv[2])
def mount(*args): subprocess.run(["mount", *args], check=True)
mount("--bind", root, root)
mount("-o", "remount,bind,ro", root)
mount("-t", "proc", "proc", root + "/proc")
mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", root + "/tmp")
mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", root + "/dev")
for name in ("null", "urandom"):
    open(root + "/dev/" + name, "w").close()
    mount("--bind", "/dev/" + name, root + "/dev/" + name)
os.chroot(root)
os.chdir(config["WorkingDir"])
user, group = map(int, config["User"].split(":"))
os.setgroups([])
os.setgid(group)
os.setuid(user)
env = dict(e.split("=", 1) for e in config["Env"])
command = config["Entrypoint"] + config["Cmd"]
os.execve(command[0], command, env)
"""
PATIENCE = 120  # seconds, on a busy machine


def fail(text):
    raise SystemExit("test-container: " + text)


def run(*command, **kw):
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kw)
    if done.returncode:
        fail("%s: exit status %d\n%s%s" % (" ".join(map(str, command)), done.returncode, done.stdout[-4000:], done.stderr[-4000:]))
    return done.stdout


def get(path="/"):
    try:
        return urllib.request.urlopen("http://127.0.0.1:8000" + path, timeout=PATIENCE).read().decode()
    except OSError:
        return ""


def eventually(what, condition):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        got = condition()
        if got:
            return got
        time.sleep(0.1)
    fail("in vain waited for " + what)


class Builder:
    def __init__(self, work):
        self.work = work
        self.buildah = ["buildah", "--root", work / "storage", "--runroot", work / "run", "--storage-driver", "vfs"]

    def build(self, tag, file, context, *args):
        run(*self.buildah, "bud", "--isolation", "chroot", "--pull-never", "-t", tag, "-f", file, *args, context)

    def config(self, tag):
        return json.loads(run(*self.buildah, "inspect", "--type", "image", tag))["OCIv1"]["config"]

    def mounted(self, tag):
        return run(*self.buildah, "mount", run(*self.buildah, "from", "--pull-never", tag).strip()).strip()


def build(builder, base, binary, work):
    context = work / "base"
    context.mkdir()
    run("tar", "-C", base, "--one-file-system", "--exclude=./repo", "-cf", context / "root.tar", ".")
    (context / "Dockerfile").write_text("FROM scratch\nADD root.tar /\nENV PATH=/usr/sbin:/usr/bin\n")
    builder.build("python", context / "Dockerfile", context)
    builder.build("hostler", ROOT / "deploy/container/Dockerfile", ROOT, "--build-arg", "BINARY=%s" % binary)
    app = work / "app"
    app.mkdir()
    (app / "app.py").write_text(APP)
    (app / "requirements.txt").write_text("flask\n")
    # Flask is there already, in Debian's folder: pip asks nobody.
    builder.build(
        "shop",
        ROOT / "deploy/container/app.Dockerfile",
        app,
        "--build-arg",
        "PYTHON=localhost/python",
        "--build-arg",
        "HOSTLER=localhost/hostler",
        "--build-arg",
        "VENV_FLAGS=--system-site-packages",
    )


def check_image(root, config):
    if config["User"] != "65532:65532" or config["StopSignal"] != "SIGTERM":
        fail("the image's settings are %s" % config)
    for name in ("sh", "bash", "dash", "pip", "pip3", "apt-get", "dpkg"):
        for folder in ("bin", "usr/bin", "sbin", "usr/sbin"):
            if os.path.lexists("%s/%s/%s" % (root, folder, name)):
                fail("the image has /%s/%s" % (folder, name))


def check_life(root, config, work):
    log = work / "log"
    with open(str(log), "wb") as out:
        process = subprocess.Popen(
            [
                "unshare",
                "--mount",
                "--propagation",
                "private",
                "--pid",
                "--uts",
                "--ipc",
                "--fork",
                "--kill-child",
                sys.executable,
                "-c",
                RUNTIME,
                root,
                json.dumps(config),
            ],
            stdout=out,
            stderr=out,
        )
    try:
        got = eventually("the first answer", lambda: get() or process.poll() is not None)
        if got != "hello from 65532 in /srv/app, of 1, at Europe/Berlin":
            fail("%r is served" % got)
        (first,) = Path("/proc/%d/task/%d/children" % (process.pid, process.pid)).read_text().split()
        if urllib.request.urlopen("http://127.0.0.1:9191/readyz", timeout=PATIENCE).status != 200:
            fail("it is not ready")
        os.kill(int(first), signal.SIGHUP)
        eventually("the reload", lambda: b"msg=reloaded" in log.read_bytes())
        # docker stop: what runs is finished, and the end is an orderly one.
        answers = []
        client = threading.Thread(target=lambda: answers.append(get("/slow")), daemon=True)
        client.start()
        tmp = Path("/proc/%s/root/tmp" % first)
        eventually("the slow request", (tmp / "slow").exists)
        os.kill(int(first), signal.SIGTERM)
        eventually("the order to stop", lambda: b"msg=stopping" in log.read_bytes())
        (tmp / "enough").touch()
        client.join(PATIENCE)
        if answers != ["finished"]:
            fail("the request that ran at the stop was answered %r" % answers)
        if process.wait(PATIENCE):
            fail("exit status %d" % process.returncode)
    except SystemExit as e:
        fail("%s\n%s" % (e, log.read_text(errors="replace")))
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def main():
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    base, binary = Path(sys.argv[1]).resolve(), sys.argv[2]
    with tempfile.TemporaryDirectory(prefix="test-container-") as name:
        work = Path(name)
        work.chmod(0o755)
        run("mount", "-t", "tmpfs", "tmpfs", work)
        try:
            builder = Builder(work)
            build(builder, base, binary, work)
            root, config = builder.mounted("shop"), builder.config("shop")
            check_image(root, config)
            check_life(root, config, work)
            size = int(run("du", "-sm", root).split()[0])
            print("ok container, %d MB" % size, flush=True)
        finally:
            run("umount", "--recursive", "--lazy", work)


main()
