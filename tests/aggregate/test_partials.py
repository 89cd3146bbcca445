"""Partial atlases in files: what is kept of them, and the reduced copies."""

from __future__ import annotations

from pathlib import Path

import torch

from aggregate.partials import Partials
from atlas.maps.partial import Partial


def partial(size: int, seed: int) -> Partial:
    """A keyframe that saw a part of the atlas."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.zeros(size, size)
    weight[size // 4 : size // 2, size // 8 : size // 3] = torch.rand(size // 4, size // 3 - size // 8, generator=generator)
    return Partial(torch.rand(size, size, 6, generator=generator), weight, weight, weight.clone())


def test_reduced_copies_are_means_weighted_by_what_was_seen(tmp_path: Path) -> None:
    given = [partial(1536, seed) for seed in range(2)]
    with Partials.of(tmp_path, given) as stored:
        assert stored.reduction == 3 and stored.known.shape == (2, 512, 512) and stored.edited.shape == (2, 512, 512, 3)
        for number, one in enumerate(given):
            cell = (slice(402, 405), slice(300, 303))  # in the texel (134, 100) of the reduced ones
            share = one.weight[cell]
            mean = (one.colour[cell] * share[..., None]).sum((0, 1)) / share.sum()
            assert torch.allclose(stored.edited[number][134, 100], mean[:3], atol=1e-5)
            assert torch.allclose(stored.original[number][134, 100], mean[3:], atol=1e-5)
            assert torch.allclose(stored.known[number][134, 100], share.mean(), atol=1e-6)


def test_colours_are_kept_where_they_count_and_beyond_by_what_matching_may_reach(tmp_path: Path) -> None:
    one = partial(96, 0)
    with Partials.of(tmp_path, [one] * 13) as stored:
        assert torch.equal(stored.weights[12], one.weight)
        kept = stored.colours[12]
        assert torch.equal(kept[18:54, 6:38], one.colour[18:54, 6:38])  # a shift of 3 texels, and 3 more around
        assert not kept[54:].any() and torch.equal(stored.coverage, one.coverage)
    with Partials.of(tmp_path, [one] * 12) as stored:
        assert torch.equal(stored.colours[11], one.colour)
    assert not list(tmp_path.iterdir())


def test_coverage_is_what_the_best_keyframe_covers(tmp_path: Path) -> None:
    given = [partial(40, seed) for seed in range(3)]
    with Partials.of(tmp_path, given) as stored:
        assert torch.equal(stored.coverage, torch.stack([one.coverage for one in given]).amax(0))
