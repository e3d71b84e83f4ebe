"""Stacks without what is ours at their outer end."""

import os
import sys


def is_ours(filename):
    """Is this a file of the package, or what calls it?"""
    return filename.startswith("<hostler/") or filename == "<string>" or os.path.basename(filename) == "threading.py"


def stack_of(ident):
    """What a thread is at, from the application's outermost call on."""
    import traceback

    frame = sys._current_frames().get(ident)
    frames = traceback.extract_stack(frame) if frame else []
    while frames and is_ours(frames[0].filename):
        del frames[0]
    return "".join(traceback.format_list(frames)).encode("utf-8", "replace").decode()

