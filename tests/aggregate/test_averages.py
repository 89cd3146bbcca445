"""Merging: weighted mean and median, and the defects of the published merge that must not come back."""

from __future__ import annotations

import numpy as np
import torch

from aggregate.averages import robust_weights, weighted_mean, weighted_median


def texels(*values: float) -> torch.Tensor:  # (K, 1, 1, 1)
    return torch.tensor(values).reshape(-1, 1, 1, 1)


def weights(*values: float) -> torch.Tensor:  # (K, 1, 1)
    return torch.tensor(values, dtype=torch.float32).reshape(-1, 1, 1)


def test_known_answers() -> None:
    assert abs(weighted_mean(texels(0.2, 0.8), weights(1, 3)).item() - 0.65) < 1e-6
    assert weighted_median(texels(0.9, 0.1, 0.3), weights(1, 1, 1)).item() == np.float32(0.3)
    assert weighted_median(texels(0.9, 0.1, 0.3), weights(3, 1, 1)).item() == np.float32(0.9)


def test_two_keyframes_do_not_give_their_minimum() -> None:
    assert abs(weighted_median(texels(0.4, 0.8), weights(1, 1)).item() - 0.6) < 1e-6


def test_a_texel_seen_once_keeps_its_colour() -> None:
    for merge in (weighted_mean, weighted_median):
        assert abs(merge(texels(0.8, 0.0, 0.0), weights(0.5, 0, 0)).item() - 0.8) < 1e-6


def test_the_median_agrees_with_numpy_on_equal_weights() -> None:
    colours = torch.rand(5, 70, 9, 3, generator=torch.Generator().manual_seed(0))
    assert np.array_equal(weighted_median(colours, torch.ones(5, 70, 9)).numpy(), np.median(colours.numpy(), axis=0))


def test_the_robust_mean_leaves_no_ghost_and_is_the_mean_where_all_agree() -> None:
    noise = 0.01 * torch.randn(5, 60, 60, 3, generator=torch.Generator().manual_seed(0))
    colours = 0.5 + noise
    assert (weighted_mean(colours, robust_weights(colours, torch.ones(5, 60, 60))) - colours.mean(0)).abs().mean() < 1e-3
    colours[2, 20:40, 20:40] = 1.0  # one keyframe shows something else there
    ghost = (weighted_mean(colours, robust_weights(colours, torch.ones(5, 60, 60))) - 0.5)[22:38, 22:38].mean()
    assert ghost < 0.35 * (colours.mean(0) - 0.5)[22:38, 22:38].mean()
