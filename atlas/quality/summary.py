"""The quality of a fit: measured, judged in words, written beside the fit and drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from atlas.clip.clip import Clip
from atlas.maps.maps import Maps
from atlas.quality.series import FrameSeries
from atlas.quality.weaknesses import Weakness, weaknesses
from atlas.storage.stamps import digest, read_json, updating, write_json
from atlas.system.decoration import decoration
from atlas.system.parallel import beside

METRICS, PLOT = "metrics.json", "quality.png"
_VERSION = 1  # raise it when the same fit is measured or judged otherwise
_MEASURED = ("reconstruction", "weaknesses", "slides", "series")
TOLD = 4
"""Weaknesses that are printed, the most important first; metrics.json has all."""


def report_quality(folder: Path, clip: Clip, series: FrameSeries, maps: Maps) -> list[Weakness]:
    """Write what was measured into metrics.json and quality.png of a fit's `folder`; returns where the fit is weak."""
    weak = weaknesses(series, maps)
    path = folder / METRICS
    measured: dict[str, Any] = {
        "reconstruction": finite(series.averages()),
        "weaknesses": [finite(asdict(weakness)) for weakness in weak],
        "slides": [asdict(slide) for slide in series.slides],
        "series": {"whole": _rounded(series.whole)} | {"layers": {k: _rounded(v) for k, v in series.layers.items()}},
    }
    drawn = (folder / PLOT).is_file()
    with beside(lambda: _digest(clip, maps, measured)) as digested:
        if not drawn:
            _draw(folder, clip, series, weak)
        measured["digest"] = digested()
    with updating(path):
        known = finite(read_json(path, finite=False)) if path.is_file() else {}
        known = known if isinstance(known, dict) else {}
        write_json(path, known | measured)
    if drawn and known != known | measured:  # what is measured again is most often what the fit has measured and drawn
        _draw(folder, clip, series, weak)
    return weak


def load_plot() -> None:
    """Import what draws the plot: its library takes long to, and may do so while frames are measured."""
    with suppress(Exception):  # what is wrong with it is told where it is to draw
        import_module("atlas.quality.plot")


def _draw(folder: Path, clip: Clip, series: FrameSeries, weak: Sequence[Weakness]) -> None:
    with decoration(str(folder / PLOT)):
        from atlas.quality.plot import plot  # as `load_plot` says

        plot(folder / PLOT, clip, series, sorted({frame for weakness in weak for frame in weakness.frames}))


def known_quality(clip: Clip, maps: Maps) -> dict[str, Any] | None:
    """Read what `report_quality` wrote of a fit; None where metrics.json, or a file that was measured, has changed since."""
    path = maps.folder / METRICS
    known = read_json(path, finite=False) if path.is_file() else None
    if not isinstance(known, dict) or "digest" not in known or not (maps.folder / PLOT).is_file():
        return None
    measured = {name: known.get(name) for name in _MEASURED}
    return measured if known["digest"] == _digest(clip, maps, measured) else None


def _digest(clip: Clip, maps: Maps, measured: dict[str, Any]) -> str:
    """Digest what was measured with all that it was measured on: 300 MB of 50 frames take a twentieth of measuring them."""
    flow = [clip.flow("forward").path, clip.flow_validity("forward").path]
    atlases = [maps.atlas_path(layer) for layer in maps.layers]
    return digest(
        _VERSION, measured, clip.layers, clip.folder / "frames", clip.folder / "masks", *flow, maps.maps_folder, *atlases
    )


def worst_lines(weak: Sequence[Weakness]) -> str:
    """The most important weaknesses as lines to print; an empty string where all is well."""
    lines = [f"weak: {weakness}" for weakness in weak[:TOLD]]
    if len(weak) > TOLD:
        lines.append(f"and {len(weak) - TOLD} more: see metrics.json")
    return "\n".join(lines)


def finite(value: Any) -> Any:
    """NaN is not JSON: None instead, all through."""
    if isinstance(value, dict):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _rounded(values: dict[str, list[float]]) -> dict[str, list[float | None]]:
    return {name: [round(v, 5) if math.isfinite(v) else None for v in numbers] for name, numbers in values.items()}
