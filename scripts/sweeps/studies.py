"""Ready-made studies: what is usually compared, as an axis, and the figures that answer the question.

Of the published ablations: Fig. 11 keeps keyframes alike in four ways that differ in what each starts from; Fig. 10 edits the
atlas itself instead of keyframes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from edit.recipes.presets import PRESETS as RECIPES
from scripts.sweeps.grid import Axis, Value

PROMPT = "an oil painting"


@dataclass(frozen=True)
class Study:
    """A question, as an axis."""

    meaning: str
    axis: Callable[[], Axis]
    """Makes it, once the study is asked for: what a fit consists of takes torch to know."""
    figures: tuple[str, ...]
    """Columns that the picture shows."""
    usual: dict[str, Any] = field(default_factory=dict)
    """Options of `edit.py` that hold where the command line says nothing."""
    with_edits: bool = True


def _axis(name: str, stage: str, values: dict[str, dict[str, Any]]) -> Axis:
    return Axis(name, tuple(Value(label, {stage: options}) for label, options in values.items()))


def _of_edits(name: str, values: dict[str, dict[str, Any]]) -> Callable[[], Axis]:
    return partial(_axis, name, "edit", values)


def _of_fits() -> Axis:
    from scripts.sweeps.variant import LOSSES  # takes torch

    variants: dict[str, dict[str, Any]] = {
        "all": {},
        **{f"{count} round{'s' * (count != 1)}": {"rounds": count} for count in (0, 1, 2, 4)},
        **{f"{count} steps": {"steps": count} for count in (0, 50)},
        **{f"no {name}": {"without": (name,)} for name in LOSSES},
    }
    return _axis("variant", "variant", variants)


STUDIES = {
    "fig11": Study(
        "strategies that keep keyframes alike",
        _of_edits("strategy", {name: {"strategy": name} for name in ("random", "fixed", "sequential", "propagate")}),
        ("overlap", "warp_error", "fidelity"),
        {"prompt": PROMPT},
    ),
    "fig10": Study(
        "the atlas itself against keyframes",
        _of_edits("on", {name: {"on": name} for name in ("atlas", "keyframes")}),
        ("warp_error", "changed", "sharpness"),
        {"prompt": PROMPT},
    ),
    "keyframes": Study(
        "how many keyframes",
        _of_edits("keyframes", {f"auto:{count}": {"keyframes": f"auto:{count}"} for count in range(1, 9)}),
        ("coverage", "warp_error", "fidelity"),
        {"prompt": PROMPT},
    ),
    "fit": Study(
        "what rounds, steps and losses of the fit are worth",
        _of_fits,
        ("psnr", "flow_px", "slide_px"),
        with_edits=False,
    ),
    "methods": Study(
        "recipes of editing all frames, and keyframes",
        _of_edits("recipe", {"keyframes": {"on": "keyframes"}} | {name: {"on": "frames", "recipe": name} for name in RECIPES}),
        ("warp_error", "changed", "sharpness"),
        {"prompt": PROMPT},
    ),
}
