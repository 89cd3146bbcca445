"""Memory of a command: libraries are loaded without the garbage collector, and what is freed is kept for what comes next."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_LARGE = "torch"
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # of glibc's malloc.h
_KEPT = 1 << 30  # bytes of freed memory that are not given back
_IMAGES = (1 << 28, 1 << 25)  # bytes up to which memory may be what was freed; before 2.35 glibc refuses more than the second


@contextmanager
def loading() -> Iterator[None]:
    """Import torch in the block without the garbage collector, which would look through all of it again and again.

    What was imported stays out of its later rounds, the last ones when the process ends among them: of the processor's time
    for loading torch and leaving again, that is a third. Where torch is there already, nothing is done.
    """
    if _LARGE in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()


def keep_freed_memory() -> None:
    """Let this process take memory from what it has freed itself, whichever thread did. For commands, as they begin.

    Usually images of many megabytes come fresh from the system, page by page, and each thread has a pool of its own: that
    takes a third of the processor's time, and more memory. Where malloc is not glibc's, nothing is done.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        if any(mallopt(_MMAP_THRESHOLD, size) for size in _IMAGES):  # else the others make it worse
            mallopt(_ARENA_MAX, 1)
            mallopt(_TRIM_THRESHOLD, _KEPT)
