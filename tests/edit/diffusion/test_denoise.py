"""The loop against diffusers' own pipelines, number by number, and what a start that is known in part becomes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from edit.diffusion.denoise import Start, denoise, draw
from edit.diffusion.model import StableDiffusion
from edit.diffusion.tiles import Tiled, spread
from edit.diffusion.weights import load
from edit.models.schedules import SCHEDULERS
from edit.models.weights import Weights
from edit.request.prompting import DiffusionOptions

SIZE = (64, 128)
STEPS = 4
CONTROL = (np.random.default_rng(0).random((*SIZE, 3)) > 0.8).astype(np.uint8) * 255


def loaded(models: Path, kind: str = "sd", **changes: Any) -> StableDiffusion:
    given = {
        "prompt": "a cat",
        "model": str(models / kind),
        "controlnet": (str(models / f"controlnet-{kind}"),),
        "offline": True,
    }
    return load(Weights.of(DiffusionOptions(**(given | changes)), torch.device("cpu")))  # type: ignore[arg-type]


def noise_start(model: StableDiffusion, seed: int = 3) -> Start:
    generator = torch.Generator().manual_seed(seed)
    return Start(draw(model.latent_shape(*SIZE), generator), generator)


def picture(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).random((*SIZE, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("kind", "negative", "guidance"), [("sd", "", 9.0), ("sd", "a dog", 1.0), ("xl", "", 9.0), ("xl", "a dog", 5.0)]
)
def test_noise_to_picture_equals_the_controlnet_pipeline(models: Path, kind: str, negative: str, guidance: float) -> None:
    model = loaded(models, kind)
    model.condition("a cat", negative, [CONTROL], [0.8], guidance)
    ours = model.decode(denoise(model, noise_start(model), steps=STEPS))
    theirs = model.pipeline(
        "a cat",
        image=Image.fromarray(CONTROL),
        negative_prompt=negative or None,
        num_inference_steps=STEPS,
        guidance_scale=guidance,
        controlnet_conditioning_scale=0.8,
        generator=torch.Generator().manual_seed(3),
        output_type="np",
    ).images[0]
    assert np.array_equal(ours, theirs) and ours.std() > 0.05


@pytest.mark.parametrize(("start", "end"), [(0.25, 1.0), (0.0, 0.5), (0.3, 0.7)])
def test_a_controlnet_counts_between_shares_of_the_steps(models: Path, start: float, end: float) -> None:
    model = loaded(models, control_start=(start,), control_end=(end,))
    model.condition("a cat", "", [CONTROL], [1.0], 9.0)
    ours = model.decode(denoise(model, noise_start(model), steps=STEPS))
    given: dict[str, Any] = {"image": Image.fromarray(CONTROL), "num_inference_steps": STEPS, "guidance_scale": 9.0}
    given |= {"control_guidance_start": start, "control_guidance_end": end, "output_type": "np"}
    theirs = model.pipeline("a cat", generator=torch.Generator().manual_seed(3), **given).images[0]
    assert np.array_equal(ours, theirs)
    model = loaded(models)
    model.condition("a cat", "", [CONTROL], [1.0], 9.0)
    assert not np.array_equal(ours, model.decode(denoise(model, noise_start(model), steps=STEPS)))


@pytest.mark.parametrize("scheduler", ["dpm++", "euler", "euler-a", "heun", "lcm", "pndm", "tcd", "unipc"])
def test_other_schedulers_equal_the_pipeline_too(models: Path, scheduler: str) -> None:
    model = loaded(models, scheduler=scheduler)
    model.condition("a cat", "", [CONTROL], [1.0], 9.0)
    ours = model.decode(denoise(model, noise_start(model), steps=STEPS))
    theirs = model.pipeline(
        "a cat",
        image=Image.fromarray(CONTROL),
        num_inference_steps=STEPS,
        guidance_scale=9.0,
        generator=torch.Generator().manual_seed(3),
        output_type="np",
    ).images[0]
    assert np.array_equal(ours, theirs)


@pytest.mark.parametrize(("kind", "strength", "end"), [("sd", 0.8, 1.0), ("sd", 0.5, 0.5), ("xl", 0.8, 1.0)])
def test_strength_equals_the_image_to_image_pipeline(models: Path, kind: str, strength: float, end: float) -> None:
    import diffusers

    model = loaded(models, kind, control_end=(end,))
    name = "StableDiffusionXLControlNetImg2ImgPipeline" if kind == "xl" else "StableDiffusionControlNetImg2ImgPipeline"
    more = {} if kind == "xl" else {"requires_safety_checker": False}
    pipeline = getattr(diffusers, name)(**model.pipeline.components, **more)
    pipeline.set_progress_bar_config(disable=True)
    model.condition("a cat", "", [CONTROL], [1.0], 9.0)
    generator = torch.Generator().manual_seed(4)
    known = model.encode(picture(), generator)
    start = Start(draw(model.latent_shape(*SIZE), generator), generator, known, strength=strength)
    ours = model.decode(denoise(model, start, steps=STEPS))
    theirs = pipeline(
        "a cat",
        image=torch.from_numpy(picture()).permute(2, 0, 1)[None],
        control_image=Image.fromarray(CONTROL),
        strength=strength,
        num_inference_steps=STEPS,
        guidance_scale=9.0,
        controlnet_conditioning_scale=1.0,
        control_guidance_end=end,
        generator=torch.Generator().manual_seed(4),
        output_type="np",
    ).images[0]
    assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("scheduler", sorted(SCHEDULERS))
def test_strength_0_is_the_autoencoder_alone(models: Path, scheduler: str) -> None:
    model = loaded(models, scheduler=scheduler)
    model.condition("a cat", "", [CONTROL], [1.0], 9.0)
    generator = torch.Generator().manual_seed(4)
    known = model.encode(picture(), generator)
    start = Start(draw(model.latent_shape(*SIZE), generator), generator, known, strength=0.0)
    through = model.decode(model.encode(picture(), torch.Generator().manual_seed(4)))
    assert np.array_equal(model.decode(denoise(model, start, steps=STEPS)), through)
    start.mask = torch.zeros(1, 1, *known.shape[2:], dtype=torch.bool)
    start.mask[..., :4] = True
    completed = denoise(model, start, steps=STEPS)
    assert torch.equal(completed[..., :4], known[..., :4]) and not torch.equal(completed, known)
    start.strength = 1.0  # forgotten: what it was makes no difference
    start.generator.manual_seed(4)  # for schedulers that draw noise in every step
    forgotten = denoise(model, start, steps=STEPS)
    start.known = torch.zeros_like(known)
    start.generator.manual_seed(4)
    assert torch.equal(denoise(model, start, steps=STEPS), forgotten)


class Oracle:
    """A denoiser that is sure of one picture: every prediction leads to `wanted`."""

    def __init__(self, wanted: Tensor) -> None:
        from diffusers import DDIMScheduler

        self.wanted, self.calls = wanted, 0
        self.scheduler = DDIMScheduler(clip_sample=False, steps_offset=1)
        self.device, self.dtype = torch.device("cpu"), torch.float32

    def begin(self, first: int) -> None:
        pass

    def predict(self, latents: Tensor, index: int) -> Tensor:
        self.calls += 1
        share = self.scheduler.alphas_cumprod[self.scheduler.timesteps[index]]
        return (latents - share**0.5 * self.wanted) / (1 - share) ** 0.5


@pytest.fixture
def parts(models: Path) -> SimpleNamespace:
    """A start that is known on its left half, and a denoiser that wants something else everywhere."""
    generator = torch.Generator().manual_seed(0)
    wanted, known, noise = (torch.randn(1, 4, 8, 8, generator=generator) for _ in range(3))
    mask = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    mask[..., :4] = True

    def run(strength: float, hold: float = 0.0, mask: Tensor | None = mask) -> tuple[Tensor, int]:
        model = Oracle(wanted)
        return denoise(model, Start(noise, generator, known, mask, strength, hold), steps=10), model.calls

    return SimpleNamespace(run=run, wanted=wanted, known=known)


def near(first: Tensor, second: Tensor) -> bool:
    return float((first - second).abs().max()) < 1e-3


def test_strength_0_keeps_what_is_known_and_completes_the_rest(parts: SimpleNamespace) -> None:
    result, calls = parts.run(0.0)
    assert torch.equal(result[..., :4], parts.known[..., :4])
    assert near(result[..., 4:], parts.wanted[..., 4:]) and calls == 10
    result, calls = parts.run(0.0, mask=None)
    assert torch.equal(result, parts.known) and calls == 0


def test_strength_1_forgets_what_is_known(parts: SimpleNamespace) -> None:
    result, calls = parts.run(1.0)
    assert near(result, parts.wanted) and calls == 10


def test_in_between_what_is_known_is_free_to_change(parts: SimpleNamespace) -> None:
    assert near(parts.run(0.5)[0], parts.wanted)


@pytest.mark.parametrize("hold", [0.25, 0.75, 1.0])
def test_hold_draws_it_back(parts: SimpleNamespace, hold: float) -> None:
    result, calls = parts.run(0.5, hold)
    assert calls == 10 and near(result[..., 4:], parts.wanted[..., 4:])
    away = float((result - parts.known)[..., :4].norm() / (parts.wanted - parts.known)[..., :4].norm())
    assert away == pytest.approx(1 - hold, abs=0.02)


def test_steps_are_counted(models: Path) -> None:
    counted: list[int] = []
    oracle = Oracle(torch.zeros(1, 4, 8, 8))
    generator = torch.Generator().manual_seed(0)
    start = Start(draw((4, 8, 8), generator), generator, torch.zeros(1, 4, 8, 8), strength=0.5)
    denoise(oracle, start, steps=10, on_step=lambda: counted.append(1))
    assert len(counted) == oracle.calls == 5


def test_tiles_cover_all_and_one_tile_is_the_model_itself(models: Path) -> None:
    assert spread(64, 64) == [slice(0, 64)]
    assert [(part.start, part.stop) for part in spread(256, 128)] == [(0, 128), (64, 192), (128, 256)]
    model = loaded(models)
    model.condition("a cat", "", [CONTROL], [1.0], 9.0)
    start = noise_start(model)
    whole = denoise(model, start, steps=2)
    assert torch.allclose(denoise(Tiled(model, *SIZE, 128), start, steps=2), whole, atol=1e-5)
    tiled = Tiled(model, *SIZE, 64)
    assert len(tiled.boxes) == 3
    result = denoise(tiled, start, steps=2)
    assert result.shape == whole.shape and not torch.allclose(result, whole)


@pytest.mark.parametrize("tile", [64, 128, 192, 512, 1024])
def test_tiles_share_a_quarter(tile: int) -> None:
    for length in range(tile + 64, 6 * tile, 64):
        parts = spread(length, tile)
        assert parts[0].start == 0 and parts[-1].stop == length
        assert all(part.stop - part.start == tile and part.start % 16 == 0 for part in parts)
        assert all(first.stop - second.start >= tile / 4 for first, second in zip(parts, parts[1:], strict=False))


def test_long_prompts_are_read_quietly(models: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = loaded(models)
    capfd.readouterr()
    model.check_prompt("a" * 80)
    assert model.condition("a" * 80, "", [CONTROL], [1.0], 9.0).text.shape[:2] == (2, 2 * 77)
    assert capfd.readouterr().err == ""  # the tokenizer's own warning says that it reads too much
