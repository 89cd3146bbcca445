"""Clips put together of two: the object where it was asked for, the other clip's ground behind it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.geometry.boxes import bounding_box
from atlas.storage.images import read_image
from scripts.benchmarks.masks.composed import ComposedOptions, composed
from scripts.benchmarks.masks.overlap import BenchMasksOptions, bench_masks

SIZE = (160, 96)


def asked(clip: Clip, out: Path) -> ComposedOptions:
    return ComposedOptions(
        out=out,
        foreground=clip.folder,
        background=clip.folder,
        fit="truth",
        size=SIZE,
        frames=3,
        place=(50.0, 48.0),
        step=(20.0, 0.0),
        pan=(-6.0, 0.0),
        shake=0.0,
    )


def middle(mask: np.ndarray) -> np.ndarray:
    rows, columns = bounding_box(mask > 127) or (slice(0), slice(0))
    return np.array([columns.start + columns.stop, rows.start + rows.stop]) / 2


def test_the_object_is_where_it_was_asked_for(sample_clip: Clip, tmp_path: Path) -> None:
    composed(asked(sample_clip, tmp_path / "out"))
    scale = SIZE[0] / sample_clip.width
    for index in range(3):
        frame, mask = (read_image(tmp_path / "out" / kind / f"{index:05d}.png") for kind in ("frames", "masks"))
        assert frame.shape == (96, 160, 3) and set(np.unique(mask)) == {0, 255}
        assert np.abs(middle(np.atleast_3d(mask)[..., 0]) - (50 + 20 * index, 48)).max() <= 2
        inside = sample_clip.frame(index)[sample_clip.mask("foreground", index) > 127]
        found = frame[np.atleast_3d(mask)[..., 0] > 127]
        assert np.abs(found.mean(0) - inside.mean(0)).max() < 8
        area = np.count_nonzero(sample_clip.mask("foreground", index) > 127) * scale**2
        assert abs(len(found) - area) < 0.1 * area


def test_the_ground_moves_and_the_same_seed_gives_the_same(sample_clip: Clip, tmp_path: Path) -> None:
    options = asked(sample_clip, tmp_path / "one")
    composed(options)
    composed(replace(options, out=tmp_path / "two"))
    first, second = (read_image(tmp_path / "one" / "frames" / f"{index:05d}.png").astype(np.float32) for index in (0, 1))
    np.testing.assert_array_equal(read_image(tmp_path / "two" / "frames" / "00001.png"), second)
    top = slice(0, 10)  # above the object
    apart = {shift: np.abs(first[top, 30:-10] - np.roll(second, shift, 1)[top, 30:-10]).mean() for shift in (0, 6)}
    assert apart[6] < 0.5 * apart[0]


def test_what_is_put_together_can_be_measured(sample_clip: Clip, tmp_path: Path) -> None:
    composed(asked(sample_clip, tmp_path / "out"))
    (figures,) = bench_masks(
        BenchMasksOptions(clips=(tmp_path / "out",), masks=str(tmp_path / "out" / "masks"), quiet=True)
    ).values()
    assert figures["overlap"] == 1


def test_what_cannot_be_made(sample_clip: Clip, tmp_path: Path) -> None:
    options = asked(sample_clip, tmp_path / "out")
    for wrong in ({"start": 999}, {"frames": 0}, {"scale": 0.0}, {"size": (4, 4)}, {"fit": "none"}, {"foreground": tmp_path}):
        with pytest.raises(UserError):
            composed(replace(options, **wrong))
        assert not options.out.exists()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "kept.txt").write_text("")
    with pytest.raises(UserError, match="out is not empty"):
        composed(options)
