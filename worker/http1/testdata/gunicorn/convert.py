"""Turns the request corpus of Gunicorn's source distribution (27.0.1, MIT, see
LICENSE) into requests.json.

    pip download --no-binary :all: --no-deps gunicorn && tar xzf gunicorn-*.tar.gz
    python3 convert.py gunicorn-*/tests/requests > requests.json   # with gunicorn installed

A request of HTTP/1.1 without a Host field, of which there are many, gets one: the
case is about something else, and would be refused for that alone.
"""

import base64
import importlib.machinery
import json
import os
import re
import sys
import types

import gunicorn.config
import gunicorn.http.errors  # noqa: F401 (before its Config is replaced)


class Config:
    """Stands in for Gunicorn's, and keeps what a case sets."""

    knobs = {}

    def set(self, name, value):
        Config.knobs[name] = value


gunicorn.config.Config = Config


def load(path):
    Config.knobs = {}
    module = types.ModuleType("case")
    module.uri = lambda raw: raw
    module.cfg = Config()
    importlib.machinery.SourceFileLoader("case", path).exec_module(module)
    return module.request, Config.knobs


def data_of(path):
    with open(path, "rb") as f:
        data = f.read().replace(b"\n", b"")
    for written, meant in ((b"\\r\\n", b"\r\n"), (b"\\0", b"\0"), (b"\\n", b"\n"), (b"\\t", b"\t")):
        data = data.replace(written, meant)
    return re.sub(rb"\\x([0-9a-fA-F]{2})", lambda m: bytes([int(m[1], 16)]), data)


def with_host(data):
    def add(m):
        if re.search(rb"(?im)^host[ \t]*:", m[0]):
            return m[0]
        return m[1] + b"Host: example.com\r\n" + m[2]

    return re.sub(rb"(?m)(^[^\r\n]* HTTP/1\.1\r\n)((?:[^\r\n]+\r\n)*)", add, data)


def text(v):
    return v.decode("latin-1") if isinstance(v, bytes) else v


def main(root):
    cases = []
    for kind in ("valid", "invalid"):
        for name in sorted(os.listdir(os.path.join(root, kind))):
            base, ext = os.path.splitext(os.path.join(root, kind, name))
            if ext != ".http":
                continue
            expect, knobs = load(base + ".py")
            raw = data_of(base + ".http")
            data = raw if name == "020.http" else with_host(raw)  # there it would go into a body
            case = {"name": kind + "/" + name[:-5], "data": base64.b64encode(data).decode(), "knobs": knobs}
            if data != raw:
                case["host_added"] = True
            if kind == "valid":
                case["requests"] = [
                    {
                        "method": r["method"],
                        "target": text(r["uri"]),
                        "version": list(r["version"]),
                        "fields": [[text(a), text(b)] for a, b in r["headers"]],
                        "body": base64.b64encode(text(r["body"]).encode("latin-1")).decode(),
                    }
                    for r in (expect if isinstance(expect, list) else [expect])
                ]
            cases.append(case)
    json.dump(cases, sys.stdout, indent=1, ensure_ascii=True)


main(sys.argv[1])
