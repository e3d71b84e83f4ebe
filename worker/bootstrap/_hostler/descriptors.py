"""What the master left to this process, until the library knows of it."""

import os
import stat


class Descriptors:
    """What the master left to this process, and children that the application forks
    are not to keep: with a listener they would hold the address when the worker has
    long gone. Each is known by its file, for its number may be the application's by
    now. (Once the library runs it closes them itself, and clients' connections, too.)"""

    def __init__(self, fds):
        self.spared = False  # a mold forks a worker
        self.files = {}
        self.take(*fds)
        os.register_at_fork(after_in_child=self.close)

    @staticmethod
    def file(fd):
        try:
            st = os.fstat(fd)
        except OSError:
            return None
        if stat.S_ISCHR(st.st_mode):
            return None  # /dev/null stands for what there is not, and is everybody's
        return st.st_dev, st.st_ino

    def take(self, *fds):
        self.files.update((fd, self.file(fd)) for fd in fds)

    def close(self):
        for fd, file in () if self.spared else self.files.items():
            if file is not None and self.file(fd) == file:
                os.close(fd)
