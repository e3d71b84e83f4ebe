"""An application that counts with prometheus_client. Run as a program it does the work of
other processes again, in the library's multiprocess mode, and compares (compare)."""

import json
import os
import random
import signal
import sys
from urllib.parse import parse_qs

from prometheus_client import Counter, Gauge, Histogram, Summary

MODES = ("all", "liveall", "min", "livemin", "max", "livemax", "sum", "livesum", "mostrecent", "livemostrecent")
GAUGES = {m: Gauge("g_" + m, "Gauge " + m, ["k"], multiprocess_mode=m) for m in MODES}
WORK = Counter("work", "Counter\nnew \\ line", ["a", "b"], unit="things")
TOOK = Histogram("took_seconds", "Time", ["a"], buckets=(0.1, 0.5, 1, 2.5))
SIZE = Summary("size", "Size", ["a"])

COUNT = Counter("requests_seen", "Requests seen.")
IMPORTS = Counter("imports", "Imports.")
IMPORTS.inc()
SETTING = Gauge("setting", "Set at import.", multiprocess_mode="livesum")
SETTING.set(21)
VERSION = Gauge("shop_version", "What runs.", ["version"], multiprocess_mode="max")
VERSION.labels(os.environ.get("SHOP_VERSION", "v1")).set(1)
USERS = Counter("shop_users", "One label too many.", ["id"])
ROOMS = Gauge("rooms", "Come and go.", ["name"], multiprocess_mode="sum")


def work(seed):
    r = random.Random(seed)
    for _ in range(50):
        k = r.choice("xyz\u00e9") + r.choice(["", '"', "\\", "\n"])
        for g in GAUGES.values():
            g.labels(k).set(r.randint(-50, 50))
        WORK.labels(k, "1").inc(r.random())
        TOOK.labels(k).observe(r.random() * 4)
        SIZE.labels(k).observe(r.random())


def raises(f, *args):
    try:
        f(*args)
    except Exception as e:
        return type(e).__name__
    return ""


def odd():
    """What the library's own values do with amounts of other types, and what these do."""
    import decimal
    import fractions

    from prometheus_client.values import MutexValue, ValueClass

    results = []
    for make in (MutexValue, ValueClass):
        v = make("counter", "odd", "odd_total", (), (), "help")
        seen = []
        for x in (1, True, 2.5, fractions.Fraction(1, 2), decimal.Decimal(1), "1", None, 10**400):
            seen.append((raises(v.inc, x), v.get()))
        v.set(0)
        seen.append(float(v.get()))
        v.set_exemplar("e")
        results.append(seen + [v.get_exemplar(), v._multiprocess])
    return results


def forge():
    """Share memory that can be made smaller, and make it so; write nonsense to what is
    shared already."""
    import array
    import socket

    control = socket.socket(fileno=os.dup(3))
    fd = os.memfd_create("forged", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, 8 << 20)
    for packet in (b"A", b"A", b"R"):
        control.sendmsg([packet], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])
    os.ftruncate(fd, 0)
    control.close()
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "r+b", 0) as memory:
        start = [int(line.split("-")[0], 16) for line in maps if "hostler-app-metrics" in line][0]
        for at, data in ((64, os.urandom(1 << 16)), (7 << 20, b"\xff" * (1 << 16)), (8, b"\xff" * 8)):
            memory.seek(start + at)
            memory.write(data)


def app(environ, start_response):
    query = {k: v[0] for k, v in parse_qs(environ["QUERY_STRING"]).items()}
    path, body = environ["PATH_INFO"], str(os.getpid())
    if path == "/work":
        work(int(query["seed"]))
    elif path == "/count":
        COUNT.inc()
    elif path == "/die":
        COUNT.inc()
        os.kill(os.getpid(), signal.SIGKILL)
    elif path == "/fork":
        COUNT.inc()
        pid = os.fork()
        if pid == 0:
            COUNT.inc(1000)
            USERS.labels("child").inc()
            os._exit(0)
        os.waitpid(pid, 0)
    elif path == "/users":
        for i in range(int(query["n"])):
            USERS.labels("%s-%d" % (query["of"], i)).inc()
    elif path == "/new":
        Gauge("new_family", "Later.", multiprocess_mode="sum").set(7)
    elif path == "/room":
        ROOMS.labels("blue").inc(5)
    elif path == "/no-room":
        ROOMS.remove("blue")
    elif path == "/reset":
        COUNT.inc(2)
        COUNT.reset()
        body = str(COUNT._value.get())
    elif path == "/in-handler":
        child = TOOK.labels("handler")
        signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
        while ticks[0] < 20:
            COUNT.inc(0)
            child.observe(0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        body = str(ticks[0])
    elif path == "/wedge":
        import ctypes

        ctypes.PyDLL(None).sleep(600)  # with the GIL
    elif path == "/forge":
        forge()
    elif path == "/odd":
        body = json.dumps(odd())
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body.encode()]


ticks = [0]


def tick(*_):
    ticks[0] += 1
    COUNT.inc()


signal.signal(signal.SIGALRM, tick)


def digest(text):
    from prometheus_client.parser import text_string_to_metric_families

    samples, about = {}, {}
    for f in text_string_to_metric_families(text):
        if f.name.startswith(("hostler_", "process_")):
            continue
        about[f.name] = (f.type, f.documentation)
        for s in f.samples:
            labels = tuple(sorted((k, v) for k, v in s.labels.items() if k not in ("pid", "worker")))
            samples.setdefault((s.name, labels), []).append(s.value)
    return {k: sorted(v) for k, v in samples.items()}, about


def stock(plan, dead):
    """The library's own output after the work in plan, pairs of a process and a seed, and
    the end of those that are dead."""
    import subprocess
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        env = dict(os.environ, PROMETHEUS_MULTIPROC_DIR=folder)
        processes = {}
        for pid, _ in plan:
            if pid not in processes:
                processes[pid] = subprocess.Popen(
                    [sys.executable, __file__, "replay"], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, universal_newlines=True
                )
        for pid, seed in plan:
            p = processes[pid]
            p.stdin.write("%d\n" % seed)
            p.stdin.flush()
            p.stdout.readline()
        for pid in dead:
            processes[pid].kill()
            processes[pid].wait()
            mark = "from prometheus_client.multiprocess import mark_process_dead as m; m(%d)" % processes[pid].pid
            subprocess.check_call([sys.executable, "-c", mark], env=env)
        show = (
            "from prometheus_client import *; from prometheus_client import multiprocess as m; import sys;"
            "r = CollectorRegistry(); m.MultiProcessCollector(r); sys.stdout.buffer.write(generate_latest(r))"
        )
        text = subprocess.check_output([sys.executable, "-c", show], env=env).decode()
        for p in processes.values():
            p.kill()
            p.communicate()
        return text


def formats(task):
    """Hold what OpenMetrics' parser finds against what that of the text format does."""
    from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
    from prometheus_client.parser import text_string_to_metric_families as parse_plain

    def read(families, own):
        samples, units = {}, {}
        for f in families:
            for s in f.samples:
                labels = dict(s.labels)
                if "le" in labels:
                    labels["le"] = str(float(labels["le"]))  # the server's own are written in two ways
                if f.name.startswith(("hostler_", "process_")) == own:
                    samples[s.name, tuple(sorted(labels.items()))] = s.value
            units[f.name] = f.unit
        return samples, units

    for own in (True, False):
        (plain, _), (opened, units) = read(parse_plain(task["plain"]), own), read(parse_open(task["open"]), own)
        created = {k: v for k, v in opened.items() if k[0].endswith("_created")}
        if own == bool(created):
            print("created", created)
        if units["took_seconds"] != "seconds" or units["hostler_received_bytes"] != "bytes" or units["work_things"]:
            print("units", units)
        for k in sorted(set(plain) | set(opened)):
            if k not in created and (k not in plain or k not in opened or not own and plain[k] != opened[k]):
                print("differ", k, plain.get(k), opened.get(k))
    print(len(plain), "samples")


def main():
    if sys.argv[1] == "formats":
        formats(json.load(sys.stdin))
        return
    if sys.argv[1] == "replay":
        for line in sys.stdin:
            work(int(line))
            print("done", flush=True)
        return
    task = json.load(sys.stdin)
    ours, about = digest(task["text"])
    theirs, about_theirs = digest(stock(task["plan"], task["dead"]))
    mine = ("g_", "work_", "took_", "size")
    ours = {k: v for k, v in ours.items() if k[0].startswith(mine)}
    theirs = {k: v for k, v in theirs.items() if k[0].startswith(mine)}
    for k in sorted(set(ours) | set(theirs)):
        a, b = ours.get(k), theirs.get(k)
        if a is None or b is None or len(a) != len(b) or any(abs(x - y) > 1e-9 * max(1, abs(x)) for x, y in zip(a, b)):
            print("differ", k, a, b)
    for name in sorted(about_theirs):
        if name.startswith(mine) and about.get(name) != about_theirs[name]:
            print("differ", name, about.get(name), about_theirs[name])
    print(len(theirs), "samples")


if __name__ == "__main__":
    main()
