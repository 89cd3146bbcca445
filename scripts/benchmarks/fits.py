"""One measured fit: a process of its own, then its figures. And what other measurements share with it."""

from __future__ import annotations

import math
import shutil
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.maps.maps import Maps
from atlas.metrics.mapping import mapping_accuracy
from atlas.quality.summary import finite
from atlas.storage.stamps import read_json, write_json
from atlas.system.cost import read_costs
from scripts.jobs.process import ROOT, last_line, run_process

START = "start"
"""Stands in the place of a preset's name for the chained start."""
_COSTS = ("cpu_seconds", "peak_ram_mb", "peak_vram_mb", "device", "steps", "samples_per_second")


@dataclass(frozen=True)
class Wanted:
    """A fit to measure."""

    preset: str
    seconds: float | None
    """Its budget; None: the preset's own schedule."""
    device: str = "auto"

    @property
    def name(self) -> str:
        """Of the fit, and of the file with its figures."""
        return f"bench-{self.preset}" + ("" if self.preset == START else f"-{spelt(self.seconds)}")

    def command(self, clip: Path) -> list[str]:
        """What a user would type to make it."""
        shared = [str(clip.absolute()), "--name", self.name, "--device", self.device, "--quiet"]
        if self.preset == START:
            return [sys.executable, "-m", "scripts.benchmarks.chained_start", *shared]
        budget = [] if self.seconds is None else ["--seconds", str(self.seconds)]
        return [sys.executable, str(ROOT / "scripts" / "fit.py"), *shared, "--preset", self.preset, *budget]


def spelt(seconds: float | None) -> str:
    """A budget as it is given on the command line."""
    return "own" if seconds is None else f"{seconds:g}"


def run_fit(clip: Clip, wanted: Wanted, truth: Maps | None, *, keep: bool) -> dict[str, Any]:
    """Make the fit in a process and measure it; what an earlier run left of it goes first, so that nothing is resumed.

    Returns preset, seconds, wall_seconds (from the process's start to its end), what cost.json holds of it, and whole and
    layers as in metrics.json, with truth (median, p90, opacity_iou) in each layer where one is given. Where the fit failed,
    there is only its last line as `error` beside preset, seconds and wall_seconds.
    """
    folder = clip.fit_folder(wanted.name)
    shutil.rmtree(folder, ignore_errors=True)
    log = clip.folder / "said.txt"
    began = time.perf_counter()
    status = run_process(wanted.command(clip.folder), log)
    row: dict[str, Any] = {"preset": wanted.preset, "seconds": wanted.seconds}
    row["wall_seconds"] = round(time.perf_counter() - began, 2)
    last = last_line(log)
    log.unlink()
    if status:
        shutil.rmtree(folder, ignore_errors=True)
        return row | {"error": last or f"ended with status {status}"}
    cost = read_costs(clip.folder).get(f"fit {wanted.name}", {})
    row |= {name: cost.get(name) for name in _COSTS} | read_json(folder / "metrics.json")["reconstruction"]
    if wanted.preset == START:  # the log begins with the mean of all frames, as yet without light
        row["psnr_of_means"] = finite(next((entry["psnr"] for entry in read_json(folder / "log.json", finite=False)), math.nan))
    if truth is not None:
        for layer, accuracy in mapping_accuracy(Maps(folder), truth).items():
            row["layers"][layer]["truth"] = finite(asdict(accuracy))
    if not keep:
        shutil.rmtree(folder)
    return row


def known_figures(path: Path, key: str) -> dict[str, Any] | None:
    """Figures that an earlier run kept under `key`, if they are of the same; None otherwise."""
    try:
        known = read_json(path, finite=False)
    except UserError:
        return None
    figures = known.get("figures") if isinstance(known, dict) and known.get("key") == key else None
    return figures if isinstance(figures, dict) else None


def keep_figures(path: Path, key: str, figures: dict[str, Any]) -> None:
    """Keep figures for `known_figures`."""
    write_json(path, {"key": key, "figures": figures})
