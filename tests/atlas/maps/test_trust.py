"""Trust in the maps: high where the fit shows the source, low where it does not and round about."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from atlas.maps.maps import Maps
from atlas.maps.trust import source_trust
from atlas.sample.files import write_truth
from atlas.sample.scene import Sample


def test_trust_is_lost_where_the_fit_does_not_show_the_source(sample: Sample, tmp_path: Path) -> None:
    write_truth(sample, tmp_path)
    frames = sample.frames.astype(np.float32) / 255
    strange = frames[3].copy()
    strange[20:40, 30:60] = 1 - strange[20:40, 30:60]
    maps = Maps(tmp_path)
    plain, trust = (source_trust(maps, lambda index, frame=frame: frame)(3) for frame in (frames[3], strange))
    assert plain.shape == trust.shape == (64, 96) and plain.dtype == np.float32
    assert plain.min() > 0.97
    assert np.median(trust[22:38, 32:58]) < 0.1
    assert trust.min() >= 0 and trust.max() <= 1
    far = np.ones_like(trust, bool)
    far[6:54, 16:74] = False
    assert np.array_equal(trust[far], plain[far])
