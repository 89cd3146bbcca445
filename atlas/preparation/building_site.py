"""Scratch folder in which a clip is built before its parts are renamed into the clip's own folder."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from atlas.storage.links import remove


def site_prefix(target: Path) -> str:
    """The beginning of the names of this clip's scratch folders."""
    return f".{target.absolute().name}-making-"


@contextmanager
def building_site(target: Path) -> Iterator[Path]:
    """Make an empty scratch folder on the clip's disk, so that moving the parts in is a renaming; it is deleted in the end.

    It lies beside the clip, or inside where the clip's folder is a mount or its parent is closed to us.
    """
    beside = next(parent for parent in target.absolute().parents if parent.is_dir())
    if target.is_dir() and (not os.access(beside, os.W_OK) or beside.stat().st_dev != target.stat().st_dev):
        beside = target
    for left_over in beside.iterdir():  # of a killed run
        if left_over.name.startswith(site_prefix(target)):
            with suppress(OSError):
                remove(left_over)
    making = Path(tempfile.mkdtemp(prefix=site_prefix(target), dir=beside))
    making.chmod(0o755)
    try:
        yield making
    finally:
        shutil.rmtree(making, ignore_errors=True)
