"""Mask sources: the text of --masks chooses one, and each says what its masks depend on."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.masks.box import Box, BoxMasks, masks_from_box
from atlas.masks.folder import MaskFolder
from atlas.masks.motion import MotionMasks, masks_from_motion
from atlas.masks.none import NoMasks
from atlas.masks.source import open_mask_source
from atlas.video.source import FrameSource, open_source

BOX = "box:0,6,61,58"


@pytest.fixture
def source(fresh_clip: Clip) -> FrameSource:
    return open_source(fresh_clip.folder / "frames")


def test_the_text_chooses(fresh_clip: Clip, source: FrameSource) -> None:
    indices = list(range(fresh_clip.frames))
    assert open_mask_source("auto", source, indices) == MotionMasks()
    assert open_mask_source("none", source, indices) == NoMasks()
    assert open_mask_source(BOX, source, indices) == BoxMasks(BOX, Box(0, 6, 61, 58))
    folder = fresh_clip.folder / "masks" / "foreground"
    masks = open_mask_source(str(folder), source, indices)
    assert isinstance(masks, MaskFolder)
    assert masks.digest_parts()[1] == [folder / f"{i:05d}.png" for i in indices]
    with pytest.raises(UserError, match="is not a folder of masks"):
        open_mask_source("automatic", source, indices)
    with pytest.raises(UserError, match="is not understood"):
        open_mask_source("box:1", source, indices)


@pytest.mark.parametrize("kind", ["folder", "box", "auto"])
def test_each_gives_a_mask_of_each_object_in_each_frame(kind: str, fresh_clip: Clip, source: FrameSource) -> None:
    clip = fresh_clip
    text = {"folder": str(clip.folder / "masks"), "box": BOX, "auto": "auto"}[kind]
    masks = open_mask_source(text, source, list(range(clip.frames)))
    assert masks.layers == ["foreground"]
    expected = {
        "folder": lambda: [clip.mask("foreground", index) for index in range(clip.frames)],
        "box": lambda: list(masks_from_box(clip.frame, clip.frames, Box(0, 6, 61, 58), quiet=True)),
        "auto": lambda: list(masks_from_motion(clip.frame, clip.frames, quiet=True)),
    }[kind]()
    given = list(masks.masks(clip, quiet=True))
    assert len(given) == clip.frames
    for (mask,), wanted in zip(given, expected, strict=True):
        assert mask.dtype == np.uint8 and mask.any()
        np.testing.assert_array_equal(mask, wanted)
