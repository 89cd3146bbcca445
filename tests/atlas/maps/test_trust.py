"""Trust in the maps: high where averaging along them changes nothing of the source, low where it does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from atlas.maps.maps import Maps
from atlas.maps.trust import source_trust
from atlas.sample.files import write_truth
from atlas.sample.scene import Sample
from tests.atlas.maps.moving import StillMaps


@pytest.fixture
def maps(sample: Sample, tmp_path: Path) -> Maps:
    write_truth(sample, tmp_path)
    return Maps(tmp_path)


def test_trust_is_lost_where_the_source_is_not_what_the_maps_say(sample: Sample, maps: Maps) -> None:
    frames = sample.frames.astype(np.float32) / 255
    strange = frames.copy()
    strange[3, 20:40, 30:60] = 1 - strange[3, 20:40, 30:60]
    plain, trust = (source_trust(maps, images.__getitem__)(3) for images in (frames, strange))
    assert plain.shape == trust.shape == (64, 96) and plain.dtype == np.float32
    assert np.median(plain) > 0.97 and plain.mean() > 0.9
    assert np.median(trust[22:38, 32:58]) < 0.05
    assert trust.min() >= 0 and trust.max() <= 1
    far = np.ones_like(trust, bool)
    far[10:50, 20:70] = False
    assert np.abs(trust - plain)[far].mean() < 0.02


def test_only_the_layers_that_are_looked_through_count(sample: Sample, maps: Maps) -> None:
    frames = sample.frames.astype(np.float32) / 255
    frames[3][maps.opacity("background", 3) > 0.5] = 0.9
    trust = source_trust(maps, frames.__getitem__, layers=["foreground"])(3)
    unseen = maps.opacity("foreground", 3) == 0
    assert trust[unseen].mean() > 0.95
    assert source_trust(maps, frames.__getitem__)(3)[unseen].mean() < 0.3


def test_frames_that_are_alike_are_trusted_wholly() -> None:
    picture = np.random.default_rng(0).random((20, 24, 3)).astype(np.float32)
    assert np.array_equal(source_trust(StillMaps(3, 20, 24), lambda index: picture)(1), np.ones((20, 24), np.float32))
