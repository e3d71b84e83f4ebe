"""Signals: those that are the server's, and those that are the application's."""

import os
import signal

DUMP = 35  # protocol.DumpSignal; SIGRTMIN is the C library's to say


def block_signals(*others):
    """Return the signal mask that was. Threads started meanwhile, Go's, keep
    signals blocked, but for others, so that Python's handlers run on Python's threads."""
    faults = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}
    return signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - faults - set(others))


def own_signals():
    """Handle the signals that are not the application's to die by, and leave them
    as they were to children that it forks."""

    def ignore(*_):  # not SIG_IGN, which exec would pass on
        pass

    first = {s: signal.signal(s, ignore) for s in (signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)}

    def restore():
        for s, handler in first.items():
            if signal.getsignal(s) is ignore:
                signal.signal(s, handler)

    os.register_at_fork(after_in_child=restore)


def drain_on_sigterm(drain):
    """Leave in good order, by a function, unless the application has a handler of its own."""
    if signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        return

    def handler(*_):
        drain()

    def restore():
        if signal.getsignal(signal.SIGTERM) is handler:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    signal.signal(signal.SIGTERM, handler)
    os.register_at_fork(after_in_child=restore)
