"""Threads of the system's, also where the application has something else put in the
place of Python's threads: gevent and eventlet make each threading.Thread one of many
tasks of one thread, of which the first that serves would keep all others from running."""

import _thread
import threading


def originals():
    """What threads are made with."""
    names = ("Thread", "_start_new_thread", "_start_joinable_thread", "Lock", "get_ident")
    return [getattr(threading, name, None) for name in names] + [threading.Thread.start, _thread.start_new_thread]


class Threads:
    """Makes threads, by what there is before the application is imported."""

    def __init__(self):
        self.originals = originals()
        self.start_new, self.lock = _thread.start_new_thread, _thread.allocate_lock

    def start(self, target, args, name):
        """Start a thread, and return something to join it by."""
        # Others may wrap Thread.start, and so may have it called.
        now = originals()
        if now[:-2] == self.originals[:-2] and now[-1] is self.originals[-1]:
            thread = threading.Thread(target=target, args=args, name=name, daemon=True)
            thread.start()
            return thread
        return PlainThread(self, target, args, name)

    def within(self, seconds, target):
        """Have something done, and wait for it no longer than that."""
        self.start(target, (), "hostler-metrics").join(seconds)


class PlainThread:
    """A thread that the module threading has not made."""

    def __init__(self, threads, target, args, name):
        self.over = threads.lock()
        self.over.acquire()
        threads.start_new(self.run, (target, args, name))

    def run(self, target, args, name):
        try:
            threading.current_thread().name = name  # a stand-in, made for the occasion
        except Exception:
            pass  # for people only
        try:
            target(*args)
        finally:
            self.over.release()

    def join(self, timeout=-1):
        if self.over.acquire(True, timeout):
            self.over.release()
