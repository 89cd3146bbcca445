"""Costs of an edit, picked out of a clip's and summed by stage."""

from __future__ import annotations

from pathlib import Path

from atlas.clip.edits import Edit
from atlas.evaluation.costs import cost_by_stage, costs_of

COSTS = {
    "prepare": {"wall_seconds": 1.0},
    "edit red foreground": {"wall_seconds": 2.0, "cpu_seconds": 3.0, "peak_ram_mb": 400.0, "peak_vram_mb": None},
    "edit red background": {"wall_seconds": 0.5, "cpu_seconds": 1.0, "peak_ram_mb": 500.0},
    "edit blue foreground": {"wall_seconds": 9.0},
    "render red": {"wall_seconds": 4.0, "peak_ram_mb": 100.0, "peak_vram_mb": 7.0},
    "deflicker red": {},
    "tune red foreground": {"wall_seconds": 60.0},
}


def test_costs_of_one_edit() -> None:
    edit = Edit(Path("red"), "red", "default", {"foreground": {}, "background": {}})
    names = ["edit red foreground", "edit red background", "tune red foreground", "deflicker red", "render red"]
    assert list(costs_of(COSTS, edit)) == names
    nothing = {"wall_seconds": None, "cpu_seconds": None, "peak_ram_mb": None, "peak_vram_mb": None}
    assert cost_by_stage(COSTS, edit) == {
        "edit": {"wall_seconds": 2.5, "cpu_seconds": 4.0, "peak_ram_mb": 500.0, "peak_vram_mb": None},
        "tune": nothing | {"wall_seconds": 60.0},
        "deflicker": nothing,
        "render": nothing | {"wall_seconds": 4.0, "peak_ram_mb": 100.0, "peak_vram_mb": 7.0},
    }
    assert cost_by_stage({}, edit) == {}
