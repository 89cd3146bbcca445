"""A film of masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.masks.film import MaskFilm
from atlas.masks.source import open_mask_source
from atlas.metrics.definitions import iou
from atlas.storage.images import write_image
from atlas.video.source import open_source
from atlas.video.writing import write_video


def test_each_frame_is_a_mask(fresh_clip: Clip, tmp_path: Path) -> None:
    clip, indices = fresh_clip, list(range(fresh_clip.frames))
    source = open_source(clip.folder / "frames")
    red = [
        np.dstack([clip.mask("foreground", index), *[np.zeros((clip.height, clip.width), np.uint8)] * 2]) for index in indices
    ]
    write_video(tmp_path / "masks.mp4", iter(red), 24)
    masks = open_mask_source(str(tmp_path / "masks.mp4"), source, indices)
    assert isinstance(masks, MaskFilm) and masks.layers == ["foreground"] and "one object" in masks.remarks()[0]
    for index, (mask,) in enumerate(masks.masks(clip, quiet=True)):
        assert iou(mask, clip.mask("foreground", index)) > 0.93
    taken = open_mask_source(str(tmp_path / "masks.mp4"), source, [3, 4, 7])
    assert isinstance(taken, MaskFilm) and taken.frames == [3, 4, 7]
    write_video(tmp_path / "short.mp4", iter(red[:3]), 24)
    trimmed = open_mask_source(str(tmp_path / "short.mp4"), source, [3, 4, 7])
    assert isinstance(trimmed, MaskFilm) and trimmed.frames == [0, 1, 2]
    with pytest.raises(UserError, match=r"short\.mp4 has 3 frames, .* 12: give a mask for each frame"):
        open_mask_source(str(tmp_path / "short.mp4"), source, indices)
    write_video(tmp_path / "small.mp4", (image[::2, ::2] for image in red), 24)
    with pytest.raises(UserError, match="is 48x32, the source is 96x64"):
        open_mask_source(str(tmp_path / "small.mp4"), source, indices)
    np.savez(tmp_path / "masks.npz", red[0])
    with pytest.raises(UserError, match=r"masks\.npz is no film of masks: give a picture for each frame"):
        open_mask_source(str(tmp_path / "masks.npz"), source, indices)
    write_image(tmp_path / "one.png", red[0])
    with pytest.raises(UserError, match="is one picture, the source has 12 frames"):
        open_mask_source(str(tmp_path / "one.png"), source, indices)
