"""The loop over all frames under every scheduler: agreement on clean estimates; killed runs ending with the same bytes."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from edit.sampling.clean import clean, mixture, moved
from edit.sampling.loop import Begin, denoise_frames
from edit.sampling.state import LoopState

diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed: pip install -e .[diffusion]")

from edit.models.schedules import SCHEDULERS  # noqa: E402

SHAPE = (3, 4, 8, 8)
STEPS = 6


def scheduler(name: str, prediction: str = "epsilon") -> Any:
    common = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "prediction_type": prediction}
    made = getattr(diffusers, SCHEDULERS[name]).from_config(
        {**common, "num_train_timesteps": 1000, "clip_sample": False, "set_alpha_to_one": True}
    )
    assert made.config.prediction_type == prediction
    return made


def begin(seed: int = 0, *, known: bool = False, strength: float = 0.6) -> Begin:
    generator = torch.Generator().manual_seed(seed)
    noise, start = torch.randn(SHAPE, generator=generator), torch.randn(SHAPE, generator=generator)
    generators = [torch.Generator().manual_seed(seed + 10 * frame) for frame in range(SHAPE[0])]
    return Begin(noise, generators, start if known else None, strength if known else 1.0)


def prediction(latents: Tensor, index: int) -> Tensor:
    """Something that depends on latents, step and place, and is different for each frame."""
    return torch.tanh(latents * 0.3 + 0.05 * index) + torch.linspace(-0.2, 0.2, SHAPE[0])[:, None, None, None]


ALL = [(name, kind) for name in SCHEDULERS for kind in ("epsilon", "v_prediction")]


@pytest.mark.parametrize(("name", "kind"), ALL)
@pytest.mark.parametrize("known", [False, True])
def test_an_agreement_that_changes_nothing_is_plain_sampling_to_the_bit(name: str, kind: str, known: bool) -> None:
    plain = denoise_frames(scheduler(name, kind), begin(known=known), prediction, steps=STEPS)
    calls: list[int] = []

    def same(estimate: Tensor, index: int) -> Tensor:
        calls.append(index)
        return torch.zeros_like(estimate)

    at = lambda times: set(range(times))  # noqa: E731
    agreed = denoise_frames(scheduler(name, kind), begin(known=known), prediction, steps=STEPS, agree=same, agree_at=at)
    assert torch.equal(agreed, plain) and calls


@pytest.mark.parametrize(("name", "kind"), ALL)
def test_the_moved_prediction_has_the_wanted_estimate(name: str, kind: str) -> None:
    made = scheduler(name, kind)
    made.set_timesteps(STEPS)
    generator = torch.Generator().manual_seed(1)
    latents, out, wanted = (torch.randn(SHAPE, generator=generator) for _ in range(3))
    for index in range(len(made.timesteps)):
        estimate = clean(made, out, latents, index)
        assert estimate is not None
        again = clean(made, moved(made, out, wanted - estimate, index), latents, index)
        a, s = mixture(made, index)
        assert again is not None and float((again - wanted).abs().max()) < 2e-5 * max(1, s / a)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_an_agreement_that_knows_the_picture_leads_to_it(name: str) -> None:
    wanted = torch.randn(SHAPE, generator=torch.Generator().manual_seed(2)) * 0.5
    made = scheduler(name)
    at = lambda times: set(range(times))  # noqa: E731
    ended = denoise_frames(made, begin(), prediction, steps=12, agree=lambda estimate, index: wanted - estimate, agree_at=at)
    # TCD ends at the lowest noise level that the model knows, not at none
    assert float((ended - wanted).abs().max()) < (0.15 if name == "tcd" else 1e-3)


class KilledError(Exception):
    pass


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("known", [False, True])
def test_killed_after_any_step_it_resumes_to_the_same_bytes(name: str, known: bool, tmp_path: Path) -> None:
    def run(stop: int | None, state: LoopState | None) -> Tensor:
        def step(done: int, total: int) -> None:
            assert 0 <= done <= total
            if done == stop:
                raise KilledError

        half = lambda estimate, index: -0.1 * estimate  # noqa: E731
        return denoise_frames(
            scheduler(name),
            begin(known=known),
            prediction,
            steps=STEPS,
            agree=half,
            agree_at=lambda times: {1, 3},
            state=state,
            on_step=step,
        )

    whole = run(None, None)
    counted = len(scheduler_times(name))
    for stop in range(1, counted + 1):
        state = LoopState(tmp_path / str(stop), "this run")
        with contextlib.suppress(KilledError):
            run(stop, state)
        assert torch.equal(run(None, LoopState(tmp_path / str(stop), "this run")), whole)


def scheduler_times(name: str) -> Tensor:
    made = scheduler(name)
    made.set_timesteps(STEPS)
    return made.timesteps


def test_a_state_of_another_run_is_not_taken_up(tmp_path: Path) -> None:
    state = LoopState(tmp_path, "one")
    denoise_frames(scheduler("ddim"), begin(seed=1), prediction, steps=STEPS, state=state)
    plain = denoise_frames(scheduler("ddim"), begin(seed=2), prediction, steps=STEPS)
    other = denoise_frames(scheduler("ddim"), begin(seed=2), prediction, steps=STEPS, state=LoopState(tmp_path, "other"))
    assert torch.equal(other, plain)


def test_strength_0_keeps_what_is_known_and_1_forgets_it() -> None:
    kept = denoise_frames(scheduler("ddim"), begin(known=True, strength=0.0), prediction, steps=STEPS)
    assert torch.equal(kept, begin(known=True).known)
    forgotten = denoise_frames(scheduler("ddim"), begin(known=True, strength=1.0), prediction, steps=STEPS)
    assert torch.equal(forgotten, denoise_frames(scheduler("ddim"), begin(), prediction, steps=STEPS))


@pytest.mark.parametrize("name", ["ddpm", "euler-a"])
def test_schedulers_that_draw_noise_draw_each_frame_s_own(name: str) -> None:
    drawn = begin()
    drawn.noise[1:] = drawn.noise[0]
    same = lambda latents, index: torch.tanh(latents)  # noqa: E731
    ended = denoise_frames(scheduler(name), drawn, same, steps=STEPS)
    assert float((ended[0] - ended[1]).abs().max()) > 0.1
    drawn = begin()
    drawn.noise[1:] = drawn.noise[0]
    drawn.generators = [torch.Generator().manual_seed(5) for _ in drawn.generators]
    ended = denoise_frames(scheduler(name), drawn, same, steps=STEPS)
    assert torch.equal(ended[0], ended[1]) and torch.equal(ended[0], ended[2])
