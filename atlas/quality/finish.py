"""Folder of a finished fit of any kind: written as a whole, measured and judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from atlas.clip.clip import Clip
from atlas.maps.maps import Maps
from atlas.quality.series import measure_frames
from atlas.quality.summary import report_quality
from atlas.quality.weaknesses import Weakness
from atlas.storage.atomic import atomic_folder
from atlas.storage.stamps import write_json, write_stamp

VERSION = 1


class Finished(Protocol):
    """A fit at its end, whatever it was made by."""

    log: list[dict[str, Any]]
    """What log.json will hold."""

    def hand_over(self, folder: Path) -> None:
        """Write the finished model below `folder`: checkpoint, maps, atlases, and pictures of them."""


def write_fit(
    run: Finished, clip: Clip, folder: Path, plan: dict[str, Any], made_from: str, *, quiet: bool = True
) -> tuple[dict[str, Any], list[Weakness]]:
    """Write everything a finished fit leaves, replacing `folder` as a whole; returns the metrics and what is weak."""
    with atomic_folder(folder) as making:
        write_json(making / "config.json", plan)
        run.hand_over(making)
        maps = Maps(making)
        series = measure_frames(clip, maps, quiet=quiet)
        weak = report_quality(making, clip, series, maps)
        write_json(making / "log.json", run.log)
        write_stamp(making, made_from)
    return series.averages(), weak
