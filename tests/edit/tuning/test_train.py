"""Training: one step against its formula, an overfitted pair, the same bytes after a kill, and what is refused."""

from __future__ import annotations

import gc
import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from atlas.errors import UserError
from atlas.storage.stamps import digest
from edit.diffusion.model import StableDiffusion
from edit.tuning.examples import Example
from edit.tuning.settings import TuneSettings
from edit.tuning.stored import tuned
from edit.tuning.train import example_loss, tune
from tests.edit import tiny

Loads = Callable[..., StableDiffusion]
Learnt = Callable[[StableDiffusion], list[Example]]


def weights_of(model: StableDiffusion) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.pipeline.unet.state_dict().items()}


def run(
    model: StableDiffusion, examples: list[Example], settings: TuneSettings, folder: Path, save_after: float = 1e9
) -> tuple[Path, str]:
    """Tune; what it left, and what it said."""
    path, notes = folder / settings.file_name("key"), list[str]()
    tune(model, examples, settings, path, resume=folder / "state", quiet=True, notes=notes, save_after=save_after)
    return path, notes[0]


@pytest.mark.parametrize("kind", ["sd", "xl"])
@pytest.mark.parametrize("timestep", [0, 120, 499])
def test_the_loss_of_a_step_is_the_formula(tiny_model: Loads, learnt: Learnt, kind: str, timestep: int) -> None:
    model = tiny_model(kind)
    plain, pair = learnt(model)
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    share = float(model.scheduler.alphas_cumprod[timestep])
    a, s, snr = math.sqrt(share), math.sqrt(1 - share), share / (1 - share)
    assert pair.target is not None

    def predicted(example: Example) -> Tensor:
        known, pipe = example.conditioning, model.pipeline
        latent, time = a * example.source + s * noise, torch.tensor(timestep)
        down, middle = pipe.controlnet(
            latent, time, known.text, known.controls, 0.8, added_cond_kwargs=known.added, return_dict=False
        )
        return pipe.unet(
            latent,
            time,
            known.text,
            added_cond_kwargs=known.added,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
        ).sample

    def loss(example: Example, **settings: str) -> float:
        return float(example_loss(model, example, timestep, noise, TuneSettings(**settings), torch.float32))  # type: ignore[arg-type]

    with torch.no_grad():
        assert loss(plain) == pytest.approx(float((noise - predicted(plain)).square().mean()), rel=1e-6)
        answer = (a * pair.source + s * noise - a * pair.target) / s
        error = float((answer - predicted(pair)).square().mean())
        assert loss(pair, weight="plain") == pytest.approx(error, rel=1e-5)
        assert loss(pair) == pytest.approx(error * min(snr, 5) / snr, rel=1e-5)
        changed_nothing = replace(pair, target=pair.source)
        assert loss(changed_nothing, weight="plain") == loss(replace(pair, target=None))


def test_models_that_predict_velocity_learn_it(tiny_model: Loads, learnt: Learnt, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    pair, noise = learnt(model)[1], torch.randn(1, 4, 8, 8)
    known = type(model.scheduler).from_config(model.scheduler.config, prediction_type="v_prediction")
    monkeypatch.setattr(model.pipeline, "scheduler", known)
    share, time = float(known.alphas_cumprod[200]), torch.tensor(200)
    assert pair.target is not None
    with torch.no_grad():
        latent = math.sqrt(share) * pair.source + math.sqrt(1 - share) * noise
        leads_there = (latent - math.sqrt(share) * pair.target) / math.sqrt(1 - share)
        velocity = math.sqrt(share) * leads_there - math.sqrt(1 - share) * pair.target
        error = (velocity - model.output(pair.conditioning, latent, time)).square().mean()
        loss = example_loss(model, pair, 200, noise, TuneSettings(weight="plain"), torch.float32)
    assert float(loss) == pytest.approx(float(error), rel=1e-5)


def test_masks_and_foregrounds_count(tiny_model: Loads, learnt: Learnt) -> None:
    model = tiny_model()
    plain, noise = learnt(model)[0], torch.randn(1, 4, 8, 8)
    half = torch.zeros(1, 1, 8, 8)
    half[..., :3] = 1

    def loss(**parts: Tensor) -> float:
        with torch.no_grad():
            return float(example_loss(model, replace(plain, **parts), 77, noise, TuneSettings(), torch.float32))

    assert loss(foreground=half) == pytest.approx(2 * loss(), rel=1e-6)
    assert loss(mask=half) + loss(mask=1 - half) == pytest.approx(loss(), rel=1e-6)


def test_a_pair_is_learned_by_heart(tiny_model: Loads, learnt: Learnt, tmp_path: Path) -> None:
    """Of the noised frame the network saw nothing but the frame; now it sees the edit in it."""
    model = tiny_model()
    frame, edited = torch.randn(2, 1, 4, 1, 1, generator=torch.Generator().manual_seed(0)).expand(-1, 1, 4, 8, 8)
    pair = replace(learnt(model)[1], source=frame.contiguous(), target=edited.contiguous())

    @torch.no_grad()
    def distances() -> Tensor:  # (2,): of the clean estimate from frame and edit, over timesteps
        found = []
        for timestep in (35, 45, 55):
            share = float(model.scheduler.alphas_cumprod[timestep])
            noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(timestep))
            latent = share**0.5 * frame + (1 - share) ** 0.5 * noise
            answer = model.output(pair.conditioning, latent, torch.tensor(timestep))
            estimate = (latent - (1 - share) ** 0.5 * answer) / share**0.5
            found.append(torch.stack([(estimate - other).norm() for other in (frame, edited)]))
        return torch.stack(found).mean(0)

    before = distances()
    path, said = run(model, [pair], TuneSettings(steps=100, rate=5e-3, late=60, how="full"), tmp_path)
    assert said.startswith("tuned full in 100 steps on 1 examples: loss ")
    with tuned(model, path):
        after = distances()
    assert after[1] < before[1] / 5 and after[0] > 5 * before[0]
    assert torch.equal(distances(), before)


class Fatal(list[Example]):
    """Examples of which the one drawn after `left` others ends the run, as Ctrl-C does."""

    left = 5

    def __getitem__(self, index):  # type: ignore[no-untyped-def,override]
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super().__getitem__(index)


@pytest.mark.parametrize("how", ["lora:2", "full"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_killed_and_resumed_ends_with_the_same_bytes(
    tiny_model: Loads, learnt: Learnt, tmp_path: Path, how: str, dtype: str
) -> None:
    model, settings = tiny_model(dtype=dtype), TuneSettings(steps=8, rate=1e-3, how=how, seed=3)
    examples, before, random = learnt(model), weights_of(model), torch.get_rng_state()
    wanted, said = run(model, examples, settings, tmp_path / "whole")
    assert not (tmp_path / "whole" / "state").exists()
    with pytest.raises(KeyboardInterrupt):
        run(model, Fatal(examples), settings, tmp_path / "killed", save_after=0)
    assert not (tmp_path / "killed" / wanted.name).exists() and (tmp_path / "killed" / "state").is_dir()
    after = Fatal(examples)
    after.left = 3  # as many as are left: nothing is learned twice
    found, said_then = run(model, after, settings, tmp_path / "killed")
    assert digest(found) == digest(wanted) and said == said_then
    assert not (tmp_path / "killed" / "state").exists()
    now = weights_of(model)
    assert list(now) == list(before) and all(torch.equal(value, before[name]) for name, value in now.items())
    assert torch.equal(torch.get_rng_state(), random)


def test_the_state_of_another_run_is_not_taken_up(tiny_model: Loads, learnt: Learnt, tmp_path: Path) -> None:
    model, settings = tiny_model(), TuneSettings(steps=7, how="lora:2")
    examples = learnt(model)
    with pytest.raises(KeyboardInterrupt):
        run(model, Fatal(examples), settings, tmp_path / "a", save_after=0)
    for number, (other, taught) in enumerate([(replace(settings, seed=1), examples), (settings, examples[::-1])]):
        clean = run(model, taught, other, tmp_path / f"clean-{number}")[0]
        assert digest(run(model, taught, other, tmp_path / "a")[0]) == digest(clean)


@pytest.mark.parametrize("kind", ["sd", "xl"])
def test_a_lora_learns_beside_those_that_are_on(tiny_model: Loads, learnt: Learnt, tmp_path: Path, kind: str) -> None:
    mine = tiny.save_lora(tmp_path / "mine.safetensors") if kind == "sd" else None
    model = tiny_model(kind, lora=() if mine is None else (f"{mine}:0.5",))
    before, settings = weights_of(model), TuneSettings(steps=12, rate=1e-2, how="lora:2", late=30)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        path = run(model, learnt(model), settings, tmp_path / "made")[0]
    now = weights_of(model)
    assert list(now) == list(before) and all(torch.equal(value, before[name]) for name, value in now.items())
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(9))

    def loss() -> float:
        with torch.no_grad():
            return float(example_loss(model, learnt(model)[1], 20, noise, settings, torch.float32))

    untuned = loss()
    with tuned(model, path):
        assert loss() < untuned
    assert loss() == untuned


def test_a_loss_that_is_no_number_is_said(tiny_model: Loads, learnt: Learnt, tmp_path: Path) -> None:
    model = tiny_model()
    broken = [replace(example, source=example.source * float("nan")) for example in learnt(model)]
    before = weights_of(model)
    with pytest.raises(UserError, match=r"no number any more at step 1: lower --tune-rate \(0.0001\)"):
        run(model, broken, TuneSettings(), tmp_path)
    assert not list(tmp_path.glob("tuned*"))
    assert all(torch.equal(value, before[name]) for name, value in weights_of(model).items())


def test_nothing_is_kept_from_step_to_step(tiny_model: Loads, learnt: Learnt, tmp_path: Path) -> None:
    """No graph outlives its step: as many tensors are alive in the last step as in the third."""
    model, examples, alive = tiny_model(), learnt(tiny_model()), list[int]()

    class Counting(list[Example]):
        def __getitem__(self, index):  # type: ignore[no-untyped-def,override]
            gc.collect()
            alive.append(sum(type(entry) is Tensor for entry in gc.get_objects()))
            return super().__getitem__(index)

    run(model, Counting(examples), TuneSettings(steps=5, how="lora:2"), tmp_path)
    assert len(alive) == 5 and alive[4] <= alive[2]


def test_settings_are_checked_first(tiny_model: Loads, learnt: Learnt, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--tune-with 'lora:x' is not understood"):
        run(tiny_model(), learnt(tiny_model()), TuneSettings(how="lora:x"), tmp_path)
    assert not list(tmp_path.iterdir())
