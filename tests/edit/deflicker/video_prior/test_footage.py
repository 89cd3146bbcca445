"""What the prior is trained on: sizes, what neighbours show, and that a frame's own edit has no part in that."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from atlas.sample.scene import Sample
from edit.deflicker.video_prior.footage import resized, shrunk_size
from tests.edit.deflicker.video_prior.conftest import MakeFootage, recoloured


@pytest.mark.parametrize(
    ("size", "longest", "expected"),
    [
        ((272, 480), 128, (73, 128)),
        ((480, 272), 128, (128, 73)),
        ((64, 112), 128, (64, 112)),  # never larger
        ((20, 480), 128, (16, 128)),  # flow needs 16 pixels
        ((8, 8), 128, (16, 16)),
    ],
)
def test_sizes(size: tuple[int, int], longest: int, expected: tuple[int, int]) -> None:
    assert shrunk_size(*size, longest) == expected


def test_resized_leaves_an_image_of_the_size_alone(source: np.ndarray) -> None:
    frame = source[0]
    assert resized(frame, 64, 96) is frame
    np.testing.assert_allclose(resized(source[0], 32, 48).mean((0, 1)), source[0].mean((0, 1)), atol=1e-5)
    assert resized(source[0], 100, 150).shape == (100, 150, 3)


def test_footage_is_shrunk_and_deleted(make_footage: MakeFootage, source: np.ndarray, tmp_path: Path) -> None:
    footage = make_footage(recoloured(source))
    assert len(footage) == 6 and footage.size == (32, 48)
    np.testing.assert_allclose(footage.source[2], resized(source[2], 32, 48), atol=1e-5)
    np.testing.assert_allclose(footage.edited[2][..., :3], resized(recoloured(source)[2], 32, 48), atol=2e-5)
    assert (footage.edited[2][..., 3] == 1).all()
    names = {path.name for path in tmp_path.iterdir()}
    assert {"result.source", "result.edited", "result.around"} <= names


def test_neighbours_show_the_edit_where_the_source_is(make_footage: MakeFootage, source: np.ndarray) -> None:
    """An edit that does not flicker looks, from its neighbours, as it does itself; unlike the neighbours as they are."""
    footage = make_footage(recoloured(source), longest=96)
    for index in range(6):
        around, own = footage.around[index], footage.edited[index][..., :3]
        known = around[..., 3] > 0
        assert known.mean() > 0.6
        beside = footage.edited[index + 1 if index < 5 else 4][..., :3]
        assert np.square(around[..., :3] - own)[known].mean() < 0.3 * np.square(beside - own)[known].mean()
    assert footage.around[0][..., 3].max() <= 0.5 + 1e-4, "the first frame has one neighbour"
    assert footage.around[2][..., 3].max() > 0.99


def test_a_frames_own_edit_is_not_in_it(make_footage: MakeFootage, source: np.ndarray) -> None:
    edited = recoloured(source)
    one = make_footage(edited)
    before = [one.around[index] for index in range(6)]
    edited[3] = 0.5
    other = make_footage(edited, name="other")
    np.testing.assert_array_equal(other.around[3], before[3])
    np.testing.assert_array_equal(other.around[1], before[1])
    assert not np.array_equal(other.around[2], before[2]) and not np.array_equal(other.around[4], before[4])


def test_where_the_edit_does_not_apply_neighbours_show_nothing(make_footage: MakeFootage, source: np.ndarray) -> None:
    left = np.zeros((64, 96), np.float32)
    left[:, :48] = 1
    edited = recoloured(source)
    footage = make_footage(edited, applies=lambda index: left)
    assert (footage.edited[0][:, :24, 3] == 1).all() and not footage.edited[0][:, 24:, 3].any()
    assert not footage.around[2][:, 30:, 3].any() and footage.around[2][:, :18, 3].mean() > 0.5


def test_two_frames(sample: Sample, make_footage: MakeFootage, source: np.ndarray) -> None:
    footage = make_footage(recoloured(source[:2]))
    assert len(footage) == 2 and footage.around[0][..., 3].any() and footage.around[1][..., 3].any()
