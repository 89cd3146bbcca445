"""JSON that may come from anyone: its size, depth and numbers are bounded before anything is made of it."""

from __future__ import annotations

import json
import math
import os
import stat
from pathlib import Path
from typing import Any

from atlas.errors import UserError

LARGEST = 16_000_000
"""Bytes of a JSON file: files.json of 100,000 frames and masks has 10 million."""
_DEPTH = 64
_CONTAINERS = 500_000
"""Objects and lists in one file: log.json of the longest fit has 20,000. Each costs far more memory than it has bytes."""
DIGITS = 40
"""Of a whole number: more of them would not even become a float everywhere."""


def read_bounded(path: Path, largest: int) -> bytes:
    """The bytes of a regular file of at most `largest`; UserError for anything else, a device or a pipe say, unread."""
    # Without waiting: opening a pipe that nobody writes to would never end.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(descriptor, "rb") as stream:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise UserError(f"{path} is no file but a folder, a pipe or a device: put the file in its place")
        data = stream.read(largest + 1)
    if len(data) > largest:
        raise UserError(f"{path} has {state.st_size} bytes, more than the {largest} that such a file may have: it is not read")
    return data


def parsed(data: bytes, *, finite: bool = True, digits: int = DIGITS) -> Any:
    """What a JSON text holds; ValueError says in one line why it is none or is refused.

    Refused are more than 64 levels, whole numbers of more than `digits` digits, text that no file name could hold (halves of a
    surrogate pair), and, unless `finite` is False, NaN and infinity. Of keys that stand twice the last one counts.
    """
    text = data.decode("utf-8")
    openers = data.count(b"[") + data.count(b"{")
    if openers > _CONTAINERS:
        raise ValueError(f"it holds {openers} lists and objects")
    real = _finite if finite else float

    def whole(text: str) -> int:
        if len(text) > digits:  # counted before it is a number: making one of many digits takes long, or is refused
            raise ValueError(f"it holds a number of {len(text)} digits")
        return int(text)

    try:
        value = json.loads(text, parse_int=whole, parse_float=real, parse_constant=real)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if openers > _DEPTH or b"\\u" in data:
        _check(value)
    return value


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"it holds {text[:DIGITS]}, which is no finite number")
    return value


def _check(value: Any) -> None:
    """Depth and texts, level by level."""
    level = [value]
    for _ in range(_DEPTH):
        following: list[Any] = []
        for entry in level:
            if isinstance(entry, dict):
                following += entry.keys()
                following += entry.values()
            elif isinstance(entry, list):
                following += entry
            elif isinstance(entry, str):
                _check_text(entry)
        if not following:
            return
        level = following
    raise ValueError("it is nested too deeply")


def _check_text(text: str) -> None:
    try:
        text.encode("utf-8", "surrogateescape")  # the bytes of a file name that are no UTF-8 come back as they were
    except UnicodeEncodeError:
        raise ValueError("it holds half of a surrogate pair, which is no character") from None
