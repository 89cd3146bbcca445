"""Examples: what a step of tuning is given equals what sampling gives the networks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from edit.diffusion.model import StableDiffusion
from edit.tuning.examples import ExampleMaker, at_latent_size
from tests.edit.tuning.conftest import CONTROL

FRAME, EDITED = np.random.default_rng(1).random((2, 64, 64, 3), np.float32)


@pytest.mark.parametrize("kind", ["sd", "xl"])
def test_both_halves_are_those_of_a_guided_prediction(tiny_model: Callable[..., StableDiffusion], kind: str) -> None:
    model = tiny_model(kind)
    maker = ExampleMaker(model, [0.8])
    plain, pair = maker.unconditional(FRAME, [CONTROL]), maker.pair(FRAME, EDITED, "a cat", [CONTROL])
    guided = model.condition("a cat", "", [CONTROL], [0.8], 7.5)
    for example, number in ((plain, 0), (pair, 1)):
        assert torch.equal(example.conditioning.text, guided.text[number : number + 1])
        assert torch.equal(example.conditioning.controls, guided.controls[number : number + 1])
        assert example.conditioning.scales == 0.8 and not example.conditioning.guided
        for name, value in (guided.added or {}).items():
            assert torch.equal((example.conditioning.added or {})[name], value[number : number + 1])
    assert (plain.conditioning.added is None) == (kind == "sd")


def test_latents_are_the_means_and_masks_are_of_their_size(tiny_model: Callable[..., StableDiffusion]) -> None:
    model = tiny_model()
    covered = np.zeros((64, 64), np.float32)
    covered[:, :36] = 1  # the fifth cell by half
    pair = ExampleMaker(model, [1.0]).pair(FRAME, EDITED, "a cat", [CONTROL], covered)
    assert torch.equal(pair.source, model.encode(FRAME, None)) and torch.equal(pair.target, model.encode(EDITED, None))
    assert pair.mask is not None and pair.mask.shape == (1, 1, 8, 8)
    assert (pair.mask[0, 0] == torch.tensor([1, 1, 1, 1, 0.5, 0, 0, 0])).all()
    result = ExampleMaker(model, [1.0]).result(EDITED, "a cat", [CONTROL], covered)
    assert result.target is None and result.mask is None and torch.equal(result.foreground, pair.mask)


def test_masks_keep_their_mean() -> None:
    mask = np.random.default_rng(0).random((64, 128), np.float32)
    assert float(at_latent_size(mask, torch.zeros(1, 4, 8, 16)).mean()) == pytest.approx(float(mask.mean()), abs=1e-6)


def test_the_digest_follows_every_number(tiny_model: Callable[..., StableDiffusion]) -> None:
    maker = ExampleMaker(tiny_model(), [0.8])
    pair = maker.pair(FRAME, EDITED, "a cat", [CONTROL])
    assert maker.pair(FRAME, EDITED, "a cat", [CONTROL]).digest() == pair.digest()
    ones = np.ones((64, 64), np.float32)
    others = [
        maker.pair(EDITED, FRAME, "a cat", [CONTROL]),
        maker.pair(FRAME, EDITED, "a dog", [CONTROL]),
        maker.pair(FRAME, EDITED, "a cat", [255 - CONTROL]),
        maker.pair(FRAME, EDITED, "a cat", [CONTROL], ones),
        maker.result(FRAME, "a cat", [CONTROL], ones),
        maker.result(FRAME, "a cat", [CONTROL]),
        maker.unconditional(FRAME, [CONTROL]),
        ExampleMaker(tiny_model(), [0.5]).pair(FRAME, EDITED, "a cat", [CONTROL]),
    ]
    assert len({pair.digest(), *(other.digest() for other in others)}) == 1 + len(others)
    assert isinstance(pair.target, Tensor)
