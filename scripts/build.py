#!/usr/bin/env python3
"""build.py OUT ARCH LIBC...: build the hostler that is given to others.

It runs on any Linux with the architecture ARCH (x86_64 or aarch64), whatever its
age, and has the worker library for each LIBC (gnu, musl). The libraries are linked
by zig against a glibc of 2014, or musl. The bytes depend on the source alone, and on
the versions of Go and zig: not on this machine, nor on the folder. Zig is this
Python's package ziglang; Go is what the PATH has.

The tree is not written to, but for build/: several of these may run at a time.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAYLOAD = ROOT / "cmd/hostler/payload"
GOARCH = {"x86_64": "amd64", "aarch64": "arm64"}
LIBRARY = {"gnu": "worker.so", "musl": "worker-musl.so"}
GLIBC = "2.17"  # manylinux2014


def go(*args, **env):
    vendored = (ROOT / "vendor").is_dir()
    env = dict(os.environ, GOOS="linux", GOTOOLCHAIN="local", GOFLAGS="-mod=vendor" if vendored else "", **env)
    subprocess.run(["go", "build", "-buildvcs=false", "-trimpath", *args], cwd=str(ROOT), env=env, check=True)


def library(arch, libc, out):
    target = "%s-linux-%s%s" % (arch, libc, "." + GLIBC if libc == "gnu" else "")
    late = ROOT / "cmd/hostler-worker/late.ld"
    go(
        "-tags=netgo,shared",
        "-buildmode=c-shared",
        "-ldflags=-s -w -buildid= -extldflags=-Wl,-T,%s" % late,
        "-o",
        str(out),
        "./cmd/hostler-worker",
        CGO_ENABLED="1",
        # Without Go's -g: zig would then strip nothing, and debug information has the
        # names of folders in it.
        CGO_CFLAGS="-O2 -g0",
        CGO_LDFLAGS="-O2 -g0",
        GOARCH=GOARCH[arch],
        CC="%s -m ziglang cc -target %s" % (sys.executable, target),
    )


def build(out, arch, libcs):
    """Build the binary at out."""
    out = Path(out).resolve()
    work = ROOT / "build/targets" / ("-".join([arch, *libcs]))
    work.mkdir(parents=True, exist_ok=True)
    # What is embedded, in place of what make has put there for this machine.
    replace = {str(PAYLOAD / name): "" for name in LIBRARY.values()}
    for libc in libcs:
        so = work / LIBRARY[libc]
        library(arch, libc, so)
        replace[str(PAYLOAD / LIBRARY[libc])] = str(so)
    overlay = work / "overlay.json"
    overlay.write_text(json.dumps({"Replace": replace}))
    version = (ROOT / "VERSION").read_text().strip()
    out.parent.mkdir(parents=True, exist_ok=True)
    go(
        "-overlay=%s" % overlay,
        "-ldflags=-s -w -buildid= -X main.version=%s" % version,
        "-o",
        str(out),
        "./cmd/hostler",
        CGO_ENABLED="0",
        GOARCH=GOARCH[arch],
    )


if __name__ == "__main__":
    if len(sys.argv) < 4 or sys.argv[2] not in GOARCH or not set(sys.argv[3:]) <= set(LIBRARY):
        raise SystemExit(__doc__)
    build(sys.argv[1], sys.argv[2], sys.argv[3:])
