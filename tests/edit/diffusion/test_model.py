"""The networks' output beneath the guided prediction: its halves, and where gradients go."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edit.diffusion.model import StableDiffusion
from edit.diffusion.weights import load
from edit.models.weights import Weights
from edit.request.prompting import DiffusionOptions

CONTROL = (np.random.default_rng(0).random((64, 64, 3)) > 0.8).astype(np.uint8) * 255


def loaded(models: Path, kind: str, nets: int = 1) -> StableDiffusion:
    net = str(models / f"controlnet-{kind}")
    options = DiffusionOptions(
        prompt="a cat", model=str(models / kind), controlnet=(net,) * nets, control=("canny",) * nets, offline=True
    )
    return load(Weights.of(options, torch.device("cpu")))


@pytest.mark.parametrize(("kind", "nets"), [("sd", 1), ("sd", 2), ("xl", 1)])
def test_the_halves_together_are_the_guided_prediction(models: Path, kind: str, nets: int) -> None:
    model = loaded(models, kind, nets)
    conditioning = model.condition("a cat", "a dog", [CONTROL] * nets, [0.8] * nets, 5.0)
    model.scheduler.set_timesteps(4)
    latents, time = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)), model.scheduler.timesteps[1]
    with torch.no_grad():
        guided = model.predict_with(conditioning, latents, 1)
        without, with_prompt = (model.output(conditioning.half(number), latents, time) for number in (0, 1))
    assert not torch.equal(without, with_prompt) and not conditioning.half(0).guided
    assert torch.allclose(without + 5.0 * (with_prompt - without), guided, atol=1e-5)


def test_gradients_reach_the_unet_alone(models: Path) -> None:
    model = loaded(models, "sd")
    conditioning = model.condition("a cat", "", [CONTROL], [0.8], 1.0)
    model.output(conditioning, torch.randn(1, 4, 8, 8), torch.tensor(5)).square().mean().backward()
    try:
        assert all(weight.grad is not None for weight in model.pipeline.unet.parameters())
        assert all(weight.grad is None for weight in model.pipeline.controlnet.parameters())
    finally:
        model.pipeline.unet.zero_grad()
