"""Pairs of a frame and its edit, rendered from one edited keyframe: against the true edit of the sample."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.clip.clip import Clip
from atlas.maps.maps import Maps
from atlas.sample.scene import Sample
from edit.tuning.pairs import EditedViews, foreground, training_frames

KEYFRAME = 6


def test_frames_are_spread_over_the_clip() -> None:
    assert training_frames(12) == list(range(12)) and training_frames(30) == list(range(30))
    frames = training_frames(300)
    assert len(frames) == 30 and frames[0] == 0 and frames[-1] == 299
    assert set(np.diff(frames)) == {10, 11}
    assert training_frames(1000, 4) == [0, 333, 666, 999] and training_frames(7, 1) == [0]


@pytest.fixture
def truth(sample: Sample) -> np.ndarray:
    """The sample with all layers in other colours, (T, H, W, 3)."""
    edited = {
        layer: atlas[..., :3] @ np.float32([[0.2, 0.6, 0], [0.7, 0, 0.2], [0, 0.3, 0.6]])
        for layer, atlas in sample.atlases.items()
    }
    return sample.render(edited).clip(0, 1)


def source(sample: Sample, frame: int) -> np.ndarray:
    return sample.frames[frame].astype(np.float32) / 255


def decibels(error: np.ndarray) -> float:
    return float(-10 * np.log10(np.square(error).mean()))


def test_every_frame_is_rendered_from_one_edited_keyframe(sample: Sample, sample_clip: Clip, truth: np.ndarray) -> None:
    views = EditedViews(Maps(sample_clip.fit_folder("truth")), sample.layers)
    views.add(KEYFRAME, truth[KEYFRAME])
    for frame in (0, 5, 11):
        pair = views.pair(frame, source(sample, frame))
        known = pair.covered > 0.5
        assert known.mean() > 0.55 and pair.covered.max() <= 1
        assert decibels((pair.edited - truth[frame])[known]) > 35
        assert decibels((source(sample, frame) - truth[frame])[known]) < 19  # the edit is no small one
        assert pair.edited.dtype == pair.covered.dtype == np.float32


def test_a_keyframe_is_itself(sample: Sample, sample_clip: Clip, truth: np.ndarray) -> None:
    views = EditedViews(Maps(sample_clip.fit_folder("truth")), sample.layers)
    views.add(KEYFRAME, truth[KEYFRAME])
    pair = views.pair(KEYFRAME, source(sample, KEYFRAME))
    assert np.abs(pair.edited - truth[KEYFRAME]).max() < 1e-6 and pair.covered.min() > 1 - 1e-6


def test_away_from_an_edited_layer_the_source_stays_and_teaches_nothing(
    sample: Sample, sample_clip: Clip, truth: np.ndarray
) -> None:
    maps, layer = Maps(sample_clip.fit_folder("truth")), sample.layers[0]
    alphas = (None, maps.opacity(layer, KEYFRAME), np.ones((64, 96), np.float32))  # as edited, as saved, as painted over
    rendered = []
    for alpha in alphas:
        views = EditedViews(maps, [layer])
        views.add(KEYFRAME, truth[KEYFRAME], alpha)
        for frame in (KEYFRAME, 9):
            pair, opacity = views.pair(frame, source(sample, frame)), maps.opacity(layer, frame)
            assert (pair.covered <= opacity + 1e-6).all()
            assert np.allclose(pair.edited[opacity == 0], source(sample, frame)[opacity == 0], atol=1e-6)
            assert pair.covered[opacity == 1].mean() > 0.8
            rendered.append(pair.covered)
    assert np.allclose(rendered[:2], rendered[2:4], atol=1e-6) and np.allclose(rendered[:2], rendered[4:], atol=1e-6)


def test_where_the_edit_does_not_apply_nothing_is_known(sample: Sample, sample_clip: Clip, truth: np.ndarray) -> None:
    views = EditedViews(Maps(sample_clip.fit_folder("truth")), sample.layers)
    applies = np.zeros((64, 96), np.float32)
    applies[:, :48] = 1
    views.add(KEYFRAME, truth[KEYFRAME], applies)
    assert (views.pair(KEYFRAME, source(sample, KEYFRAME)).covered == applies).mean() > 0.99
    assert 0.1 < views.pair(0, source(sample, 0)).covered.mean() < 0.9


def test_frames_that_the_keyframe_says_nothing_of_are_left_out(sample: Sample, sample_clip: Clip, truth: np.ndarray) -> None:
    views = EditedViews(Maps(sample_clip.fit_folder("truth")), sample.layers)
    corner = np.zeros((64, 96), np.float32)
    corner[:2, :2] = 1
    views.add(0, truth[0], corner)
    assert list(views.pairs([0, 11], lambda frame: source(sample, frame))) == []
    views.add(0, truth[0])
    assert [pair.frame for pair in views.pairs([0, 11], lambda frame: source(sample, frame))] == [0, 11]


def test_the_foreground_is_all_but_the_background(sample_two: Sample, sample_clip_two: Clip) -> None:
    front = foreground(Maps(sample_clip_two.fit_folder("truth")), 3)
    assert np.abs(front - (1 - sample_two.opacities["background"][3])).max() < 2 / 255
