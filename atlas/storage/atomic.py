"""Atomic writes: a file or a folder is there as a whole or not at all, also after a power cut.

What is half-made lies beside its place, under a name that tells whose it is: what dead runs left is removed by later ones, what
another process makes at the same time is not.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from atlas.errors import BusyError
from atlas.storage.lease.lease import check_ours
from atlas.storage.lease.remnants import (
    OLD,
    being_filled,
    bring_back,
    discard,
    is_left_over,
    made_here,
    made_prefix,
    own_prefix,
)
from atlas.storage.links import link_or_copy
from atlas.storage.own.others import others

REPLACED = "replaced"
"""Folder of what somebody made or changed that had to make room."""
_TRIES = 20
"""How often a folder is put in its place where another process does the same at the same moment."""


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` that becomes `path` when the block ends well, and vanishes otherwise."""
    within = being_filled(path)
    if within is not None and not within.is_dir():  # somebody deleted it: nobody wants a part of it
        raise BusyError(f"{within} was removed while it was being filled: run the same command again")
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=own_prefix(path.stem), suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        with made_here(temporary):
            yield temporary
        temporary.chmod(0o644)  # not the maker's alone, as temporary files are, and what some libraries put in their place
        if within is None:
            flush_file(temporary)
            check_ours(path)
        temporary.replace(path)
        if within is None:
            flush_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path, ours: re.Pattern[str] | None = None) -> Iterator[Path]:
    """An empty folder beside `path` that replaces `path` as a whole when the block ends well.

    ours: names of the files that belong to a stage, where what else is in `path` is to stay in it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    bring_back(path)
    with scratch_folder(path.parent, path.name) as temporary:
        yield temporary
        if ours is not None:
            keep_others(path, temporary, others(path, ours))
        put_in_place(temporary, path)


def put_in_place(temporary: Path, path: Path) -> None:
    """Give a finished file or folder its name, in the place of what has it, once it is on the disk and the place still ours."""
    passing = being_filled(path) is not None
    if not passing:
        flush_tree(temporary)
        check_ours(path)
    if temporary.is_dir():
        _replace_folder(temporary, path)
    else:
        temporary.replace(path)
    if not passing:
        flush_folder(path.parent)


def _replace_folder(temporary: Path, path: Path) -> None:
    # Set aside by renaming, not deleted file by file: a run killed half-way must not leave half of what was there.
    for number in range(_TRIES):
        old = temporary.with_name(f"{temporary.name}{number or ''}{OLD}")
        with contextlib.suppress(FileNotFoundError):  # nothing is there; or a link, wherever it leads: that stays
            path.replace(old)
        try:
            temporary.replace(path)
        except OSError:
            if number == _TRIES - 1 or not temporary.is_dir() or not os.path.lexists(path):
                raise
            continue  # another process has put its own there in between
        finally:
            if os.path.lexists(path):
                discard(old)
            elif os.path.lexists(old):
                old.replace(path)
        return


@contextlib.contextmanager
def scratch_folder(parent: Path, name: str) -> Iterator[Path]:
    """An empty folder in `parent` for what is to become `name` there; it is deleted at the end, if it still has its name.

    What dead runs left of the same goes first.
    """
    for left_over in parent.glob(f"{glob.escape(made_prefix(name))}*"):
        if is_left_over(left_over):
            discard(left_over)
    temporary = Path(tempfile.mkdtemp(prefix=own_prefix(name), dir=parent))
    temporary.chmod(0o755)
    try:
        with made_here(temporary):
            yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def flush_file(path: Path) -> None:
    """Wait until a file's content is on the disk: its new name must not outlive a power cut that its content does not."""
    # Windows flushes what may be written alone; elsewhere a file may be flushed that must only be read.
    _flush(os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY))


def flush_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where the system offers that (Windows does not)."""
    with contextlib.suppress(PermissionError):
        _flush(os.open(folder, os.O_RDONLY))


def _flush(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as problem:
        if problem.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):  # the disk has no such thing: all else is lost data
            raise
    finally:
        os.close(descriptor)


def flush_tree(folder: Path) -> None:
    """Wait until a file, or a folder with all that is in it, is on the disk."""
    if folder.is_file():
        flush_file(folder)
    for root, _, names in os.walk(folder):
        for name in names:
            path = Path(root, name)
            if path.is_file() and not path.is_symlink() and path.stat().st_nlink == 1:  # others are there already
                flush_file(path)
        flush_folder(Path(root))


def set_aside(path: Path, root: Path) -> Path:
    """Move a file or folder below `root`/replaced/, under a name that nothing has there yet; returns where it is now."""
    return path.replace(_free_name(root / REPLACED / path.relative_to(root)))


def keep_others(folder: Path, successor: Path, names: Iterable[str]) -> list[Path]:
    """Take what is somebody's own in a folder along into the one that is to take its place as a whole.

    names: relative to the folder. Where the successor has a file of its own under a name, it comes below replaced/ there.
    Returns where those will be.
    """
    moved = []
    for name in names:
        target = successor / name
        if os.path.lexists(target):
            target = _free_name(successor / REPLACED / name)
            moved.append(folder / target.relative_to(successor))
        target.parent.mkdir(parents=True, exist_ok=True)
        if (folder / name).is_symlink():
            target.symlink_to(os.readlink(folder / name))
        else:
            link_or_copy(folder / name, target)
    return moved


def _free_name(first: Path) -> Path:
    """A name that nothing has yet, in a folder that is there: what was painted earlier stays too."""
    target, number = first, 1
    while os.path.lexists(target):
        number += 1
        target = first.with_name(f"{first.stem}-{number}{first.suffix}")
    target.parent.mkdir(parents=True, exist_ok=True)
    return target
