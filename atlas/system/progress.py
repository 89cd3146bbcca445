"""Progress bars, and the same as lines of JSON for programs that watch a command: the app, a batch, a notebook.

Where the environment variable `LAYERED_ATLAS_PROGRESS` names a file, each bar of this process appends its state
there, one line of JSON at a time:

    {"stage": "fit", "unit": "frame", "name": "read", "done": 12, "total": 50, "note": "", "time": 1764153600.123}
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from pathlib import Path
from typing import Any, Generic, TypeVar

from tqdm import tqdm

PROGRESS_FILE = "LAYERED_ATLAS_PROGRESS"
"""The environment variable that names the file for lines of JSON."""
_PAUSE = 0.1  # seconds between two lines of one bar; the first and the last are always written

T = TypeVar("T")
B = TypeVar("B", bound="Bar")


class Bar:
    """A progress bar on standard error, moved on by `update`; lines of JSON beside it (see the module).

    As a context manager it is closed at the end. `quiet` hides the bar alone: who watches the file sees it all the same.
    """

    def __init__(
        self,
        desc: str,
        total: int | None = None,
        *,
        unit: str,  # what is counted: frame, step, keyframe, ...
        quiet: bool,
        initial: int = 0,  # how many of the total are done already
        leave: bool = True,  # keep the bar on the screen when it is full
        delay: float = 0.0,  # seconds before the bar is shown
    ) -> None:
        self.name, self.total, self.n, self._unit, self._note = desc, total, initial, unit, ""
        self._bar = tqdm(
            desc=desc, total=total, unit=unit, disable=quiet, initial=initial, leave=leave, delay=delay, file=sys.stderr
        )
        self._path = os.environ.get(PROGRESS_FILE)
        self._written: tuple[float, Any] = (-_PAUSE, None)
        self._record()

    def __enter__(self: B) -> B:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def update(self, n: int = 1) -> None:
        """Count `n` more as done."""
        self.n += n
        self._bar.update(n)
        self._record()

    def restart(self) -> None:
        """Count from 0 again."""
        self.n = 0
        self._bar.reset()
        self._record()

    def plan(self, total: int | None) -> None:
        """Set how many there are in all; None: nobody knows."""
        self.total = self._bar.total = total

    def rename(self, name: str) -> None:
        """Set what stands before the bar."""
        self.name = name
        self._bar.set_description(name)
        self._record()

    def note(self, text: str) -> None:
        """Set what stands behind the bar: a loss, the name of what is under way."""
        self._note = text
        self._bar.set_postfix_str(text)

    def close(self) -> None:
        """Close the bar; what it stood at is written."""
        self._bar.close()
        self._record(last=True)

    def _record(self, *, last: bool = False) -> None:
        """Append the state as a line of JSON, if a file is named and there is something new to tell."""
        if not self._path:
            return
        state = {"unit": self._unit, "name": self.name, "done": self.n, "total": self.total, "note": self._note}
        written, before = self._written
        now = time.monotonic()
        due = last or now - written >= _PAUSE or self.n == self.total
        if due and state != before:
            _append(Path(self._path), {"stage": _stage(), **state, "time": round(time.time(), 3)})
            self._written = (now, state)


class Progress(Bar, Generic[T]):
    """A progress bar over an iterable: gives its items, and counts each once the work on it is done."""

    def __init__(
        self,
        iterable: Iterable[T],
        desc: str,
        total: int | None = None,  # of an iterable without a length
        *,
        unit: str,
        quiet: bool,
        leave: bool = True,
        delay: float = 0.0,
    ) -> None:
        if total is None and isinstance(iterable, Sized):
            total = len(iterable)
        super().__init__(desc, total, unit=unit, quiet=quiet, leave=leave, delay=delay)
        self._iterable = iterable

    def __iter__(self) -> Iterator[T]:
        try:
            for item in self._iterable:
                yield item
                self.update()
        finally:
            self.close()


def _stage() -> str:
    """The name of the running command, as `fit` for scripts/fit.py."""
    return Path(sys.argv[0]).stem if sys.argv else ""


def _append(path: Path, line: dict[str, Any]) -> None:
    """Append one line in a single write, so that lines of several threads do not mix. A full disk stops no work for it."""
    with contextlib.suppress(OSError), path.open("ab") as stream:
        stream.write(json.dumps(line).encode() + b"\n")
