"""What a command loads first: Ctrl-C would end in a traceback while torch is loading. Standard library only."""

from __future__ import annotations

import os
import signal
import sys
import time
from types import FrameType

_started = time.perf_counter()
INTERRUPTED = 130
"""Exit status of a command that was interrupted."""
SAID = "interrupted: run the same command again to go on"


def started() -> float:
    """About when the command started, before it loaded anything else, by `time.perf_counter`."""
    return _started


def start_anew() -> None:
    """Count a command as started now, in a process that runs one after the other."""
    global _started
    _started = time.perf_counter()


def end_at_once() -> None:
    """From here on Ctrl-C ends the process with one line, whatever it is importing; where it is ignored, it stays so."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)
    if sys.platform == "win32":  # what a program sends to a group of its own, which Ctrl-C does not reach
        signal.signal(signal.SIGBREAK, _end)


def raise_again() -> None:
    """From here on Ctrl-C is a KeyboardInterrupt again: there is something to tidy up."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if sys.platform == "win32" and signal.getsignal(signal.SIGBREAK) is _end:
        signal.signal(signal.SIGBREAK, signal.default_int_handler)


def _end(number: int, frame: FrameType | None) -> None:
    # Not by an exception: modules written in C make ImportErrors of those, or print and forget them.
    os.write(2, f"{SAID}\n".encode())
    os._exit(INTERRUPTED)
