"""What a command is taken to load: equal where only the request differs, and nothing where there is no prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scripts.plans.options import arguments_of
from scripts.plans.plan import Task
from scripts.plans.weights import weights_of

PROMPTED: dict[str, Any] = {"editor": "diffusion", "prompt": "a golden statue", "model": "models/sd15", "seed": 1}


def weights(options: dict[str, Any], stage: str = "edit", *before: str) -> str:
    words = [*before, f"scripts/{stage}.py", "/clips/swan", *arguments_of(stage, options)]
    return weights_of(Task.of(stage, words, Path("/clips/swan"), stage))


@pytest.mark.parametrize(
    ("changes", "is_same"),
    [
        ({"seed": 2, "prompt": "--model=x", "steps": 5, "layer": "background"}, True),
        ({"model": "models/other"}, False),
        ({"controlnet": ("a", "b")}, False),
        ({"lora": ("style.safetensors",)}, False),
        ({"device": "cpu"}, False),
    ],
)
def test_what_is_loaded_is_told_from_the_options_that_decide_it(changes: dict[str, Any], is_same: bool) -> None:
    assert (weights(PROMPTED | changes) == weights(PROMPTED)) is is_same
    assert weights(PROMPTED | {"controlnet": ("a", "b")}) != weights(PROMPTED | {"controlnet": ("a", "c")})


def test_what_loads_nothing_wants_nothing() -> None:
    assert weights({"editor": "filter", "filter": "hue", "layer": "foreground"}) == ""
    assert weights({"preset": "preview"}, "fit") == ""
    assert weights({"editor": "diffusion", "prompt": "gold"}) != ""  # the usual model


def test_what_brings_a_clip_from_a_store_changes_nothing() -> None:
    around = ("-m", "scripts.plans.store.stage", "--store", "file:///disk", "--file", "/models/sd15", "--")
    assert weights(PROMPTED, "edit", *around) == weights(PROMPTED)
