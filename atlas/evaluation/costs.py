"""What an edit cost: the stages that made it, of those in the clip's cost.json."""

from __future__ import annotations

from typing import Any

from atlas.clip.edits import Edit

Costs = dict[str, dict[str, Any]]
"""Stage -> figures, as `atlas.system.cost.read_costs` has them."""
_OF_LAYERS = ("edit", "tune", "sample", "aggregate")  # measured for each layer
_OF_EDITS = ("deflicker", "render")
STAGES = (*_OF_LAYERS, *_OF_EDITS)
"""What an edit may go through, in order."""


def costs_of(costs: Costs, edit: Edit) -> Costs:
    """Pick the costs of an edit's stages, as they are named in cost.json."""
    return {name: costs[name] for names in _names(edit).values() for name in names if name in costs}


def cost_by_stage(costs: Costs, edit: Edit) -> Costs:
    """Sum the costs of an edit by stage, over its layers: seconds are added up, of peak memory the highest is taken.

    wall_seconds, cpu_seconds, peak_ram_mb, peak_vram_mb; None where no layer's is known. A stage that did not run is left out.
    """
    found: Costs = {}
    for stage, names in _names(edit).items():
        runs = [costs[name] for name in names if name in costs]
        if runs:
            seconds = {key: _over(sum, runs, key) for key in ("wall_seconds", "cpu_seconds")}
            found[stage] = seconds | {key: _over(max, runs, key) for key in ("peak_ram_mb", "peak_vram_mb")}
    return found


def _over(combine: Any, runs: list[dict[str, Any]], key: str) -> float | None:
    known = [run[key] for run in runs if run.get(key) is not None]
    return round(combine(known), 3) if known else None


def _names(edit: Edit) -> dict[str, list[str]]:
    by_layer = {stage: [f"{stage} {edit.name} {layer}" for layer in edit.layers] for stage in _OF_LAYERS}
    return by_layer | {stage: [f"{stage} {edit.name}"] for stage in _OF_EDITS}
