"""Weights that are kept for the next run in the same process are those that were loaded, whatever was done with them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


@pytest.fixture(autouse=True)
def nothing_is_loaded() -> None:
    let_go()


def pipeline() -> Any:
    ((loaded, _),) = weights._kept.values()  # never two at once
    return loaded


def test_what_changed_the_model_leaves_no_trace(fresh_clip: Clip, prompted: Make, tmp_path: Path) -> None:
    """An edit by a model that was tuned and attended across frames before has the bytes of an edit alone."""
    frames = {"layer": "all", "on": "frames", "keyframes": None}
    edit(prompted(fresh_clip, name="tuned", recipe="clip-tuning", tune_steps=1, **frames))
    kept = pipeline()
    as_loaded = copy.deepcopy(vars(weights._kept[next(iter(weights._kept))][1]))
    start_anew()
    edit(prompted(fresh_clip, name="together", recipe="co-denoise", **frames))
    kept.scheduler.timesteps = torch.zeros(1)
    start_anew()
    assert str(vars(kept.scheduler)) == str(as_loaded)
    edit(prompted(fresh_clip, name="after", seed=3))
    assert pipeline() is kept  # loaded once

    start_anew()
    lora = tiny.save_lora(tmp_path / "lora.safetensors")
    edit(prompted(fresh_clip, name="lora", lora=(f"{lora}:1",)))
    assert pipeline() is not kept
    let_go()
    edit(prompted(fresh_clip, name="alone", seed=3))
    after, alone, other = (digest(fresh_clip.edit_folder(name) / "keyframes") for name in ("after", "alone", "lora"))
    assert after == alone != other
