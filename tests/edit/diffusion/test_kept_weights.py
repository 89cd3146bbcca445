"""Weights that are kept for the next run in the same process are those that were loaded, whatever was done with them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from atlas.clip.clip import Clip
from atlas.storage.stamps import digest
from edit.diffusion import weights
from edit.diffusion.weights import let_go, start_anew
from edit.editors import EditOptions
from edit.stage import edit
from tests.edit import tiny

Make = Callable[..., EditOptions]


def pipeline() -> object:
    return next(iter(weights._kept.values()))[0]


def test_what_changed_the_model_leaves_no_trace(fresh_clip: Clip, prompted: Make, tmp_path: Path) -> None:
    """An edit by a model that was tuned and attended across frames before has the bytes of an edit alone."""
    frames = {"layer": "all", "on": "frames", "keyframes": None, "name": "frames"}
    disturbing = [
        {"name": "tuned", "recipe": "clip-tuning", "tune_steps": 1},
        {"name": "together", "recipe": "diffsynth"},
        {"name": "usual", "recipe": "layered"},
    ]
    kept = None
    for changes in disturbing:
        edit(prompted(fresh_clip, **(frames | changes)))
        assert kept is None or pipeline() is kept  # loaded once
        kept = pipeline()
        start_anew()
    edit(prompted(fresh_clip, name="after", seed=3))
    assert pipeline() is kept
    let_go()
    edit(prompted(fresh_clip, name="alone", seed=3))
    assert pipeline() is not kept
    after, alone = (digest(fresh_clip.edit_folder(name) / "keyframes") for name in ("after", "alone"))
    assert after == alone


def test_another_lora_or_file_is_loaded(fresh_clip: Clip, prompted: Make, models: Path, tmp_path: Path) -> None:
    edit(prompted(fresh_clip, name="plain"))
    plain = pipeline()
    start_anew()
    lora = tiny.save_lora(tmp_path / "lora.safetensors")
    edit(prompted(fresh_clip, name="lora", lora=(f"{lora}:1",)))
    assert pipeline() is not plain and len(weights._kept) == 1  # the one before is free first


def test_the_scheduler_begins_as_it_was_loaded(fresh_clip: Clip, prompted: Make) -> None:
    edit(prompted(fresh_clip))
    loaded = next(iter(weights._kept.values()))
    loaded[0].scheduler.timesteps = torch.zeros(1)
    expected = copy.deepcopy(vars(loaded[1]))
    start_anew()
    assert loaded[0].scheduler is not loaded[1]
    assert str(vars(loaded[0].scheduler)) == str(expected)


@pytest.fixture(autouse=True)
def nothing_is_loaded() -> None:
    let_go()
