"""Remnants of runs that died: half-made files and folders, whose names tell which process made them."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from atlas.storage.lease.owner import machine, runs, short

OLD = "-old"
"""How the names of folders end that are being replaced."""
_SIGNED = re.compile(r"-making-([0-9a-f]{8})-(\d+)-")
_MADE = re.compile(r"^\..+-making-")
_LEASE = re.compile(r"^\.(.*\.)?lease($|-|\.read-)")
_DAY = 86400.0
"""Seconds after which what another machine left untouched is of a run that died."""


_made_here: set[Path] = set()
_lock = threading.Lock()


@contextlib.contextmanager
def made_here(path: Path) -> Iterator[None]:
    """Know a file or folder, while the block runs, as one that this process is making."""
    with _lock:
        _made_here.add(path)
    try:
        yield
    finally:
        with _lock:
            _made_here.discard(path)


def being_filled(path: Path) -> Path | None:
    """The folder that this process is making in which `path` lies; None where it lies in none: nobody else knows of those."""
    with _lock:
        return next((parent for parent in path.parents if parent in _made_here), None) if _made_here else None


def is_of_program(name: str) -> bool:
    """Whether a hidden file is a lease, or something half-made, by its name."""
    return _MADE.match(name) is not None or _LEASE.match(name) is not None


def made_prefix(name: str) -> str:
    """The beginning of the names of all that is half-made of `name`, whoever makes it."""
    return f".{short(name)}-making-"


def own_prefix(name: str) -> str:
    """The same of what this process makes; something random has to follow."""
    return f"{made_prefix(name)}{machine()}-{os.getpid()}-"


def is_left_over(path: Path) -> bool:
    """Whether something half-made is of a process that has ended. Names that tell of none are of older versions."""
    signed = _SIGNED.search(path.name)
    if signed is None:
        return True
    if signed[1] == machine() and int(signed[2]) == os.getpid():
        with _lock:
            return not any(path.name.startswith(made.name) and path.parent == made.parent for made in _made_here)
    if signed[1] == machine():
        return not runs(int(signed[2]))
    try:
        return time.time() - path.lstat().st_mtime > _DAY
    except OSError:
        return True


def bring_back(path: Path) -> None:
    """Give a folder its name again where a run that was replacing it died between the two renamings."""
    for old in path.parent.glob(f"{glob.escape(made_prefix(path.name))}*{OLD}"):
        if not os.path.lexists(path) and not old.is_symlink() and is_left_over(old):
            with contextlib.suppress(OSError):  # another command has just done it
                old.replace(path)


def remove_left_overs(folder: Path, *, below: bool = True) -> None:
    """Remove what dead runs left half-made in a folder, and in all below it."""
    for root, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            if _MADE.match(name) and _SIGNED.search(name) and not name.endswith(OLD) and is_left_over(Path(root, name)):
                discard(Path(root, name))
        folders[:] = [name for name in folders if below and not _MADE.match(name)]


def discard(path: Path) -> None:
    """Remove a file, or a folder as far as that is possible, or a link to one: never what the link leads to."""
    if path.is_symlink() or not path.is_dir():
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)
