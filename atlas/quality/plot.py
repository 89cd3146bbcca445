"""Plot of a fit's metrics over the frames: quality.png."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from atlas.clip.clip import Clip
from atlas.quality.series import FrameSeries
from atlas.storage.atomic import atomic_file
from atlas.system.terminal import visible

_PANELS = (
    ("psnr", "PSNR, dB"),
    ("flow_disagreement", "mapping against flow,\nmedian px"),
    ("fold_share", "folded share"),
    ("mask_iou", "IoU of opacity\nand mask"),
)
_WEAK = "#c0392b"


def plot(path: Path, clip: Clip, series: FrameSeries, weak: Sequence[int]) -> None:
    """Draw the series of each layer under each other, weak frames marked; the same numbers give the same bytes."""
    figure = Figure(figsize=(10, 9), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(len(_PANELS), 1, sharex=True)
    for panel, (name, label) in zip(axes, _PANELS, strict=True):
        _draw(panel, clip, series, name)
        panel.set_ylabel(label)
        panel.grid(alpha=0.3)
        for frame in weak:
            panel.axvspan(frame - 0.5, frame + 0.5, color=_WEAK, alpha=0.15, linewidth=0)
    # Not the clip's name: a copy of the clip has the same fit, to the byte.
    figure.suptitle("Every frame of the fit" + (", weak ones marked" if weak else ""))
    axes[0].legend(loc="best", fontsize="small")
    axes[-1].set_xlabel("frame")
    axes[-1].set_xlim(-0.5, clip.frames - 0.5)
    with atomic_file(path) as temporary:
        # Without metadata: the library's version would be in the file.
        canvas.print_figure(temporary, format="png", metadata={"Software": None})


def literal(name: str) -> str:
    """A name as matplotlib draws it letter by letter: between dollars it would read mathematics, and fail where it is none."""
    return visible(name).replace("$", r"\$")


def _draw(panel: Axes, clip: Clip, series: FrameSeries, name: str) -> None:
    if name in series.whole:
        panel.plot(series.whole[name], color="black", linewidth=1, label="whole frame")
    highest = 0.0
    for number, (layer, values) in enumerate(series.layers.items()):
        if name in values:
            panel.plot(values[name], color=f"C{number}", marker=".", markersize=3, linewidth=1.2, label=literal(layer))
            highest = max([highest, *(value for value in values[name] if value == value)])
    if name == "flow_disagreement":
        panel.set_ylim(0, max(1.0, 1.05 * highest))
    if name == "mask_iou":
        panel.set_ylim(
            min([0.9, *(value - 0.05 for values in series.layers.values() for value in values.get(name, []))]), 1.005
        )
    if name == "fold_share":
        panel.set_ylim(0, max(0.001, 1.05 * highest))
