"""What keyframes confirm of a texture: what they share, not what each has for itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from aggregate.change.confirmed import confirmed


def stacked(residuals: list[np.ndarray]) -> torch.Tensor:
    """Partial atlases (K, N, N, 6) that differ from grey by residuals (N, N, 3)."""
    return torch.from_numpy(
        np.stack([np.concatenate([0.5 + r, np.full_like(r, 0.5)], -1) for r in residuals]).astype(np.float32)
    )


@pytest.mark.parametrize("size", [64, 700])
def test_a_shared_texture_is_believed_and_noise_is_not(size: int) -> None:
    random = np.random.default_rng(0)
    texture = 0.1 * random.standard_normal((size, size, 3))
    left = (np.arange(size) < size / 2)[None, :, None]
    keyframes = [np.where(left, texture, 0.1 * random.standard_normal((size, size, 3))) for _ in range(4)]
    belief = confirmed(stacked(keyframes), torch.ones(4, size, size))
    far = size // 8
    assert belief[:, : size // 2 - far].min() > 0.98 and belief[:, size // 2 + far :].mean() < 0.1


def test_one_keyframe_stands_for_itself_above_its_noise() -> None:
    residual = np.zeros((64, 64, 3))
    residual[:, 40:] = 0.1
    belief = confirmed(
        stacked([residual + np.random.default_rng(0).normal(0, 0.5 / 255, residual.shape)]), torch.ones(1, 64, 64)
    )
    assert belief[:, 50:].min() > 0.98 and belief[:, :25].max() < 0.05


def test_what_one_keyframe_saw_alone_is_believed_as_the_rest_is() -> None:
    random = np.random.default_rng(0)
    texture = 0.1 * random.standard_normal((64, 64, 3))
    weights = torch.ones(2, 64, 64)
    weights[1, :, 32:] = 0
    assert confirmed(stacked([texture, texture]), weights).min() > 0.95
    other = 0.1 * random.standard_normal((64, 64, 3))
    assert confirmed(stacked([texture, other]), weights)[:, 50:].max() < 0.4


def test_what_none_of_them_saw_others_may_have_seen() -> None:
    texture = 0.1 * np.random.default_rng(0).standard_normal((64, 64, 3))
    weights = torch.ones(3, 64, 64)
    weights[:, :, 32:] = 0
    assert confirmed(stacked([texture] * 3), weights).min() > 0.95
    assert confirmed(stacked([np.zeros((40, 40, 3))] * 2), torch.zeros(2, 40, 40)).min() == 1
