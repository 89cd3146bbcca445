"""Paths below the root: whatever a request names lies there, or is refused."""

from __future__ import annotations

import os
import re
from pathlib import Path

from atlas.clip.clip import is_path
from atlas.errors import UserError

_BETWEEN = re.compile(r"[:=,;|]+")
"""What parts a path from the rest of a text, in the commands' own ways of writing."""


def below(root: Path, text: str) -> Path:
    """The path that a request names by `text`, relative to the root, as an absolute one without links.

    UserError where it is absolute, holds `..`, or a link leads out of the root; it need not exist.
    """
    if not is_path(text) or "\\" in text or any(ord(c) < 32 for c in text):
        raise UserError(f"{text[:200]!r} is no path: name a file or folder below {root}")
    parts = text.split("/")
    if text.startswith("/") or ".." in parts or re.match(r"[A-Za-z]:", text):
        raise UserError(f"{text} does not lie below {root}: name a file or folder there")
    path = _inside(root, Path(text))
    if path is None:
        raise UserError(f"{text} leads out of {root} by a link: copy what it leads to below {root}")
    return path


def given_path(root: Path, text: str) -> Path:
    """The same for a path that somebody typed: an absolute one will do, too, where it lies below the root."""
    if is_path(text) and os.path.isabs(text) and ".." not in Path(text).parts:
        path = _inside(root, Path(text))
        if path is None:
            raise UserError(f"{text} does not lie below {root}: copy it there, or upload it")
        return path
    return below(root, text)


def refuse_outside(root: Path, text: str) -> None:
    """UserError where a text, or a part of it (`lut:file=PATH`, `PATH:0.8`), names a path that does not lie below the root.

    What a command is told as text may be a prompt, an id of the hub or a path; relative ones count from the root.
    """
    for part in map(str.strip, (text, *_BETWEEN.split(text))):
        if not part.strip("/\\."):
            continue  # a lone slash is no path to anything, only a way to write
        # Backslashes part folders on Windows alone; a text that would lead out there is refused everywhere.
        for way in {part, part.replace("\\", "/")}:
            if _inside(root, Path(way)) is None or re.match(r"[A-Za-z]:[/\\]", way):
                raise UserError(f"{part[:200]} does not lie below {root}: copy it there, or upload it")
    if re.search(r"(^|[\s=,;'\"])[A-Za-z]:[/\\]", text) or re.search(r"(^|[\s:=,;'\"/\\])\.\.($|[\s:=,;'\"/\\])", text):
        raise UserError(f"{text[:200]} does not lie below {root}: copy it there, or upload it")


def name_of(root: Path, path: Path) -> str:
    """How a request names a path below the root."""
    return path.relative_to(root).as_posix()


def _inside(root: Path, path: Path) -> Path | None:
    """A path, counted from the root, with all links followed; None where it is outside."""
    try:
        real = Path(os.path.realpath(root / path))
    except (OSError, ValueError):
        return None
    return real if real == root or root in real.parents else None
