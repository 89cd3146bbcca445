"""What edited keyframes show of a layer elsewhere."""

from __future__ import annotations

import numpy as np

from atlas.clip.clip import Clip
from atlas.maps.maps import Maps
from atlas.sample.scene import Sample
from edit.strategies.accumulated import Accumulated


def test_what_is_not_known_is_filled_smoothly_and_never_black(sample: Sample, sample_clip: Clip) -> None:
    maps = Maps(sample_clip.fit_folder("truth"))
    accumulated = Accumulated(maps, "background")
    keyframe = np.full((64, 96, 4), 0.8, np.float32)
    keyframe[..., 3] = maps.opacity("background", 0)
    accumulated.add(0, keyframe)
    image, coverage = accumulated.view(11)
    assert coverage.min() == 0 and coverage.max() > 0.99
    assert image[coverage == 0].min() > 0.4
    assert (coverage[maps.opacity("background", 11) == 0] == 0).all()


def test_all_earlier_keyframes_count(sample_clip: Clip) -> None:
    maps = Maps(sample_clip.fit_folder("truth"))
    accumulated, shares = Accumulated(maps, "background"), []
    for index, grey in ((0, 0.3), (6, 0.6)):
        keyframe = np.full((64, 96, 4), grey, np.float32) * maps.light("background", index)[..., :1].clip(0.05)
        keyframe[..., 3] = maps.opacity("background", index)
        accumulated.add(index, keyframe)
        shares.append(float((accumulated.view(8)[1] > 0.5).mean()))
    assert shares[1] > shares[0] + 0.05
