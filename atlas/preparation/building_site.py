"""Scratch folder in which a clip is built before its parts are renamed into the clip's own folder."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from pathlib import Path

from atlas.storage.atomic import scratch_folder
from atlas.storage.lease.remnants import made_prefix


def site_prefix(target: Path) -> str:
    """The beginning of the names of this clip's scratch folders."""
    return made_prefix(target.absolute().name)


def building_site(target: Path) -> AbstractContextManager[Path]:
    """Make an empty scratch folder on the clip's disk, so that moving the parts in is a renaming; it is deleted in the end.

    It lies beside the clip, or inside where the clip's folder is a mount or its parent is closed to us.
    """
    beside = next(parent for parent in target.absolute().parents if parent.is_dir())
    if target.is_dir() and (not os.access(beside, os.W_OK) or beside.stat().st_dev != target.stat().st_dev):
        beside = target
    return scratch_folder(beside, target.absolute().name)
