"""bench.png: what each preset reaches in which time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from atlas.quality.plot import literal
from atlas.storage.atomic import atomic_file
from scripts.benchmarks.report import finished, of_a_preset

_COLUMNS = 3
_SHAPES = "os^Dv<>p"


def plot(path: Path, report: dict[str, Any]) -> None:
    """Draw PSNR over seconds, a panel for each clip and a line for each preset; the same figures give the same bytes."""
    clips = report["clips"]
    columns = min(len(clips), _COLUMNS)
    rows = -(-len(clips) // columns)
    figure = Figure(figsize=(max(5.5, 4.6 * columns), 4.2 * rows), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    presets = list(dict.fromkeys(run["preset"] for clip in clips for run in clip["runs"]))
    for panel, clip in zip(axes, clips, strict=False):
        _draw(panel, clip, presets)
    for panel in axes[len(clips) :]:
        panel.set_visible(False)
    machine = report["machine"]
    figure.suptitle(f"PSNR of the whole frame; {machine['processor']}, {machine['usable_cores']} cores", fontsize="medium")
    with atomic_file(path) as temporary:
        # Without metadata: the library's version would be in the file.
        canvas.print_figure(temporary, format="png", metadata={"Software": None})


def _draw(panel: Axes, clip: dict[str, Any], presets: list[str]) -> None:
    last = 0.0
    for number, preset in enumerate(presets):
        runs = sorted(of_a_preset(clip, preset), key=lambda run: run["wall_seconds"])
        points = [(run["wall_seconds"], run["whole"]["psnr"]) for run in runs if run["whole"]["psnr"] is not None]
        if points:
            seconds, heights = zip(*points, strict=True)
            panel.plot(seconds, heights, color=f"C{number}", marker=_SHAPES[number % len(_SHAPES)], markersize=5, label=preset)
            last = max(last, *seconds)
    start = clip["start"]
    if start is not None and finished(start) and start["whole"]["psnr"] is not None:
        panel.axhline(start["whole"]["psnr"], color="grey", linestyle="--", linewidth=1, label="chained start")
    panel.set_title(f"{literal(clip['name'])}: {clip['frames']} frames, {clip['width']}x{clip['height']}", fontsize="small")
    panel.set_xlabel("seconds, wall time of fit.py")
    panel.set_ylabel("PSNR, dB")
    panel.set_xlim(0, 1.06 * last if last else 1)
    panel.grid(alpha=0.3)
    if panel.get_legend_handles_labels()[1]:
        panel.legend(loc="best", fontsize="small")
