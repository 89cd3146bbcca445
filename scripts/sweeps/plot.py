"""sweep.png: small multiples, a row of panels for each clip and a column for each figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from atlas.quality.plot import literal
from atlas.storage.atomic import atomic_file
from scripts.sweeps.figures import FIGURES
from scripts.sweeps.tables import SEEDS, Group, grouped

_USUAL = ("overlap", "warp_error", "fidelity", "psnr")
_MOST_CLIPS, _MOST_LINES = 6, 8
_SHAPES = "os^Dv<>p"
_LONGEST = 24


def plot(path: Path, varied: Sequence[str], results: Sequence[dict[str, Any]], shown: Sequence[str] | None) -> None:
    """Draw figures over the axis with the most values, a line for each combination of the others, bars for deviations.

    varied: axes with several values. shown: figures; None: the usual ones that there are. The same figures give the same bytes.
    """
    groups = grouped(results)
    keys = [key for key in shown or _USUAL if any(key in group.means for group in groups)] or [shown[0] if shown else _USUAL[0]]
    others = [name for name in varied if name not in ("clip", *SEEDS)]
    counts = {name: len({group.axes[name] for group in groups}) for name in others}
    along = max(others, key=lambda name: counts[name], default="clip")
    clips = list(dict.fromkeys(group.axes["clip"] for group in groups))[:_MOST_CLIPS]
    clips = [""] if along == "clip" else clips
    figure = Figure(figsize=(max(4.2 * len(keys), 6), 0.6 + 3.4 * len(clips)), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    panels = figure.subplots(len(clips), len(keys), squeeze=False)
    for row, clip in enumerate(clips):
        of_clip = [group for group in groups if not clip or group.axes["clip"] == clip]
        for column, key in enumerate(keys):
            lines = [name for name in others if name != along]
            _draw(panels[row][column], of_clip, key, along, lines)
            if clip and len(clips) > 1 or column == 0:
                panels[row][column].set_title(literal(clip), fontsize="small", loc="left")
    handles, names = panels[0][0].get_legend_handles_labels()
    if len(names) > 1:
        figure.legend(handles, names, loc="outside lower center", ncols=min(len(names), 4), fontsize="small")
    with atomic_file(path) as temporary:
        # Without metadata: the library's version would be in the file.
        canvas.print_figure(temporary, format="png", metadata={"Software": None})


def _draw(panel: Axes, groups: Sequence[Group], key: str, along: str, lines: Sequence[str]) -> None:
    ticks = list(dict.fromkeys(group.axes[along] for group in groups))
    numbers = _numbers(ticks)
    places = dict(zip(ticks, numbers or range(len(ticks)), strict=True))
    series: dict[str, list[Group]] = {}
    for group in groups:
        series.setdefault(", ".join(f"{name} {group.axes[name]}" for name in lines), []).append(group)
    for number, (name, members) in enumerate(list(series.items())[:_MOST_LINES]):
        points = sorted((places[g.axes[along]], g.means[key], g.deviations.get(key, 0.0)) for g in members if key in g.means)
        if points:
            x, y, deviations = zip(*points, strict=True)
            joined = "-" if numbers else ""
            panel.errorbar(
                x, y, deviations, color=f"C{number}", marker=_SHAPES[number], linestyle=joined, capsize=3, label=literal(name)
            )
    figure = FIGURES[key]
    panel.set_ylabel(figure.title + (f"\n({figure.better} is better)" if figure.better else ""), fontsize="small")
    panel.set_xlabel(literal(along))
    panel.grid(alpha=0.3)
    panel.margins(x=0.12, y=0.15)
    if not numbers:
        slanted = sum(map(len, ticks)) > 30
        names = [literal(text[:_LONGEST]) for text in ticks]
        panel.set_xticks(range(len(ticks)), names, rotation=40 if slanted else 0, ha="right" if slanted else "center")
        panel.tick_params(axis="x", labelsize="small")
    if key in ("overlap", "changed", "fidelity"):
        panel.set_ylim(bottom=0)


def _numbers(texts: Sequence[str]) -> list[float]:
    """Texts as numbers, `auto:3` as 3; none where one is no number."""
    try:
        numbers = [float(text.removeprefix("auto:")) for text in texts]
    except ValueError:
        return []
    return numbers if all(map(math.isfinite, numbers)) and len(numbers) > 1 else []
