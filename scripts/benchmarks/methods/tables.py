"""Methods as a table in Markdown: a row for each, with its measures and what its stages cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from atlas.evaluation.costs import STAGES
from atlas.evaluation.measures import shown
from atlas.system.terminal import in_markdown

EXPLAINED = """\
warp, long-term: warp error to the next frame, and with it to the first, over the source's own; far below 1 is mostly blur.
changed: mean difference from the source in the edited layer, of 1. sharpness: energy of the Laplacian there, over the source's.
overlap: how far edited frames (of `propagate`: keyframes) disagree where they show the same place, of 1. Seconds and peak MB of
main memory are each stage's own."""

PREFIX = "method-"
"""Of the parts of a bench that are methods; their recipe's name follows."""
_Figure = Callable[[dict[str, Any]], float | None]


@dataclass(frozen=True)
class _Column:
    """A column: its heading, the number of a row, and that of the source where it has one."""

    name: str
    form: str
    of_edit: _Figure
    of_source: _Figure = lambda measured: None


def _within(key: str, side: str) -> _Figure:
    return lambda measured: (measured.get(key) or {}).get(side)


def _overlap(side: str) -> _Figure:
    return lambda measured: next((one[side] for one in (measured.get("keyframe_overlap") or {}).values() if one), None)


def _one(measured: dict[str, Any]) -> float:
    return 1.0


_COLUMNS = (
    _Column("warp", ".2f", _within("warp_error", "ratio"), _one),
    _Column("long-term", ".2f", _within("long_term_warp_error", "ratio"), _one),
    _Column("pixel-MSE", ".1f", _within("pixel_mse", "edit"), _within("pixel_mse", "source")),
    _Column("changed", ".4f", lambda measured: measured.get("changed"), lambda measured: 0.0),
    _Column("sharpness", ".2f", _within("sharpness", "ratio"), _one),
    _Column("overlap", ".4f", _overlap("edited"), _overlap("source")),
    _Column("CLIP-text", ".2f", _within("clip_text", "edit"), _within("clip_text", "source")),
    _Column("CLIP-frame", ".4f", _within("clip_frame", "edit"), _within("clip_frame", "source")),
    _Column("objects", ".4f", _within("object_consistency", "edit"), _within("object_consistency", "source")),
)


def methods_markdown(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Lay out the methods among the rows of a bench: a section for each clip, with what the columns mean; [] without any."""
    lines: list[str] = []
    of_methods = [row for row in rows if row["part"].startswith(PREFIX)]
    for clip in dict.fromkeys(row["clip"] for row in of_methods):
        of_it = [row for row in of_methods if row["clip"] == clip]
        lines += [f"## Methods: {in_markdown(clip)}", "", *_asked(of_it), EXPLAINED, ""]
        lines += [*methods_table([_method(row) for row in of_it]), ""]
    return lines[:-1]


def _method(row: dict[str, Any]) -> dict[str, Any]:
    """The row of a method out of that of its part."""
    if "error" in row:
        return {"method": row["part"].removeprefix(PREFIX), "error": row["error"]}
    return dict(row["figures"]["methods"][0])


def _asked(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What all of them were asked for."""
    asked = next((row["figures"] for row in rows if "figures" in row), None)
    return [] if asked is None else [in_markdown(f'{asked["layer"]}: "{asked["prompt"]}", fit {rows[0]["fit"]}.'), ""]


def methods_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Lay out the rows of `bench_methods`; columns without any number are left out. Below: what failed, and why."""
    done = [row for row in rows if "error" not in row]
    used = [column for column in _COLUMNS if any(column.of_edit(row["measured"]) is not None for row in done)]
    stages = [stage for stage in STAGES if any(stage in row["cost"] for row in done)]
    heads = ["method", *(column.name for column in used), *(f"{stage} s / MB" for stage in stages)]
    lines = [f"| {' | '.join(heads)} |", "|---|" + "---:|" * (len(heads) - 1)]
    if done:
        cells = [shown(column.of_source(done[0]["measured"]), column.form) for column in used]
        lines.append(_line(["source", *cells, *["-"] * len(stages)]))
    for row in rows:
        if "error" in row:
            lines.append(_line([row["method"], "failed", *["-"] * (len(heads) - 2)]))
            continue
        cells = [shown(column.of_edit(row["measured"]), column.form) for column in used]
        lines.append(_line([row["method"], *cells, *(_cost(row["cost"].get(stage)) for stage in stages)]))
    return lines + [line for row in rows if "error" in row for line in ("", in_markdown(f"{row['method']}: {row['error']}"))]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(in_markdown, cells))} |"


def _cost(cost: dict[str, Any] | None) -> str:
    if cost is None:
        return "-"
    return f"{shown(cost.get('wall_seconds'), '.1f')} / {shown(cost.get('peak_ram_mb'), '.0f')}"
