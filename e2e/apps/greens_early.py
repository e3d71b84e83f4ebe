"""For --loop gevent: an application that has greenlets run while it is imported, as those do
that look something up in threads of theirs."""

import threading
from concurrent.futures import ThreadPoolExecutor

for _ in range(3):
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
with ThreadPoolExecutor() as pool:
    pool.submit(int).result(timeout=5)
done = threading.Event()
threading.Thread(target=done.set).start()
done.wait()


def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
