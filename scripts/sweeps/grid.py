"""Grid of a sweep: axes with their values, and the rows that are all their combinations, or some of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from atlas.errors import UserError, a_few
from scripts.plans.chain import Options

StageOptions = dict[str, Options]


@dataclass(frozen=True)
class Value:
    """A value of an axis."""

    label: str
    """As it stands in tables."""
    options: StageOptions = field(default_factory=dict)
    """What it sets of which stage."""


@dataclass(frozen=True)
class Axis:
    """What is varied."""

    name: str
    values: tuple[Value, ...]

    @property
    def stages(self) -> set[str]:
        """The stages that it says something to."""
        return {stage for value in self.values for stage in value.options}


@dataclass(frozen=True)
class Combination:
    """One row: a value of each axis."""

    values: dict[str, Value]
    """By the axis's name, in the order of the axes."""

    @property
    def labels(self) -> dict[str, str]:
        """What its cells hold."""
        return {name: value.label for name, value in self.values.items()}

    def options(self, stage: str) -> Options:
        """What all values set of a stage together; of two that set the same, the later."""
        merged: dict[str, Any] = {}
        for value in self.values.values():
            merged |= value.options.get(stage, {})
        return merged


def combinations(axes: Sequence[Axis], only: Sequence[str] = (), limit: int | None = None) -> list[Combination]:
    """All combinations of the axes' values, the last axis running fastest.

    only: AXIS=VALUE, several of one axis separated by commas; all must hold. limit: at most so many. UserError for an axis or a
    value that is not there, and where nothing is left.
    """
    wanted = [_wanted(text, axes) for text in only]
    rows = [
        Combination(dict(zip((axis.name for axis in axes), values, strict=True)))
        for values in product(*(axis.values for axis in axes))
    ]
    rows = [row for row in rows if all(row.labels[name] in labels for name, labels in wanted)]
    if limit is not None and limit < 1:
        raise UserError(f"--limit {limit}: give 1 or more")
    if not rows:
        raise UserError("--only leaves nothing: give other values, or leave it out")
    return rows[:limit]


def _wanted(text: str, axes: Sequence[Axis]) -> tuple[str, set[str]]:
    name, sign, values = text.partition("=")
    axis = next((axis for axis in axes if axis.name == name.strip().replace("-", "_")), None)
    if not sign or axis is None:
        raise UserError(f"--only {text}: write AXIS=VALUE with one of the axes {a_few([axis.name for axis in axes], 12)}")
    known = {value.label for value in axis.values}
    labels = {label for label in (values, *values.split(",")) if label in known}
    if not labels:
        raise UserError(f"--only {text}: {axis.name} has the values {a_few(sorted(known), 12)}")
    return axis.name, labels
