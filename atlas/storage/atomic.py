"""Atomic writes: a file or a folder is there as a whole or not at all."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_OLD = "-old"


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` that becomes `path` when the block ends well, and vanishes otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    temporary.chmod(0o644)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """An empty folder beside `path` that replaces `path` as a whole when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for left_over in path.parent.glob(f".{glob.escape(path.name)}-making-*"):  # of a killed run
        if left_over.name.endswith(_OLD) and not left_over.is_symlink() and not os.path.lexists(path):
            left_over.replace(path)  # killed between the two renamings below: nothing is lost
        else:
            _discard(left_over)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-making-", dir=path.parent))
    temporary.chmod(0o755)
    try:
        yield temporary
        # Set aside by renaming, not deleted file by file: a run killed half-way must not leave half of what was there.
        old = temporary.with_name(temporary.name + _OLD)
        if os.path.lexists(path):  # also a link, wherever it leads: it is replaced, and what it leads to stays
            path.replace(old)
        temporary.replace(path)
        _discard(old)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _discard(path: Path) -> None:
    """Remove a folder as far as that is possible, or a link to one: never what the link leads to."""
    if path.is_symlink():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)


def set_aside(path: Path, root: Path) -> Path:
    """Move a file or folder below `root`/replaced/, under a name that nothing has there yet; returns where it is now."""
    first = root / "replaced" / path.relative_to(root)
    target, number = first, 1
    while target.exists():  # what was painted earlier stays too
        number += 1
        target = first.with_name(f"{first.stem}-{number}{first.suffix}")
    target.parent.mkdir(parents=True, exist_ok=True)
    return path.replace(target)
