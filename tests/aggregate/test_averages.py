"""Merging: weighted mean and median, and the defects of the published merge that must not come back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from aggregate.averages import Robust, averaged, weighted_mean, weighted_median
from tests.aggregate.stored import stacked


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
    colours, ones = 0.5 + noise, torch.ones(5, 60, 60)
    assert (weighted_mean(colours, ones, Robust.of(colours, ones)) - colours.mean(0)).abs().mean() < 1e-3
    colours[2, 20:40, 20:40] = 1.0  # one keyframe shows something else there
    ghost = (weighted_mean(colours, ones, Robust.of(colours, ones)) - 0.5)[22:38, 22:38].mean()
    assert ghost < 0.35 * (colours.mean(0) - 0.5)[22:38, 22:38].mean()


def many(count: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    """Keyframes that each saw a part, (K, 90, 50, 6) and (K, 90, 50); some texels were seen by none."""
    generator = torch.Generator().manual_seed(1)
    shares = torch.rand(count, 90, 50, generator=generator)
    shares[shares < 0.6] = 0
    shares[:, 80:, 40:] = 0
    return torch.rand(count, 90, 50, 6, generator=generator), shares


def test_a_mean_over_many_keyframes_in_a_file_is_the_plain_mean(tmp_path: Path) -> None:
    colours, shares = many()
    with stacked(tmp_path / "colours", colours) as stored, stacked(tmp_path / "weights", shares) as stored_shares:
        mean, total = averaged(stored, stored_shares)
        whole = weighted_mean(stored, stored_shares)
    exact = (colours.double() * shares.double()[..., None]).sum(0) / shares.double().sum(0).clamp(min=1e-12)[..., None]
    assert (mean - exact).abs().max() < 2e-6 and torch.allclose(total, shares.sum(0))
    seen = shares.sum(0) > 0
    assert (whole[seen] - exact[seen]).abs().max() < 2e-6 and whole[~seen].min() > 0.1  # continued where nobody saw


def test_a_median_over_many_keyframes_in_a_file_is_the_plain_median(tmp_path: Path) -> None:
    colours, shares = many(41)
    with stacked(tmp_path / "colours", colours) as stored, stacked(tmp_path / "weights", shares) as stored_shares:
        median = weighted_median(stored, stored_shares)
        assert torch.equal(median, weighted_median(colours, shares))
        with stacked(tmp_path / "ones", torch.ones_like(shares)) as ones:
            assert np.array_equal(weighted_median(stored, ones).numpy(), np.median(colours.numpy(), axis=0))
    for row, column in ((0, 0), (33, 20), (79, 49)):  # by hand: the first colour up to which half of the weight lies
        for channel in range(6):
            order = colours[:, row, column, channel].argsort()
            below = shares[order, row, column].double().cumsum(0)
            expected = colours[order[int((below >= below[-1] / 2).int().argmax())], row, column, channel]
            assert median[row, column, channel] == expected


def test_robust_weights_of_parts_are_those_of_the_whole(tmp_path: Path) -> None:
    colours, shares = many()
    with stacked(tmp_path / "colours", colours) as stored, stacked(tmp_path / "weights", shares) as stored_shares:
        robust = Robust.of(stored, stored_shares)
        whole = robust.weights(colours, shares, (slice(0, 90), slice(0, 50)))
        part = (slice(7, 31), slice(11, 29))
        assert torch.equal(
            robust.weights(stored[:, part[0], part[1]], stored_shares[:, part[0], part[1]], part), whole[:, 7:31, 11:29]
        )
        mean = weighted_mean(stored, stored_shares, robust)
    assert torch.allclose(mean[:80], (weighted_mean(colours, whole))[:80], atol=1e-6)
