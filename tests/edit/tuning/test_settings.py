"""How tuning is asked for, and what is refused before weights load."""

from __future__ import annotations

from typing import Any

import pytest

from atlas.errors import UserError
from edit.request.prompting import DiffusionOptions
from edit.tuning.settings import TuneSettings


def test_what_is_tuned_is_read() -> None:
    assert TuneSettings().rank == 16 and TuneSettings(how="lora:4").rank == 4 and TuneSettings(how="full").rank is None
    assert TuneSettings().file_name("key") == "tuned-key.safetensors"
    assert TuneSettings(how="full").file_name("key") == "tuned-key"


def test_unweighted_steps_near_0_are_left_out() -> None:
    assert TuneSettings().timesteps == (0, 500)
    assert TuneSettings(weight="plain", late=1000).timesteps == (20, 1000)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"how": "lora"}, "--tune-with 'lora' is not understood: write lora:16"),
        ({"how": "lora:0"}, "--tune-with 'lora:0' is not understood"),
        ({"how": "lora:-4"}, "--tune-with 'lora:-4' is not understood"),
        ({"how": "lora:2000"}, "a rank up to 1024"),
        ({"how": "lora:٣"}, "is not understood"),
        ({"how": "Full"}, "--tune-with 'Full' is not understood"),
        ({"steps": 0}, "--tune-steps 0 is out of range: choose from 1"),
        ({"rate": 0.0}, "--tune-rate 0 is out of range"),
        ({"rate": float("nan")}, "--tune-rate nan is out of range"),
        ({"late": 0}, "--tune-late 0 is out of range: choose from 1 to 1000"),
        ({"late": 1001}, "--tune-late 1001 is out of range"),
        ({"late": 20, "weight": "plain"}, "--tune-late 20 is out of range: choose from 21 to 1000"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        TuneSettings(**changes).check()


def test_defaults_pass() -> None:
    for settings in (TuneSettings(), TuneSettings(how="full", weight="plain", late=1000, rate=1e-6)):
        settings.check()
        settings.check_with(DiffusionOptions(prompt="a cat", offload="model"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"offload": "sequential"}, "--offload sequential keeps no weights that could be tuned"),
        ({"compile": True}, "--compile is for networks that stay as they are"),
    ],
)
def test_models_that_cannot_be_tuned(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        TuneSettings().check_with(DiffusionOptions(prompt="a cat", **changes))
