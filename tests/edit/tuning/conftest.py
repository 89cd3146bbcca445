"""A tiny model, two pictures, and what it can learn of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edit.diffusion.model import StableDiffusion
from edit.diffusion.weights import load
from edit.models.weights import Weights
from edit.request.prompting import DiffusionOptions
from edit.tuning.examples import Example, ExampleMaker

CONTROL = (np.random.default_rng(0).random((64, 64, 3)) > 0.8).astype(np.uint8) * 255


@pytest.fixture
def tiny_model(models: Path) -> Callable[..., StableDiffusion]:
    """Loads a tiny model, "sd" or "xl", with more options of the command: `tiny_model("xl", lora=...)`."""

    def make(kind: str = "sd", **more: Any) -> StableDiffusion:
        given: dict[str, Any] = {"model": str(models / kind), "controlnet": (str(models / f"controlnet-{kind}"),)}
        return load(Weights.of(DiffusionOptions(prompt="a cat", offline=True, **(given | more)), torch.device("cpu")))

    return make


@pytest.fixture
def learnt() -> Callable[[StableDiffusion], list[Example]]:
    """A frame without a prompt, and its edit with one: what most tests tune on."""

    def make(model: StableDiffusion) -> list[Example]:
        frame, edited = np.random.default_rng(1).random((2, 64, 64, 3), np.float32)
        maker = ExampleMaker(model, [0.8])
        return [maker.unconditional(frame, [CONTROL]), maker.pair(frame, edited, "a cat", [CONTROL])]

    return make
