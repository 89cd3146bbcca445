"""Blending over a window: the table of partial means against the plain mean, with remaps that change nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edit.deflicker.blending import Images, table_means, window_means


def _numbers(count: int, *, weighted: bool = False) -> Images:
    """Images of 1x1 pixels of random colours."""
    images = np.random.default_rng(count).random((count, 1, 1, 4)).astype(np.float32)
    if not weighted:
        images[..., 3] = 1
    return lambda number: images[number]


def _unchanged(images: Iterable[tuple[int, np.ndarray]], target: int) -> Iterator[np.ndarray]:
    return (image for _, image in images)


def _plain(images: Images, count: int, window: int) -> np.ndarray:  # (n, 1, 1, 4)
    """The weighted mean over each window, written out."""
    result = []
    for target in range(count):
        around = np.stack([images(i) for i in range(max(0, target - window), min(count, target + window + 1))]).astype(float)
        weight = around[..., 3:].sum(0)
        result.append(np.concatenate([(around[..., :3] * around[..., 3:]).sum(0) / weight, weight / len(around)], -1))
    return np.stack(result)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 13, 24])
def test_the_table_gives_the_mean_over_each_window(count: int, tmp_path: Path) -> None:
    _check_table(count, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("count", range(1, 41))
def test_the_table_gives_the_mean_over_each_window_of_any_length(count: int, tmp_path: Path) -> None:
    _check_table(count, tmp_path)


def _check_table(count: int, tmp_path: Path) -> None:
    images = _numbers(count)
    for window in range(1, count + 1):
        expected = _plain(images, count, window)
        table = np.stack(list(table_means(images, count, _unchanged, window, tmp_path / "table")))
        np.testing.assert_allclose(table, expected, rtol=0, atol=1e-5)
        np.testing.assert_allclose(np.stack(list(window_means(images, count, _unchanged, window))), expected, rtol=0, atol=1e-6)


def test_weights_count(tmp_path: Path) -> None:
    images = _numbers(11, weighted=True)
    for window in (1, 3, 5):
        expected = _plain(images, 11, window)
        np.testing.assert_allclose(np.stack(list(window_means(images, 11, _unchanged, window))), expected, rtol=0, atol=1e-6)
        # Partial means are kept in 16 bit: where all of a node weighs next to nothing its steps are coarse.
        table = np.stack(list(table_means(images, 11, _unchanged, window, tmp_path / "table")))
        np.testing.assert_allclose(table, expected, rtol=0, atol=1e-4)


def test_where_nothing_weighs_anything_there_is_no_colour(tmp_path: Path) -> None:
    nothing = np.zeros((1, 2, 4), np.float32)
    for means in (
        window_means(lambda _: nothing, 5, _unchanged, 2),
        table_means(lambda _: nothing, 5, _unchanged, 2, tmp_path / "t"),
    ):
        assert all((mean == 0).all() for mean in means)


def test_each_image_is_remapped_from_the_frame_that_it_looks_like(tmp_path: Path) -> None:
    """Frames that move: an image at i stands i pixels to the right; a remap that undoes that finds all frames equal."""
    picture = np.random.default_rng(0).random((1, 32, 4)).astype(np.float32)
    picture[..., 3] = 1

    def moved(images: Iterable[tuple[int, np.ndarray]], target: int) -> Iterator[np.ndarray]:
        return (np.roll(image, target - number, 1) for number, image in images)

    def images(number: int) -> np.ndarray:
        return np.roll(picture, number, 1)

    for means in (window_means(images, 9, moved, 4), table_means(images, 9, moved, 4, tmp_path / "table")):
        for number, mean in enumerate(means):
            np.testing.assert_allclose(mean, images(number), atol=1e-5)


def test_the_table_takes_fewer_remaps(tmp_path: Path) -> None:
    made = 0

    def counted(images: Iterable[tuple[int, np.ndarray]], target: int) -> Iterator[np.ndarray]:
        nonlocal made
        for number, image in images:
            made += number != target
            yield image

    images, counts = _numbers(60), {}
    for name, means in (
        ("balanced", window_means(images, 60, counted, 30)),
        ("fast", table_means(images, 60, counted, 30, tmp_path / "table")),
    ):
        made = 0
        list(means)
        counts[name] = made
    assert counts["balanced"] == 2 * 30 * 60 - 30 * 31
    assert counts["fast"] < counts["balanced"] / 4


def test_tables_are_deleted(tmp_path: Path) -> None:
    images = _numbers(6)
    list(table_means(images, 6, _unchanged, 3, tmp_path / "all"))
    stopped = table_means(images, 6, _unchanged, 3, tmp_path / "some")
    next(stopped)
    assert list(tmp_path.iterdir())
    stopped.close()

    def failing(images: Iterable[tuple[int, np.ndarray]], target: int) -> Iterator[np.ndarray]:
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        list(table_means(images, 6, failing, 3, tmp_path / "none"))
    assert not list(tmp_path.iterdir())
