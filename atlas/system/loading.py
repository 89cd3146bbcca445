"""Loading of large libraries, without the garbage collector: what modules hold is none."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_LARGE = "torch"


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
