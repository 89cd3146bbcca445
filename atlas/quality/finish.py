"""Folder of a finished fit of any kind: written as a whole, measured and judged."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from atlas.clip.clip import Clip
from atlas.errors import UserError, a_few
from atlas.maps.maps import MAPS_FILES, Maps
from atlas.quality.pictures import write_pictures
from atlas.quality.series import FramesPass
from atlas.quality.summary import load_plot, report_quality
from atlas.quality.weaknesses import Weakness
from atlas.storage.atomic import atomic_folder, flush_tree, keep_others
from atlas.storage.run_state import STATE
from atlas.storage.stamps import own_files, write_json, write_whole_stamp
from atlas.system.parallel import beside
from atlas.system.terminal import say

VERSION = 1


_OF_LATER_STAGES = re.compile(rf"resume/({STATE.pattern})|maps-\d+x\d+/({MAPS_FILES.pattern})")
"""Files in the folder of a fit that can be made again."""


class Finished(Protocol):
    """A fit at its end, whatever it was made by."""

    log: list[dict[str, Any]]
    """What log.json will hold."""

    def hand_over(self, folder: Path) -> None:
        """Write the finished model below `folder`: checkpoint, maps and atlases."""

    def frame(self, t: int) -> np.ndarray:  # (H, W, 3) uint8
        """Frame `t` of the clip."""


def write_fit(
    run: Finished, clip: Clip, folder: Path, plan: dict[str, Any], made_from: str, *, quiet: bool = True
) -> tuple[dict[str, Any], list[Weakness]]:
    """Write everything a finished fit leaves, replacing `folder` as a whole; returns the metrics and what is weak."""
    with atomic_folder(folder) as making:
        write_json(making / "config.json", plan)
        run.hand_over(making)
        maps = Maps(making)
        frames = FramesPass(clip, maps, run.frame, quiet=quiet)
        with beside(lambda: _get_ahead(making)):
            write_pictures(clip, frames, maps, making)
            series = frames.finish()
        weak = report_quality(making, clip, series, maps)
        write_json(making / "log.json", run.log)
        write_whole_stamp(making, made_from)
        if moved := keep_others(folder, making, _others(folder)):
            say(f"not of the fit that is replaced: {a_few(moved)}")
    return series.averages(), weak


def _get_ahead(making: Path) -> None:
    """Do while frames are measured what the end would wait for: load a library, and have most of the fit on the disk."""
    load_plot()
    flush_tree(making / "maps")


def is_whole_fit(folder: Path) -> bool:
    """Whether all that later stages read of a fit is there: what someone deleted is made again, as their errors advise."""
    try:
        maps = Maps(folder)
    except UserError:
        return False
    needed = [folder / "config.json", folder / "checkpoint.safetensors", *map(maps.atlas_path, maps.layers)]
    return all(path.is_file() for path in needed)


def _others(folder: Path) -> list[str]:
    """Names of the files that somebody put into the folder of a fit."""
    return [name for name in own_files(folder) if not _OF_LATER_STAGES.fullmatch(name)]
