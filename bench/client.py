"""Fast requests beside a CPU burner: client.py PORT SECONDS. One loop holds one
connection that asks for /cpu (100 ms of Python) again and again, and four that
ask for / with a pause of 5 ms. Prints the latencies of the latter in seconds and
the failures as JSON. wrk cannot tell two kinds of request apart."""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time

FAST, PAUSE = 4, 0.005


class Conn:
    def __init__(self, port: int, path: str, pause: float):
        self.port, self.pause = port, pause
        self.raw = (f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").encode()
        self.sock: socket.socket | None = None
        self.busy, self.due, self.sent, self.got = False, 0.0, 0.0, b""
        self.latencies: list[float] = []

    def send(self, sel: selectors.BaseSelector) -> None:
        self.busy, self.got, self.sent = True, b"", time.perf_counter()
        if self.sock is None:
            self.sock = socket.create_connection(("127.0.0.1", self.port), timeout=5)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sel.register(self.sock, selectors.EVENT_READ, self)
        self.sock.sendall(self.raw)

    def receive(self, sel: selectors.BaseSelector) -> bool:
        """Takes what has come; whether all is well."""
        assert self.sock is not None
        piece = self.sock.recv(65536)
        self.got += piece
        whole = self.got.endswith(b"Hello, World!")
        if whole:
            now = time.perf_counter()
            self.latencies.append(now - self.sent)
            self.busy, self.due = False, now + self.pause
        head = self.got.partition(b"\r\n\r\n")[0].lower()
        ok = whole and self.got.startswith(b"HTTP/1.1 200") or (bool(piece) and not whole)
        if not ok or (whole and b"connection: close" in head):
            self.drop(sel)
        return ok

    def drop(self, sel: selectors.BaseSelector) -> None:
        if self.sock is not None:
            sel.unregister(self.sock)
            self.sock.close()
            self.sock = None
        self.busy = False


def main() -> None:
    port, seconds = int(sys.argv[1]), float(sys.argv[2])
    burner = Conn(port, "/cpu", 0.0)
    conns = [burner] + [Conn(port, "/", PAUSE) for _ in range(FAST)]
    sel = selectors.DefaultSelector()
    errors, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end and errors < 1000:
        now = time.perf_counter()
        for conn in conns:
            if not conn.busy and now >= conn.due:
                try:
                    conn.send(sel)
                except OSError:
                    errors += 1
                    conn.drop(sel)
                    conn.due = now + 0.05
        waits = [conn.due - now for conn in conns if not conn.busy]
        if not sel.get_map():
            time.sleep(0.01)
            continue
        for key, _ in sel.select(max(0.0, min(waits + [0.1]))):
            conn = key.data
            try:
                if not conn.receive(sel):
                    errors += 1
            except OSError:
                errors += 1
                conn.drop(sel)
    fast = [x for conn in conns[1:] for x in conn.latencies]
    json.dump({"fast": fast, "burned": len(burner.latencies), "errors": errors}, sys.stdout)


if __name__ == "__main__":
    main()
