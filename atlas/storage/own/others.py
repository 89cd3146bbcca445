"""Somebody's own files in the folders that stages fill: told from a stage's by their names, they stay there."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from atlas.storage.lease.remnants import is_of_program
from atlas.storage.links import remove

NUMBERED = re.compile(r"\d{5,}\.png")
"""Names of pictures that stages write, by frame number."""
NOBODYS = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
"""Names of what file managers leave, and nobody misses."""


def others(folder: Path, ours: re.Pattern[str] | None = None) -> list[str]:
    """Names within a folder of all files, hidden ones and links too, whose name is not `ours`; it need not be there."""
    found = []
    for root, folders, names in os.walk(folder):
        links = [name for name in folders if Path(root, name).is_symlink()]
        theirs = [name for name in (*links, *names) if name not in NOBODYS and not is_of_program(name)]
        found += [Path(root, name).relative_to(folder).as_posix() for name in theirs]
    return sorted(name for name in found if ours is None or not ours.fullmatch(name))


def remove_ours(folder: Path, ours: re.Pattern[str]) -> None:
    """Remove what a stage wrote into a folder, told by names, and the folder where nothing else is in it."""
    remove_but(folder, others(folder, ours))


def remove_but(folder: Path, kept: Sequence[str]) -> None:
    """Remove what is in a folder but for files and links of these names, and the folder itself where there are none."""
    if not kept:
        return remove(folder)
    for root, folders, names in os.walk(folder, topdown=False):
        for name in (*names, *(name for name in folders if Path(root, name).is_symlink())):
            if Path(root, name).relative_to(folder).as_posix() not in kept:
                Path(root, name).unlink(missing_ok=True)
        if not any(Path(root).iterdir()):
            Path(root).rmdir()
