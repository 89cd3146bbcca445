"""Mask sources: the text of --masks chooses one, and each says what its masks depend on."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.masks.box import Box, BoxMasks
from atlas.masks.folder import MaskFolder
from atlas.masks.motion import MotionMasks
from atlas.masks.source import open_mask_source
from atlas.metrics.definitions import iou
from atlas.video.source import FrameSource, open_source


@pytest.fixture
def source(fresh_clip: Clip) -> FrameSource:
    return open_source(fresh_clip.folder / "frames")


def test_the_text_chooses(fresh_clip: Clip, source: FrameSource) -> None:
    indices = list(range(fresh_clip.frames))
    assert open_mask_source("auto", source, indices) == MotionMasks()
    assert open_mask_source("box:20,10,40,44", source, indices) == BoxMasks("box:20,10,40,44", Box(20, 10, 40, 44))
    folder = fresh_clip.folder / "masks" / "foreground"
    masks = open_mask_source(str(folder), source, indices)
    assert isinstance(masks, MaskFolder)
    assert masks.digest_parts() == (None, [folder / f"{i:05d}.png" for i in indices])
    with pytest.raises(UserError, match="is not a folder of masks"):
        open_mask_source("automatic", source, indices)
    with pytest.raises(UserError, match="is not understood"):
        open_mask_source("box:1", source, indices)


@pytest.mark.parametrize("kind", ["folder", "box", "auto"])
def test_each_gives_a_mask_of_each_object_in_each_frame(kind: str, fresh_clip: Clip, source: FrameSource) -> None:
    rows, columns = (np.flatnonzero(fresh_clip.mask("foreground", 0).any(axis)) for axis in (1, 0))
    left, top = max(columns[0] - 3, 0), max(rows[0] - 3, 0)
    right, bottom = columns[-1] + 4, min(rows[-1] + 4, fresh_clip.height)
    box = f"box:{left},{top},{right - left},{bottom - top}"
    text = {"folder": str(fresh_clip.folder / "masks"), "box": box, "auto": "auto"}[kind]
    masks = open_mask_source(text, source, list(range(fresh_clip.frames)))
    assert masks.layers == ["foreground"]
    given = list(masks.masks(fresh_clip, quiet=True))
    assert len(given) == fresh_clip.frames
    for index, (mask,) in enumerate(given):
        assert mask.dtype == np.uint8 and mask.shape == (fresh_clip.height, fresh_clip.width)
        truth = fresh_clip.mask("foreground", index)
        assert (mask == truth).all() if kind == "folder" else iou(mask / 255, truth > 127) > 0.6
