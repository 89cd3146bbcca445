"""How far an edit reaches, by known answers: which pixels a keyframe saw, which follow the colour change, which stay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from atlas.clip.clip import Clip
from atlas.maps.coverage import VISIBLE
from atlas.maps.maps import Maps
from atlas.recolour.change import ColourChange
from atlas.recolour.reach import FOLLOWS, SEEN_BY_A_KEYFRAME, STAYS, Reach, beneath
from atlas.recolour.table import NODES, ColourTable

LAYER = "background"


@pytest.fixture
def maps(sample_clip: Clip) -> Maps:
    return Maps(sample_clip.fit_folder("truth"))


def left_half(maps: Maps) -> np.ndarray:
    """The coverage of a keyframe that saw the left half of the atlas."""
    coverage = np.zeros(maps.atlas_size(LAYER), np.float32)
    coverage[:, : coverage.shape[1] // 2] = 1
    return coverage


def change(share: np.ndarray) -> ColourChange:
    nodes = np.tile(np.linspace(0, 1, NODES, dtype=np.float32), (3, 1))
    return ColourChange(ColourTable(nodes, np.zeros((NODES, NODES, NODES, 3), np.float32)), None, share)


def top_half() -> ColourChange:
    """A change that applies in the upper half of the atlas, on a map of 8x8."""
    return change((np.arange(8) < 4).astype(np.float32)[:, None] * np.ones((8, 8), np.float32))


def test_a_keyframe_that_saw_half_of_the_background(maps: Maps) -> None:
    reach = Reach.of(maps, LAYER, left_half(maps), top_half())
    counted = dict.fromkeys((SEEN_BY_A_KEYFRAME, FOLLOWS, STAYS), 0)
    for index in range(maps.frames):
        u, v = np.moveaxis(maps.uv(LAYER, index), -1, 0)
        visible, kinds = maps.opacity(LAYER, index) > VISIBLE, reach.seen_in(index)
        assert (kinds[~visible] == 0).all() and (~visible).any()
        sure = visible & (np.abs(u) > 0.02) & (np.abs(v) > 0.02)  # texels are whole ones, and shares are smooth
        expected = np.where(u < 0, SEEN_BY_A_KEYFRAME, np.where(v < 0, FOLLOWS, STAYS))
        np.testing.assert_array_equal(kinds[sure], expected[sure])
        for kind in counted:
            counted[kind] += int((kinds == kind).sum())
    total = sum(counted.values())
    assert reach.shares() == pytest.approx({kind: count / total for kind, count in counted.items()}, abs=1e-6)
    assert all(share > 0.05 for share in reach.shares().values()), "the sample shows something of each"


def test_without_a_change_nothing_follows(maps: Maps) -> None:
    shares = Reach.of(maps, LAYER, left_half(maps), None).shares()
    assert shares[FOLLOWS] == 0 and shares[STAYS] == pytest.approx(1 - shares[SEEN_BY_A_KEYFRAME]) and shares[STAYS] > 0.1
    everywhere = Reach.of(maps, LAYER, np.ones(maps.atlas_size(LAYER), np.float32), top_half())
    assert everywhere.shares() == {SEEN_BY_A_KEYFRAME: 1, FOLLOWS: 0, STAYS: 0}


def test_tints_keep_the_picture(maps: Maps, sample_clip: Clip) -> None:
    reach, frame = Reach.of(maps, LAYER, left_half(maps), top_half()), sample_clip.frame(5)
    tinted, kinds = reach.tinted(5, frame), reach.seen_in(5)
    assert tinted.shape == frame.shape and tinted.dtype == np.uint8
    means = {kind: tinted[kinds == kind].mean(0) for kind in (0, SEEN_BY_A_KEYFRAME, FOLLOWS, STAYS)}
    assert np.ptp(means[0]) < 1, "other layers are grey"
    assert means[SEEN_BY_A_KEYFRAME].argmax() == 2 and means[FOLLOWS].argmin() == 2 and means[STAYS].argmin() == 1
    for kind in (SEEN_BY_A_KEYFRAME, FOLLOWS, STAYS):  # what it shows is still to be seen
        here = kinds == kind
        assert np.corrcoef(tinted[here].mean(-1), frame[here].mean(-1))[0, 1] > 0.99


def test_the_picture_stands_under_its_legend(maps: Maps, sample_clip: Clip) -> None:
    reach, frames = Reach.of(maps, LAYER, left_half(maps), top_half()), {i: sample_clip.frame(i) for i in (0, 6, 11)}
    picture = reach.picture(frames, 96)
    tints = {tuple(colour) for colour in picture[:20].reshape(-1, 3)}
    assert {(70, 140, 190), (225, 170, 60), (190, 70, 110)} <= tints, "each tint is in the legend as it is"
    assert picture.shape[0] > 64 + 20 and picture.shape[1] > 3 * 96
    tinted = reach.tinted(6, frames[6])
    found = (np.lib.stride_tricks.sliding_window_view(picture, tinted.shape)[:, :, 0] == tinted).all((-1, -2, -3))
    assert found.sum() == 1, "frames stand in it as they are tinted"
    assert not np.array_equal(picture, replace(reach, kinds=np.ones_like(reach.kinds)).picture(frames, 96))


def test_pictures_of_two_widths() -> None:
    both = beneath([np.full((2, 3, 3), 9, np.uint8), np.full((1, 5, 3), 7, np.uint8)])
    assert both.shape == (3, 5, 3) and (both[:2, 3:] == 24).all() and (both[2] == 7).all()
