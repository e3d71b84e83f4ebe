"""What ps shows."""


def set_title(text):
    """Make text what ps shows, in place of a command line with all of this in it."""
    try:
        with open("/proc/self/stat", "rb") as f:
            fields = f.read().rpartition(b")")[2].split()  # from the third on
        start, end = int(fields[48 - 3]), int(fields[49 - 3])
        title = text.encode("utf-8", "backslashreplace")[: end - start - 1]
        with open("/proc/self/mem", "r+b", buffering=0) as memory:
            memory.seek(start)
            memory.write(title.ljust(end - start, b"\0"))
    except Exception:
        pass  # where /proc is not what it is elsewhere


def title(settings, what):
    return "hostler: %s gen %d [%s]" % (what, settings["generation"], settings["name"] or settings["app"])
