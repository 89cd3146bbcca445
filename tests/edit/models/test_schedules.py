"""Schedulers: what a model's description lacks, what its single file tells, and what goes together."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from safetensors.torch import save_file

from atlas.errors import UserError
from edit.models.schedules import SCHEDULERS, Schedule, check_steps, scheduler, single_file_marks
from edit.request.prompting import Scheduler

pytest.importorskip("diffusers", reason="diffusers is not installed: pip install -e .[diffusion]")
TRAINED: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def present(name: str = "EulerDiscreteScheduler", **more: Any) -> Any:
    """A model's own scheduler, as its description names it, and nothing else."""
    import diffusers

    return getattr(diffusers, name).from_config(TRAINED | more)


def made(own: Any, schedule: Schedule, known: dict[str, Any], marks: dict[str, Any] | None = None) -> Any:
    return scheduler(own, schedule, schedule.settings(known, marks or {}))


def test_the_command_offers_what_there_is() -> None:
    assert set(get_args(Scheduler)) == set(SCHEDULERS)


@pytest.mark.parametrize("name", ["ddim", "ddpm"])
def test_latents_are_not_clipped_where_nothing_says_so(name: str) -> None:
    chosen = made(present(), Schedule(name), TRAINED)
    assert chosen.config.clip_sample is False and chosen.config.steps_offset == 1
    assert chosen.config.get("set_alpha_to_one", False) is False
    named = TRAINED | {"clip_sample": True, "steps_offset": 0, "set_alpha_to_one": True}
    assert made(present(**named), Schedule(name), named).config.clip_sample is True
    assert Schedule(name).implied(named, {}) == {} != Schedule(name).implied(TRAINED, {})


def test_ddim_reaches_a_picture_beyond_1() -> None:
    wanted = torch.linspace(-4, 4, 64).view(1, 1, 8, 8)
    chosen = made(present(), Schedule("ddim"), TRAINED)
    chosen.set_timesteps(10)
    latents = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(0))
    for time in chosen.timesteps:
        share = chosen.alphas_cumprod[time]
        latents = chosen.step((latents - share**0.5 * wanted) / (1 - share) ** 0.5, time, latents, return_dict=False)[0]
    assert float((latents - wanted).abs().max()) < 0.15  # the schedule ends at its lowest noise level


def test_the_models_own_scheduler_stays_the_same_object() -> None:
    own = present("UniPCMultistepScheduler")
    assert made(own, Schedule("unipc"), TRAINED) is own


def test_what_single_files_tell(tmp_path: Path) -> None:
    weight, empty = {"a.weight": torch.zeros(2)}, torch.empty(0)
    told: list[tuple[dict[str, Any], dict[str, str], dict[str, Any]]] = [
        ({}, {}, {}),
        ({"v_pred": empty}, {}, {"prediction_type": "v_prediction"}),
        ({}, {"modelspec.predict_key": "v"}, {"prediction_type": "v_prediction"}),
        ({}, {"modelspec.prediction_type": "epsilon"}, {}),
    ]
    zero = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    told.append(({"v_pred": empty, "ztsnr": empty}, {}, {"prediction_type": "v_prediction"} | zero))
    for number, (tensors, texts, expected) in enumerate(told):
        save_file(weight | tensors, tmp_path / f"{number}.safetensors", metadata=texts)
        assert single_file_marks(tmp_path / f"{number}.safetensors") == expected
    chosen = made(present(), Schedule("euler"), TRAINED, expected)
    chosen.set_timesteps(4)
    assert chosen.config.prediction_type == "v_prediction" and float(chosen.timesteps[0]) == 999
    assert made(present(), Schedule("euler", prediction="epsilon"), TRAINED, expected).config.prediction_type == "epsilon"


def test_zero_terminal_snr_and_karras_are_told_where_they_cannot_be() -> None:
    zero = {"rescale_betas_zero_snr": True}
    for name in SCHEDULERS:
        schedule = Schedule(name, karras=True)
        if name in ("dpm++", "euler", "heun", "lms", "unipc"):
            assert made(present(), schedule, TRAINED).config.use_karras_sigmas
        else:
            with pytest.raises(UserError, match=f"--karras is not for --scheduler {name}: choose dpm.., euler, heun, lms"):
                made(present(), schedule, TRAINED)
    for name in ("lms", "heun", "pndm"):
        with pytest.raises(UserError, match=f"which --scheduler {name} cannot: choose ddim, ddpm"):
            made(present(), Schedule(name), TRAINED, zero)
        with pytest.raises(UserError, match=f"which --scheduler {name} cannot"):
            made(present(**zero), Schedule(name), TRAINED | zero)


def test_more_steps_than_a_scheduler_has() -> None:
    chosen = made(present(), Schedule("lcm"), TRAINED)
    check_steps(chosen, 6)
    assert chosen.num_inference_steps is None  # it is asked of a copy
    with pytest.raises(UserError, match="--steps 60 cannot be taken by this --scheduler .*: choose another number"):
        check_steps(chosen, 60)


def test_trailing_steps_begin_at_the_last() -> None:
    chosen = made(present(), Schedule("euler", spacing="trailing"), TRAINED)
    chosen.set_timesteps(4)
    assert chosen.timesteps.tolist() == [999, 749, 499, 249]


@pytest.mark.parametrize("first", [0, 3, 7])
def test_lms_begun_late_goes_straight_on(first: int) -> None:
    """Where all predictions agree the way is a straight line, which a method of any order follows exactly."""
    chosen = made(present(), Schedule("lms"), TRAINED)
    chosen.set_timesteps(10)
    chosen.set_begin_index(first)
    picture, noise = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    latents = picture + chosen.sigmas[first] * noise
    for time in chosen.timesteps[first:]:
        chosen.scale_model_input(latents, time)
        latents = chosen.step(noise, time, latents, return_dict=False)[0]
    assert float((latents - picture).abs().max()) < 1e-4
