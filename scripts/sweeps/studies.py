"""Ready-made studies: axes that are usually compared, and the figures that answer the question.

Of the published ablations: Fig. 11 keeps keyframes alike in four ways that differ in what each starts from; Fig. 10 edits the
atlas itself instead of keyframes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from edit.recipes.presets import PRESETS as RECIPES
from edit.strategies import STRATEGIES
from scripts.sweeps.grid import Axis, Value
from scripts.sweeps.variant import LOSSES

PROMPT = "an oil painting"


@dataclass(frozen=True)
class Study:
    """A question, as axes."""

    meaning: str
    axes: tuple[Axis, ...]
    figures: tuple[str, ...]
    """Columns that the picture shows."""
    usual: dict[str, Any] = field(default_factory=dict)
    """Options of `edit.py` that hold where the command line says nothing."""
    with_edits: bool = True


def _edit_axis(name: str, values: dict[str, dict[str, Any]]) -> Axis:
    return Axis(name, tuple(Value(label, {"edit": options}) for label, options in values.items()))


_STRATEGIES = ("random", "fixed", "sequential", "propagate")
_VARIANTS: dict[str, dict[str, Any]] = {
    "all": {},
    **{f"{count} round{'s' * (count != 1)}": {"rounds": count} for count in (0, 1, 2, 4)},
    **{f"{count} steps": {"steps": count} for count in (0, 50)},
    **{f"no {name}": {"without": (name,)} for name in LOSSES},
}
_OF_EDITS = ("overlap", "warp_error", "fidelity")
STUDIES = {
    "fig11": Study(
        "strategies that keep keyframes alike",
        (_edit_axis("strategy", {name: {"strategy": name} for name in _STRATEGIES if name in STRATEGIES}),),
        _OF_EDITS,
        {"prompt": PROMPT},
    ),
    "fig10": Study(
        "the atlas itself against keyframes",
        (_edit_axis("on", {name: {"on": name} for name in ("atlas", "keyframes")}),),
        ("warp_error", "changed", "sharpness"),
        {"prompt": PROMPT},
    ),
    "keyframes": Study(
        "how many keyframes",
        (_edit_axis("keyframes", {f"auto:{count}": {"keyframes": f"auto:{count}"} for count in range(1, 9)}),),
        ("coverage", "warp_error", "fidelity"),
        {"prompt": PROMPT},
    ),
    "fit": Study(
        "what rounds, steps and losses of the fit are worth",
        (Axis("variant", tuple(Value(label, {"variant": options}) for label, options in _VARIANTS.items())),),
        ("psnr", "flow_px", "slide_px"),
        with_edits=False,
    ),
    "methods": Study(
        "recipes of editing all frames, and keyframes",
        (
            _edit_axis(
                "recipe",
                {"keyframes": {"on": "keyframes"}} | {name: {"on": "frames", "recipe": name} for name in RECIPES},
            ),
        ),
        ("warp_error", "changed", "sharpness"),
        {"prompt": PROMPT},
    ),
}
