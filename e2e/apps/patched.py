"""An application that has put something else in the place of threads, as gevent does: a
task runs when whoever made it lets it, and does not give its thread back."""

import _thread
import threading

gate = _thread.allocate_lock()
gate.acquire()


class Task(threading.Thread):
    def start(self):
        self._started.set()
        self.run()

    def join(self, timeout=None):
        pass


threading.Thread = Task


def app(environ, start_response):
    if environ["PATH_INFO"] == "/waits":
        opened = gate.acquire(True, 15)
    else:
        opened = gate.release() is None
    start_response("200 OK", [])
    return [("%s %s" % (opened, threading.current_thread().name)).encode()]
