"""Interruption: signals that end a command are noted, and obeyed where it is safe: between two steps, never inside one."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

_TOLD = ("SIGTERM", "SIGHUP")


@contextlib.contextmanager
def noted() -> Iterator[Callable[[], None]]:
    """Inside the block Ctrl-C and what tells a process to end are only noted.

    Gives a function to be called where stopping is safe: it raises KeyboardInterrupt or SystemExit, if there was one. What is
    ignored stays so; in another thread than the main one nothing changes.
    """
    seen: list[int] = []

    def obey() -> None:
        if not seen:
            return
        number = seen.pop()
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + number)

    def note(number: int, frame: FrameType | None) -> None:
        seen.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield obey
        return
    numbers = [signal.SIGINT, *(getattr(signal, name) for name in _TOLD if hasattr(signal, name))]
    before = {number: signal.getsignal(number) for number in numbers}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, note)
    try:
        yield obey
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
