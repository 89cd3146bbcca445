"""Edits side by side: a row for each measure and each stage's cost, a column for each edit in the order asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from atlas.clip.edits import Edit
from atlas.evaluation.catalogue import OF_EDITS
from atlas.evaluation.costs import STAGES, Costs
from atlas.evaluation.measures import Measure, edit_measures, networks_used, reasons, shown

_NONE = "-"
_COST = "seconds by the clock and peak memory of the stage, over all layers; of a stage that was not run, nothing"
_REASONS = {
    "sharpness_kept": "nothing was deflickered",
    "oracle": "scripts/oracle.py did not measure it",
}
"""Why a measure that others have may be blank where no reason was recorded."""


@dataclass(frozen=True)
class ComparedRow:
    """One row: a measure of every edit as text."""

    name: str
    values: tuple[str, ...]
    reading: str
    """How to read it."""


@dataclass(frozen=True)
class Comparison:
    """Edits compared."""

    edits: tuple[str, ...]
    rows: tuple[ComparedRow, ...]
    notes: tuple[str, ...]
    """Which networks judged the edits, and why measures are absent."""

    def text(self) -> str:
        """Lay out the comparison to be read."""
        first = max(len(row.name) for row in self.rows) + 2
        columns = list(zip(*(row.values for row in self.rows), strict=True))
        widths = [max(map(len, (edit, *column))) + 2 for edit, column in zip(self.edits, columns, strict=True)]
        lines = [_line("", self.edits, first, widths), *(_line(row.name, row.values, first, widths) for row in self.rows)]
        return "\n".join([*lines, "", *self.notes])


def compare(
    edits: Sequence[Edit],
    results: dict[str, dict[str, Any]],  # by name of the edit, as `atlas.evaluation.edit.measure_edit` returns them
    costs: dict[str, Costs],  # by name of the edit, then by stage
) -> Comparison:
    """Compare edits of one clip by what was measured of them, and by what each of their stages cost."""
    names = tuple(edit.name for edit in edits)
    measured = {name: {measure.name: measure for measure in edit_measures(results[name], missing=True)} for name in names}
    kinds = {measure.name: measure for of_edit in measured.values() for measure in of_edit.values()}
    order = [metric.key for metric in OF_EDITS]
    rows = []
    for kind in sorted(kinds.values(), key=lambda measure: order.index(measure.key)):
        for place, (title, _) in enumerate(kind.rows):
            found = (measured[name].get(kind.name) for name in names)
            rows.append(ComparedRow(title, tuple(one.rows[place][1] if one else _NONE for one in found), kind.reading))
    for stage in STAGES:
        if any(stage in costs[name] for name in names):
            spent = tuple(_cost(costs[name].get(stage)) for name in names)
            rows.append(ComparedRow(f"{stage}, s / MB", spent, _COST))
    notes = [*_networks(results), *_absent(results), *_blanks(edits, results, measured, kinds)]
    return Comparison(names, tuple(rows), tuple(notes))


def _line(name: str, cells: Sequence[str], first: int, widths: Sequence[int]) -> str:
    return f"{name:<{first}}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))


def _cost(cost: dict[str, Any] | None) -> str:
    if cost is None:
        return _NONE
    return f"{shown(cost['wall_seconds'], '.1f')} / {shown(cost['peak_ram_mb'], '.0f')}"


def _networks(results: dict[str, dict[str, Any]]) -> list[str]:
    """Name the networks that judged the edits."""
    used = {name: networks_used(measured) for name, measured in results.items()}
    if len(set(used.values())) == 1:
        return [networks for networks in list(used.values())[:1] if networks]
    return [f"{name}: {networks}" for name, networks in used.items()]


def _absent(results: dict[str, dict[str, Any]]) -> list[str]:
    """Say which metrics are absent from all or some of the edits, and why."""
    absent: dict[tuple[str, str], list[str]] = {}
    for name, measured in results.items():
        for entry in reasons(measured["absent"]):
            absent.setdefault(entry, []).append(name)
    return [_note(measures, edits, len(results), reason) for (measures, reason), edits in absent.items()]


def _blanks(
    edits: Sequence[Edit],
    results: dict[str, dict[str, Any]],
    measured: dict[str, dict[str, Measure]],  # by edit, then by name of the measure
    kinds: dict[str, Measure],
) -> list[str]:
    """Say of what else is blank why it is."""
    blank: dict[tuple[str, str], list[str]] = {}
    for kind in kinds.values():
        layer = kind.label if kind.block in ("layer", "overlap") else ""
        for edit in edits:
            said = results[edit.name]["absent"]
            if kind.name in measured[edit.name] or kind.key in said or f"{kind.key} of {layer}" in said:
                continue
            reason = f"{layer} is not edited" if layer and layer not in edit.layers else _REASONS.get(kind.key)
            if reason:
                blank.setdefault((kind.name, reason), []).append(edit.name)
    return [_note(name, names, len(edits), reason) for (name, reason), names in blank.items()]


def _note(measures: str, edits: Sequence[str], of: int, reason: str) -> str:
    return f"{measures}: absent{'' if len(edits) == of else ' from ' + ', '.join(edits)}, {reason}"
