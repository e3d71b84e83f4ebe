"""Turns llhttp's request vectors (9.4.2, MIT, see LICENSE) into requests.json.

    git clone --branch v9.4.2 https://github.com/nodejs/llhttp
    python3 convert.py llhttp/test/request > requests.json

A vector is a heading, an input, and the log of what llhttp calls back for it. The log
becomes the list of whole requests and the way the input ends; what stands in a
request is taken from the input by the offsets in the log, so an input that is read
wrongly here does not pass unseen.

As in Gunicorn's corpus, a request of HTTP/1.1 without a Host field gets one: llhttp
does not ask for it, and the case is about something else.
"""

import base64
import json
import os
import re
import sys

CASE = re.compile(r"^#+ (?P<title>[^\n]+)$|^<!-- meta=(?P<meta>\{.*?\}) *-->$|^```(?P<lang>http|log)\n(?P<text>.*?)^```$", re.M | re.S)
EVENT = re.compile(r"off=(?P<off>NULL|\d+) (?:len=(?P<len>\d+) )?(?P<what>.*)")


def input_of(text):
    """As test/md-test.ts does it."""
    text = text.removesuffix("\n")
    text = re.sub(r"\\\n", "", text)
    text = text.replace("\n", "\r\n")
    for written, meant in (("\\r", "\r"), ("\\n", "\n"), ("\\t", "\t"), ("\\f", "\f")):
        text = text.replace(written, meant)
    text = re.sub(r"\\x([0-9a-fA-F]+)", lambda m: chr(int(m[1], 16)), text)
    text = re.sub(r"\\([0-7]{1,3})", lambda m: chr(int(m[1], 8)), text)
    assert "${" not in text
    return text.encode()


def outcome_of(log, data, name):
    requests, now, end = [], None, None
    for line in log.splitlines():
        m = EVENT.fullmatch(line)
        assert m, (name, line)
        what = m["what"]
        span = re.fullmatch(r"span\[(\w+)\]=(.*)", what, re.S)
        if span:
            off, size = int(m["off"]), int(m["len"])
            piece = data[off : off + size]
            shown = span[2]
            if re.fullmatch(r'"[^\\"]*"', shown):
                assert piece == shown[1:-1].encode(), (name, line, piece)
            elif shown in ("cr", "lf"):
                assert piece == {"cr": b"\r", "lf": b"\n"}[shown], (name, line, piece)
            part = span[1]
            if part in ("header_field", "header_value"):
                if now["head"]:
                    now[part] += piece
            elif part in now:
                now[part] += piece
        elif what == "message begin":
            now = {"method": b"", "url": b"", "version": b"", "body": b"", "fields": [], "header_field": b"", "header_value": b"", "head": True}
            end = "incomplete"
        elif what == "header_value complete":
            if now["head"]:
                now["fields"].append([now["header_field"].decode("latin-1"), now["header_value"].decode("latin-1").strip(" \t\r\n")])
                now["header_field"] = now["header_value"] = b""
        elif what.startswith("headers complete"):
            now["head"] = False
        elif what == "message complete":
            requests.append(
                {
                    "method": now["method"].decode(),
                    "target": now["url"].decode("latin-1"),
                    "version": [int(n) for n in (now["version"] or b"0.9").split(b".")],
                    "fields": [[a.upper(), b] for a, b in now["fields"]],
                    "body": base64.b64encode(now["body"]).decode(),
                }
            )
            end = "whole"
        elif what.startswith("error code="):
            end = {"5": "closed", "22": "upgrade"}.get(re.match(r"error code=(\d+)", what)[1], "error: " + what.split("reason=")[1].strip('"'))
        elif what.startswith("finish="):
            assert (what == "finish=0") == (end == "whole"), (name, end)
        else:
            known = "complete|reset|pause|skip body|chunk header|chunk complete"
            assert re.search(known, what), (name, line)
    return requests, end or "incomplete"


def with_host(data):
    def add(m):
        if re.search(rb"(?im)^host[ \t]*:", m[0]):
            return m[0]
        authority = re.search(rb" https?://([^/? ]*)", m[1])  # an absolute target says which
        return m[1] + b"Host: " + (authority[1] if authority else b"example.com") + b"\r\n" + m[2]

    return re.sub(rb"(?m)(^[^\r\n]* HTTP/1\.1\r\n)((?:[^\r\n]+\r\n)*)", add, data)


def main(root):
    cases = []
    for file in sorted(os.listdir(root)):
        with open(os.path.join(root, file), encoding="utf-8", newline="") as f:
            text = f.read()
        title = meta = data = None
        for m in CASE.finditer(text):
            if m["title"]:
                title = m["title"]
            elif m["meta"]:
                meta = json.loads(m["meta"])
            elif m["lang"] == "http":
                data = input_of(m["text"])
                line = text.count("\n", 0, m.start()) + 1
            else:
                name = "%s:%d %s" % (file[:-3], line, title)
                if meta.get("skipBody"):
                    continue  # the caller tells llhttp that there is no body
                requests, end = outcome_of(m["text"], data, name)
                sent = with_host(data)
                case = {"name": name, "kind": meta["type"], "data": base64.b64encode(sent).decode(), "requests": requests, "end": end}
                if sent != data:
                    case["host_added"] = True
                cases.append(case)
                data = None
    json.dump(cases, sys.stdout, indent=1, ensure_ascii=True)
    print()


main(sys.argv[1])
