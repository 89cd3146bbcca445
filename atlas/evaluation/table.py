"""The table of measures that `evaluate` prints: their layout alone; what they are stands in `atlas.evaluation.measures`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from atlas.evaluation.catalogue import COST, FIT, POINTS, TRUTH, Metric
from atlas.evaluation.measures import (
    Measure,
    cells_of,
    edit_measures,
    fit_parts,
    left_out_of,
    machine_of,
    networks_used,
    points_parts,
    reasons,
    worst_of,
)

_WIDTH = 10  # of a column
_WIDER = 11  # for the word "difference" as well


def table(report: dict[str, Any]) -> str:
    """Lay out the report of `evaluate` as text to read."""
    fit = f"fit {report['fit']}" if report["fit"] else "no fit"
    lines = [f"{report['clip']}: {report['frames']} frames of {report['width']}x{report['height']}, {fit}"]
    if report["fit"]:
        lines += ["", *_grid("reconstruction", FIT, fit_parts(report["reconstruction"]))]
    if truth := report.get("truth"):
        lines += ["", *_grid("mapping against truth", TRUTH, truth)]
    if points := report.get("points"):
        lines += ["", *_grid("marked points", POINTS, points_parts(points)), f"  worst: {worst_of(points)}"]
        lines += [f"  {left_out}"] if (left_out := left_out_of(points)) else []
    if weaknesses := report.get("weaknesses"):
        lines += ["", *(f"weak: {weakness['sentence']}; {weakness['advice']}" for weakness in weaknesses)]
    if edit := report.get("edit"):
        lines += ["", *_edit_lines(edit)]
        lines += [f"  {names}: absent, {reason}" for names, reason in reasons(report["absent"])]
    if costs := report["cost"]:
        heading, *rows = _grid("cost", COST, costs)
        machines = [machine_of(cost) for cost in costs.values()]
        lines += ["", *(f"{row}  {last}" for row, last in zip((heading, *rows), ("machine", *machines), strict=True))]
    return "\n".join(lines)


def _grid(title: str, metrics: Sequence[Metric], rows: dict[str, dict[str, Any]]) -> list[str]:
    """Lay out rows of results, a column for each metric, under a heading."""
    heading = _heading(title, [metric.column for metric in metrics])
    return [heading, *(_row(name, cells_of(row, metrics)) for name, row in rows.items())]


def _edit_lines(edit: dict[str, Any]) -> list[str]:
    measures = edit_measures(edit, missing=True)
    lines = [_heading(f"edit {edit['name']}", ("edit", "source", "ratio"))]
    lines += [_row(measure.label, measure.cells) for measure in measures if measure.block == "ratio"]
    if differences := [measure for measure in measures if measure.block == "difference"]:
        lines.append(_row("embeddings", ("edit", "source", "difference"), last=_WIDER))
        lines += [_row(measure.label, measure.cells, last=_WIDER) for measure in differences]
    if networks := networks_used(edit):
        lines.append(f"  {networks}")
    return lines + _sentences(measure for measure in measures if measure.block in ("layer", "overlap", "oracle"))


def _sentences(measures: Iterable[Measure]) -> list[str]:
    """Lay out the measures that stand in no grid: a line for each block and label."""
    phrases: dict[tuple[str, str], list[str]] = {}
    for measure in measures:
        phrases.setdefault((measure.block, measure.label), []).extend(measure.cells)
    return [
        f"  {label}: {', '.join(parts)}" if label else f"  {', '.join(parts)}" for (_, label), parts in phrases.items() if parts
    ]


def _heading(title: str, columns: Sequence[str]) -> str:
    return f"{title:<22}" + _aligned(columns)


def _row(name: str, cells: Sequence[str], last: int = _WIDTH) -> str:
    return f"  {name:<20}" + _aligned(cells, last)


def _aligned(cells: Sequence[str], last: int = _WIDTH) -> str:
    """Align cells to the right; last: width of the last one."""
    return "".join(f"{cell:>{_WIDTH}}" for cell in cells[:-1]) + f"{cells[-1]:>{last}}"
