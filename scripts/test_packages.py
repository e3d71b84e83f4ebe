#!/usr/bin/env python3
"""test_packages.py OLD NEW FIRST SECOND: install the packages, and serve Flask from them.

OLD and NEW are roots of Debian: one without systemd, and one that is booted, with systemd
as its first process. Neither is written to. FIRST and SECOND are folders with the packages
of a version and of the next. It wants to be root in namespaces of mounts and network of its
own, so that all it does goes with it.
"""

import contextlib
import http.client
import os
import pwd
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

APP = """
import flask

app = flask.Flask(__name__)


@app.route("/")
def hello():
    return "hello from flask " + flask.request.environ["SERVER_SOFTWARE"]


@app.route("/write/<path:folder>")
def write(folder):
    try:
        with open("/" + folder + "/written", "w"):
            return "written"
    except OSError as e:
        return e.strerror
"""
SETTINGS = """app = "shop:app"
chdir = "/srv/shop"
bind = ["127.0.0.1:8000"]
admin_bind = "off"
"""
# The units of Gunicorn's documentation (Deploying, systemd), one word of which is another.
UNITS = {
    "gunicorn.service": """[Unit]
Description=gunicorn daemon
Requires=gunicorn.socket
After=network.target

[Service]
Type=notify
NotifyAccess=main
User=someuser
Group=someuser
RuntimeDirectory=gunicorn
WorkingDirectory=/srv/shop
ExecStart=/usr/bin/hostler shop:app
ExecReload=/bin/kill -s HUP $MAINPID
KillMode=mixed
TimeoutStopSec=5
PrivateTmp=true

[Install]
WantedBy=multi-user.target
""",
    "gunicorn.socket": """[Unit]
Description=gunicorn socket

[Socket]
ListenStream=/run/gunicorn.sock
SocketUser=www-data
SocketGroup=www-data
SocketMode=0660

[Install]
WantedBy=sockets.target
""",
}
REPOSITORY = Path(__file__).resolve().parent.parent
PATIENCE = 120  # seconds, on a busy machine
CONFIG = "/etc/hostler/hostler.toml"
# What a system writes down of a package that it has had, and of the user that stays.
NOTES = (
    "/var/lib/dpkg",
    "/var/lib/rpm",
    "/var/log",
    "/var/cache",
    "/run",
    "/tmp",
    "/proc",
    "/sys",
    "/dev",
    "/var/lib/systemd",
    "/root/.rpmdb",
    "/usr/lib/sysimage",
)
USERS = {"/etc/" + name + minus for name in ("passwd", "group", "shadow", "gshadow", "subuid", "subgid") for minus in ("", "-")} | {"/etc/.pwd.lock"}


def fail(text):
    raise SystemExit("test-packages: " + text)


def run(*command, **kw):
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kw)
    if done.returncode:
        fail("%s: exit status %d\n%s" % (" ".join(map(str, command)), done.returncode, done.stdout))
    return done.stdout


def eventually(what, condition):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        got = condition()
        if got:
            return got
        time.sleep(0.1)
    fail("in vain waited for " + what)


def get(path="/"):
    try:
        return urllib.request.urlopen("http://127.0.0.1:8000" + path, timeout=10).read().decode()
    except OSError:
        return ""


class Root:
    """A root to write to, over one that stays as it is."""

    def __init__(self, lower, work):
        self.path = work / "root"
        for name in ("root", "upper", "work"):
            (work / name).mkdir()
        run("mount", "-t", "overlay", "overlay", "-o", "lowerdir=%s,upperdir=%s,workdir=%s" % (lower, work / "upper", work / "work"), self.path)
        run("mount", "-t", "proc", "proc", self.path / "proc")
        run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", self.path / "run")
        (self.path / "srv/shop").mkdir()
        (self.path / "srv/shop/shop.py").write_text(APP)
        for name in ("null", "urandom"):  # not the machine's /dev
            run("mount", "--bind", "/dev/" + name, self.file(self.touched("/dev/" + name)))

    def file(self, path):
        return Path(str(self.path) + path)

    def touched(self, path):
        self.file(path).touch()
        return path

    def run(self, *command, **kw):
        return run("chroot", self.path, "/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive", *command, **kw)

    def files(self):
        """Whatever is there, less what every package leaves there."""
        found = set()
        for folder, folders, files in os.walk(str(self.path)):
            there = folder[len(str(self.path)) :]
            folders[:] = [f for f in folders if there + "/" + f not in NOTES]
            found.update(there + "/" + f for f in folders + files if f not in ("__pycache__",) and not f.endswith(".pyc"))
        return found - USERS

    def added(self, before):
        return sorted(self.files() - before)


class Deb:
    suffix = ".deb"

    def install(self, root, package, again=False):
        return root.run("dpkg", "-i", package)

    def verify(self, root):
        return root.run("dpkg", "--verify", "hostler")

    def remove(self, root):
        root.run("dpkg", "-r", "hostler")

    def kept(self):
        return [CONFIG]

    def purge(self, root):
        root.run("dpkg", "-P", "hostler")


class Rpm:
    """Debian's rpm knows no packages of the root that it installs into: no dependencies."""

    suffix = ".rpm"

    def install(self, root, package, again=False):
        more = ["--oldpackage"] if again else []
        return run("rpm", "--root", root.path, "-U", "--nodeps", *more, str(root.path) + package)

    def verify(self, root):
        return run("rpm", "--root", root.path, "-V", "--nodeps", "hostler")

    def remove(self, root):
        run("rpm", "--root", root.path, "-e", "--nodeps", "hostler")

    def kept(self):
        return [CONFIG + ".rpmsave"]

    def purge(self, root):
        root.file(CONFIG + ".rpmsave").unlink()
        root.file("/etc/hostler/shop.toml").unlink()
        root.file("/etc/hostler").rmdir()


def offered(root, folder, kind):
    """A folder's package of this architecture, as the root sees it."""
    machine = os.uname().machine
    names = {".deb": {"x86_64": "amd64", "aarch64": "arm64"}[machine], ".rpm": machine}
    (found,) = folder.glob("*%s%s" % (names[kind.suffix], kind.suffix))
    data = found.read_bytes()
    root.file("/tmp/" + found.name).write_bytes(data)
    return "/tmp/" + found.name


def unit_command(root, key, name):
    """What the template unit has for key, for the instance name."""
    unit = root.file("/usr/lib/systemd/system/hostler@.service").read_text()
    (line,) = [x for x in unit.splitlines() if x.startswith(key + "=")]
    return shlex.split(line[len(key) + 1 :].replace("%i", name))


@contextlib.contextmanager
def served(root):
    """The service hostler@shop without systemd: its command, as its user."""
    run_dir = root.file("/run/hostler/shop")
    run_dir.mkdir(parents=True)
    user = [x.split(":") for x in root.file("/etc/passwd").read_text().splitlines() if x.startswith("hostler:")][0]
    os.chown(str(run_dir), int(user[2]), int(user[3]))
    with open(str(root.file("/tmp/log")), "wb") as log:
        command = ["chroot", "--userspec=hostler:hostler", str(root.path), "/usr/bin/env", "-i", "PATH=/usr/bin:/bin", *unit_command(root, "ExecStart", "shop")]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        try:
            eventually("the first answer", lambda: get() or process.poll() is not None)
            yield process
            process.send_signal(signal.SIGTERM)
            if process.wait(PATIENCE):
                fail("exit status %d" % process.returncode)
        except SystemExit as e:
            fail("%s\n%s" % (e, root.file("/tmp/log").read_text(errors="replace")))
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def check_life(old, first, second, kind):
    """From the installation to the purge, on a system without systemd."""
    with scratch() as work:
        root = Root(old, work)
        # Folders that are other packages' in a distribution with rpm.
        for path in ("/usr/lib/sysusers.d", "/usr/share/licenses", "/usr/share/fish/vendor_completions.d", "/usr/share/zsh/site-functions"):
            root.file(path).mkdir(parents=True, exist_ok=True)
        before = root.files()
        kind.install(root, offered(root, first, kind))
        installed = root.added(before)
        for path in (
            "/usr/bin/hostler",
            "/usr/share/man/man1/hostler.1.gz",
            "/usr/lib/systemd/system/hostler.service",
            "/usr/lib/tmpfiles.d/hostler.conf",
            "/usr/lib/sysusers.d/hostler.conf",
            CONFIG,
        ):
            if path not in installed:
                fail("%s is not there after the installation: %s" % (path, installed))
        root.run("hostler", "--check", "--chdir", "/srv/shop", "--bind", "127.0.0.1:8000", "shop:app")
        root.file("/etc/hostler/shop.toml").write_text(SETTINGS)
        with served(root):
            if "hello from flask" not in get():
                fail("%r is served" % get())
            root.run(*unit_command(root, "ExecReload", "shop"))
            if "hello from flask" not in get():
                fail("%r is served after a reload" % get())
            kind.install(root, offered(root, second, kind))
            if "hello from flask" not in get():
                fail("%r is served after an upgrade of the package" % get())
        # An upgrade keeps what the administrator has changed.
        with root.file(CONFIG).open("a") as f:
            f.write("# mine\n")
        kind.install(root, offered(root, first, kind), again=True)
        kind.install(root, offered(root, second, kind))
        if "# mine" not in root.file(CONFIG).read_text():
            fail("an upgrade has overwritten " + CONFIG)
        kind.remove(root)
        want = sorted(["/etc/hostler", "/etc/hostler/shop.toml", *kind.kept()])
        if root.added(before) != want:
            fail("after the removal there are %s, not %s" % (root.added(before), want))
        kind.purge(root)
        if root.added(before):
            fail("after the purge there are " + str(root.added(before)))
        # And once more: the user is there already.
        kind.install(root, offered(root, second, kind))
        if kind.verify(root).strip():
            fail("the package's own check says: " + kind.verify(root))
    print("ok", kind.suffix[1:], "from installation to purge", flush=True)


BOOT = """
root=$1
mount -t sysfs -o ro sysfs $root/sys
mount -t tmpfs tmpfs $root/sys/fs/cgroup
mount -t cgroup2 cgroup2 $root/sys/fs/cgroup
mount -t tmpfs tmpfs $root/tmp
mount -t proc proc $root/proc
mount -t tmpfs -o mode=755 tmpfs $root/dev
for d in null zero full random urandom tty; do touch $root/dev/$d; mount --bind /dev/$d $root/dev/$d; done
mkdir $root/dev/pts $root/dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts $root/dev/pts
ln -s pts/ptmx $root/dev/ptmx
ln -s /proc/self/fd $root/dev/fd
exec chroot $root /usr/bin/env -i container=other PATH=/usr/sbin:/usr/bin /usr/lib/systemd/systemd
"""


class Booted(Root):
    """A root whose systemd runs, in namespaces and a cgroup of its own."""

    def __enter__(self):
        self.groups = self.path.parent / "cgroup"
        self.groups.mkdir()
        run("mount", "-t", "cgroup2", "cgroup2", self.groups)
        self.group = self.groups / ("test-packages-%d" % os.getpid())
        self.group.mkdir()
        enter = "echo $$ >%s/cgroup.procs; exec unshare --mount --propagation private --pid --uts --ipc --cgroup --fork --kill-child bash -euc %s boot %s" % (
            self.group,
            shlex.quote(BOOT),
            self.path,
        )
        self.process = subprocess.Popen(["bash", "-c", enter], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self.first = eventually("systemd", self.child)
        eventually(
            "systemd to be up",
            lambda: subprocess.run(self.inside("systemctl", "is-system-running"), stdout=subprocess.PIPE, text=True).stdout.strip() in ("running", "degraded"),
        )
        return self

    def child(self):
        pid = self.process.pid
        if self.process.poll() is not None:
            fail("systemd does not start: exit status %d" % self.process.returncode)
        return Path("/proc/%d/task/%d/children" % (pid, pid)).read_text().strip()

    def inside(self, *command):
        return [
            "nsenter",
            "--target",
            self.first,
            "--mount",
            "--pid",
            "--cgroup",
            "--root",
            "--wd",
            "/usr/bin/env",
            "-i",
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            "DEBIAN_FRONTEND=noninteractive",
            *map(str, command),
        ]

    def run(self, *command, **kw):
        return run(*self.inside(*command), **kw)

    def __exit__(self, *_):
        self.process.kill()  # and with it, the kernel all the others
        self.process.wait()
        for folder in sorted((p for p in self.group.rglob("*") if p.is_dir()), key=lambda p: -len(p.parts)):
            eventually("the end of " + str(folder), lambda: not (folder / "cgroup.procs").read_text())
            folder.rmdir()
        self.group.rmdir()


def ask_port():
    return urllib.request.urlopen("http://127.0.0.1:8000/", timeout=PATIENCE).read().decode()


class UnixConnection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.host)


def ask_unix(path):
    c = UnixConnection(path, timeout=PATIENCE)
    try:
        c.request("GET", "/", headers={"Host": "shop"})
        return c.getresponse().read().decode()
    except http.client.HTTPException as e:
        raise OSError(repr(e)) from e
    finally:
        c.close()


class Client(threading.Thread):
    """Asks all the time: each request has to be answered."""

    def __init__(self, ask=ask_port):
        super().__init__(daemon=True)
        self.ask = ask
        self.answers, self.wrong, self.stopped = 0, [], False

    def run(self):
        while not self.stopped:
            try:
                text = self.ask()
                if "hello from flask" not in text:
                    self.wrong.append(text)
            except OSError as e:
                self.wrong.append(repr(e))
            self.answers += 1
            time.sleep(0.01)

    def end(self, root, what):
        self.stopped = True
        self.join()
        if self.wrong or not self.answers:
            fail("%s: %d of %d requests failed: %s\n%s" % (what, len(self.wrong), self.answers, self.wrong[:3], journal(root)))


def show(root, unit, name):
    return root.run("systemctl", "show", "--value", "-p", name, unit).strip()


def check_systemd(new, first, second):
    """The service under a systemd that runs."""
    kind = Deb()
    with scratch() as work, Booted(new, work) as root:
        before = root.files()
        # /tmp is a mount of its own there.
        packages = []
        for folder in (first, second):
            path = offered(root, folder, kind)
            packages.append("/srv/" + os.path.basename(path))
            root.file(path).rename(root.file(packages[-1]))
        root.run("dpkg", "-i", packages[0])
        for unit in ("hostler.service", "hostler@shop.service"):
            said = root.run("systemd-analyze", "verify", unit)
            if "hostler" in said:
                fail("systemd-analyze verify %s: %s" % (unit, said))
        if show(root, "hostler.service", "ActiveState") != "inactive":
            fail("the installation has started a service")
        said = root.run("bash", "-c", "man --warnings=all -Tutf8 hostler 2>&1 >/tmp/page; cat /tmp/page | wc -l")
        if int(said) < 500:
            fail("man hostler: " + said)
        root.file("/etc/hostler/shop.toml").write_text(SETTINGS)
        root.run("systemctl", "enable", "--now", "hostler@shop")
        client = Client()
        eventually("the first answer", get)
        client.start()
        was = show(root, "hostler@shop", "MainPID")
        root.run("systemctl", "reload", "hostler@shop")
        said = root.run("dpkg", "-i", packages[1])
        if show(root, "hostler@shop", "MainPID") == was or "goes on with the version" in said:
            fail("the service is still the old version's after the upgrade\n%s\n%s" % (said, journal(root)))
        eventually("the old master's end", lambda: not Path("/proc/%s/root/proc/%s" % (root.first, was)).exists())
        if show(root, "hostler@shop", "ActiveState") != "active" or show(root, "hostler@shop", "NRestarts") != "0":
            fail("the upgrade has stopped the service\n" + journal(root))
        client.end(root, "reload and upgrade")
        check_confined(root, "hostler@shop", "/var/lib/hostler/shop", "/run/hostler/shop/ctl.sock")
        # Wrong settings are not tried again and again.
        subprocess.run(root.inside("systemctl", "start", "hostler.service"), stderr=subprocess.DEVNULL)
        if show(root, "hostler.service", "Result") != "exit-code" or show(root, "hostler.service", "NRestarts") != "0":
            fail("a service without an application: " + show(root, "hostler.service", "NRestarts") + " restarts\n" + journal(root))
        root.run("systemctl", "reset-failed", "hostler.service")
        root.run("systemctl", "disable", "--now", "hostler@shop")
        check_gunicorn_units(root)
        check_units_to_copy(root)
        root.run("systemctl", "enable", "--now", "hostler@shop")
        root.run("dpkg", "-r", "hostler")
        if get():
            fail("a removed package's service still serves")
        root.run("dpkg", "-P", "hostler")
        # What the application has written is its own.
        left = [p for p in root.added(before) if not p.startswith(("/srv/", "/etc/machine-id", "/var/lib/hostler"))]
        if left:
            fail("after the purge there are " + str(left))
        print("ok deb under systemd, %d requests through a reload and an upgrade" % client.answers, flush=True)


def check_confined(root, unit, state, control):
    """It may do little, and all that an operator asks of it works; what is said of an application
    that has to write elsewhere is so (docs/systemd.md)."""
    root.run("systemd-analyze", "security", "--no-pager", "--threshold=20", unit + ".service")
    media = root.file("/srv/shop/media")
    media.mkdir(exist_ok=True)
    for folder in (media, media.parent):
        folder.chmod(0o777)
    for folder, want in (
        (state, "written"),
        ("/tmp", "written"),
        ("/srv/shop/media", "Read-only file system"),
        ("/home", "Permission denied" if unit == "hostler" else "Read-only file system"),
        ("/etc", "Read-only file system"),
    ):
        if get("/write" + folder) != want:
            fail("%s: a file in %s: %s, not %s" % (unit, folder, get("/write" + folder), want))
    for command in (["status"], ["dump"], ["profile", "1"], ["slow"], ["events"], ["restart"], ["reload"]):
        root.run("hostler", "ctl", "--socket", control, *command)
    said = [x for x in journal(root).splitlines() if "level=ERROR" in x or "not permitted" in x]
    if said:
        fail("%s: %s" % (unit, said))
    override = root.file("/etc/systemd/system/%s.service.d/write.conf" % unit)
    override.parent.mkdir()
    page = (REPOSITORY / "docs/systemd.md").read_text()
    block = page[page.index("    [Service]\n") :].split("\n\n", 1)[0]
    override.write_text("\n".join(line[4:] for line in block.splitlines()) + "\n")
    root.run("systemctl", "daemon-reload")
    root.run("systemctl", "restart", unit)
    if get("/write/srv/shop/media") != "written" or get("/write/srv/shop") != "Read-only file system":
        fail("%s: with an override: %s, %s" % (unit, get("/write/srv/shop/media"), get("/write/srv/shop")))
    main = show(root, unit, "MainPID")
    if "CapEff:\t0000000000000400\n" not in Path("/proc/%s/root/proc/%s/status" % (root.first, main)).read_text():
        fail("%s: it may not bind port 80" % unit)
    override.unlink()
    override.parent.rmdir()
    root.run("systemctl", "daemon-reload")


def check_units_to_copy(root):
    """deploy/systemd, with the lines changed that are to be."""
    for name in ("hostler.service", "hostler.socket"):
        text = (REPOSITORY / "deploy/systemd" / name).read_text()
        root.file("/etc/systemd/system/" + name).write_text(
            text.replace("WorkingDirectory=/srv", "WorkingDirectory=/srv/shop").replace("--chdir /srv app:app", "--chdir /srv/shop shop:app")
        )
    root.run("systemctl", "daemon-reload")
    root.run("systemctl", "start", "hostler.service")
    eventually("the first answer", get)
    client = Client()
    client.start()
    root.run("systemctl", "reload", "hostler.service")
    was = show(root, "hostler.service", "MainPID")
    root.run("systemctl", "kill", "--kill-whom=main", "-s", "USR2", "hostler.service")
    eventually("the new master", lambda: show(root, "hostler.service", "MainPID") not in (was, "0"))
    eventually("the old master's end", lambda: not Path("/proc/%s/root/proc/%s" % (root.first, was)).exists())
    client.end(root, "deploy/systemd")
    check_confined(root, "hostler", "/var/lib/hostler", "/run/hostler/ctl.sock")
    root.run("systemctl", "stop", "hostler.service")
    # systemd opens the port, and the first request starts the service.
    root.run("systemctl", "start", "hostler.socket")
    if show(root, "hostler.service", "ActiveState") != "inactive":
        fail("the service runs before anybody has asked")
    client = Client()
    client.start()
    eventually("answers", lambda: client.answers > 3)
    root.run("systemctl", "restart", "hostler.service")
    answers = client.answers
    eventually("answers after the restart", lambda: client.answers > answers + 1)
    client.end(root, "hostler.socket")
    root.run("systemctl", "stop", "hostler.socket", "hostler.service")
    if show(root, "hostler.service", "Result") != "success":
        fail("it did not stop as it should\n" + journal(root))
    root.run("rm", "-r", "/var/lib/hostler", "/var/lib/private/hostler")
    for name in ("hostler.service", "hostler.socket"):
        root.file("/etc/systemd/system/" + name).unlink()
    root.run("systemctl", "daemon-reload")
    print("ok deploy/systemd", flush=True)


def check_gunicorn_units(root):
    """The units that Gunicorn's users have, with the command alone exchanged."""
    root.run("useradd", "--system", "someuser")
    for name, text in UNITS.items():
        root.file("/etc/systemd/system/" + name).write_text(text)
    root.run("systemctl", "daemon-reload")
    root.run("systemctl", "enable", "--now", "gunicorn.socket")
    if show(root, "gunicorn.service", "ActiveState") != "inactive":
        fail("it runs before anybody has asked")
    path = "/proc/%s/root/run/gunicorn.sock" % root.first
    client = Client(lambda: ask_unix(path))
    client.start()
    eventually("the first request to start it", lambda: show(root, "gunicorn.service", "ActiveState") == "active" and client.answers)

    def workers(pid):
        threads = Path("/proc/%s/root/proc/%s/task" % (root.first, pid)).glob("*/children")
        return {child for children in threads for child in children.read_text().split()}

    main = show(root, "gunicorn.service", "MainPID")
    first = workers(main)
    uid = root.run("id", "-u", "someuser").strip()
    for pid in [main, *first]:
        status = Path("/proc/%s/root/proc/%s/status" % (root.first, pid)).read_text()
        if "Uid:\t%s\t" % uid not in status:
            fail("it is not someuser: " + status)
    root.run("systemctl", "reload", "gunicorn")
    eventually("the new workers", lambda: workers(main) and not workers(main) & first)
    if show(root, "gunicorn.service", "MainPID") != main or show(root, "gunicorn.service", "ActiveState") != "active":
        fail("a reload has ended it\n" + journal(root))
    root.run("systemctl", "restart", "gunicorn")
    answers = client.answers
    eventually("answers after the restart", lambda: client.answers > answers + 1)
    client.end(root, "Gunicorn's units")
    root.run("systemctl", "stop", "gunicorn.socket", "gunicorn")
    if show(root, "gunicorn.service", "Result") != "success" or show(root, "gunicorn.service", "NRestarts") != "0":
        fail("it did not stop as it should\n" + journal(root))
    root.run("systemctl", "disable", "gunicorn.socket")
    for name in UNITS:
        root.file("/etc/systemd/system/" + name).unlink()
    root.run("systemctl", "daemon-reload")
    root.run("userdel", "someuser")
    print("ok Gunicorn's units, %d requests through a reload and a restart" % client.answers, flush=True)


def journal(root):
    return root.run("journalctl", "--no-pager", "-n", "60", "-o", "cat")


def check_linters(first, work):
    """What Debian and rpm say of the files."""
    run("lintian", "--fail-on", "error", "--allow-root", *first.glob("*.deb"))
    # rpmlint unpacks what it looks at, with the names that are in it: never as root.
    nobody = pwd.getpwnam("nobody")
    os.chown(str(work), nobody.pw_uid, nobody.pw_gid)
    copies = [readable_copy(p, work) for p in first.glob("*.rpm")]
    done = subprocess.run(
        ["setpriv", "--reuid", "nobody", "--regid", str(nobody.pw_gid), "--clear-groups", "env", "HOME=%s" % work, "TMPDIR=%s" % work, "rpmlint", *copies],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=str(work),
    )
    # It is signed where it is published; nfpm does not note down what is a binary.
    errors = [x for x in done.stdout.splitlines() if ": E: " in x and x.split(": E: ")[1].split()[0] not in ("no-signature", "no-binary")]
    if errors or "packages and" not in done.stdout:
        fail("rpmlint: \n" + done.stdout)
    print("ok lintian and rpmlint", flush=True)


def readable_copy(path, folder):
    copy = folder / path.name
    copy.write_bytes(path.read_bytes())
    copy.chmod(0o644)
    return str(copy)


@contextlib.contextmanager
def scratch():
    """A folder for overlays, in memory, that goes with its mounts."""
    work = Path(tempfile.mkdtemp(prefix="test-packages-"))
    work.chmod(0o755)
    run("mount", "-t", "tmpfs", "tmpfs", work)
    try:
        yield work
    finally:
        run("umount", "--recursive", "--lazy", work)
        work.rmdir()


def main():
    if len(sys.argv) != 5:
        raise SystemExit(__doc__)
    old, new, first, second = (Path(p).resolve() for p in sys.argv[1:])
    with scratch() as work:
        check_linters(first, work)
    check_life(old, first, second, Deb())
    check_life(old, first, second, Rpm())
    check_systemd(new, first, second)


main()
