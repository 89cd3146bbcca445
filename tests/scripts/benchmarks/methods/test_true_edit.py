"""True edits: the sample's re-render in painted atlases, and a map of a clip's colours."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.sample.scene import Sample
from atlas.storage.images import to_float
from scripts.benchmarks.methods.true_edit import painted_anew, true_edit


def test_stripes_and_colours() -> None:
    grey = np.full((640, 640, 3), 0.5, np.float32)
    painted = painted_anew(grey)
    assert abs(painted.min() - 0.3) < 1e-3 and abs(painted.max() - 0.5) < 1e-3
    assert np.abs(np.diff(painted[..., 0], axis=1)).max() < 0.08, "soft edges"
    dark = painted[..., 0] < 0.4
    assert 0.45 < dark.mean() < 0.55
    assert np.abs(np.diff(dark[0].astype(int))).sum() == pytest.approx(32, abs=2), "16 of each across"
    assert dark[:, 0].any() and not dark[:, 0].all(), "slanted"
    red = np.zeros((640, 640, 3), np.float32)
    red[..., 0] = 0.6
    bright = painted_anew(red)[painted_anew(red).sum(-1) == painted_anew(red).sum(-1).max()][0]
    assert bright.argmax() == 1 and bright[0] < 0.1, "channels change places, and become more colourful"


def test_the_sample_is_its_re_render(sample: Sample, sample_clip: Clip) -> None:
    anew = {layer: painted_anew(atlas[..., :3]) for layer, atlas in sample.atlases.items()}
    expected = np.clip(sample.render(anew), 0, 1)
    made = np.stack(list(true_edit(sample_clip, sample_clip.fit_folder("truth"))))
    assert np.abs(made - expected).mean() < 2e-3, "as stored maps have it"


def test_a_clip_without_truth_is_recoloured(sample_clip: Clip) -> None:
    frames = list(true_edit(sample_clip, None))
    assert len(frames) == 12
    source = to_float(sample_clip.frame(3))
    np.testing.assert_allclose(frames[3], np.sqrt(source) * np.array([1, 0.55, 0.1], np.float32), atol=1e-5)


def test_a_truth_of_another_clip(sample_clip: Clip, sample_clip_two: Clip) -> None:
    with pytest.raises(UserError, match="give the truth of the same clip"):
        list(true_edit(sample_clip, sample_clip_two.fit_folder("truth")))
