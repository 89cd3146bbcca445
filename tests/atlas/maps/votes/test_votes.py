"""Sums of votes, and the sheet they are cast on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from atlas.maps.votes.sheet import Sheet, Vote
from atlas.maps.votes.votes import Sums
from tests.atlas.maps.moving import StillMaps

BOX = slice(2, 8), slice(3, 9)


def _vote(seed: int) -> Vote:
    generator = torch.Generator().manual_seed(seed)
    return Vote(BOX, torch.rand(6, 6, 3, generator=generator), torch.rand(6, 6, 1, generator=generator))


def test_the_mean_of_equal_votes_is_what_they_say() -> None:
    sums, said = Sums((10, 10), torch.device("cpu")), _vote(0).colour
    for seed in range(7):
        sums.add(Vote(BOX, said, _vote(seed).weight))
        assert torch.equal(sums.mean(BOX), said)


def test_a_vote_that_is_taken_away_leaves_no_trace() -> None:
    sums, other = Sums((10, 10), torch.device("cpu")), Sums((10, 10), torch.device("cpu"))
    for vote, sign in ((_vote(0), 1), (_vote(1), 1), (_vote(2), 1), (_vote(0), -1)):
        sums.add(vote, sign)
    for seed in (1, 2):
        other.add(_vote(seed))
    assert torch.allclose(sums.mean(), other.mean(), atol=1e-6)
    weighted = sum(_vote(seed).colour * _vote(seed).weight for seed in (1, 2))
    assert torch.allclose(sums.mean(BOX), weighted / (_vote(1).weight + _vote(2).weight), atol=1e-6)


@pytest.mark.parametrize("density", [0.5, 0.9, 1.35])
def test_a_sheet_is_as_dense_as_it_is_asked_to_be(density: float) -> None:
    assert Sheet(StillMaps(3, 40, 60), "background", density, None).size == (round(60 * density),) * 2


def test_a_partial_shows_what_was_splatted_sharpened() -> None:
    sheet = Sheet(StillMaps(1, 40, 60), "background", 0.9, None)
    pixels = sheet.pixels(0)
    assert pixels is not None
    y, x = np.mgrid[:40, :60].astype(np.float32)
    frame = np.repeat(0.5 + 0.4 * np.sin(x / 3 + y / 5)[..., None], 3, 2)
    unlit = pixels.unlit(frame)
    vote = pixels.vote(unlit)
    certainty = pixels.certainty(vote).view(40, 60)
    assert certainty[3:-3, 3:-3].mean() > 0.9 and certainty[0].mean() < certainty[3:-3].mean()
    missed = (pixels.footprint.look_up(vote.colour) - unlit).view(40, 60, 3)[3:-3, 3:-3]
    plain = pixels.footprint.spread(torch.cat([unlit, torch.ones(len(unlit), 1)], 1))
    blurred = (pixels.footprint.look_up(plain[..., :3] / plain[..., 3:]) - unlit).view(40, 60, 3)[3:-3, 3:-3]
    assert float(missed.square().mean()) < 0.3 * float(blurred.square().mean())


def test_a_layer_that_is_not_seen_has_no_pixels() -> None:
    sheet = Sheet(StillMaps(2, 40, 60), "background", 0.9, lambda index: np.full((40, 60), index, np.float32))
    assert sheet.pixels(0) is None and sheet.pixels(1) is not None
