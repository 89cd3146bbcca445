"""What edit.json says that was asked for a layer; the file may come from anyone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atlas.clip.clip import Clip
from atlas.clip.edits import LayerRequest, read_keyframe
from atlas.storage.images import to_16_bit, write_image

PROMPTED = {"editor": "diffusion", "seed": 0, "frames": [0, 6]}


@pytest.mark.parametrize(
    ("saved", "expected"),
    [
        ({}, LayerRequest("keyframes", None, None)),
        ({"editor": "filter", "filter": "grey", "frames": [3]}, LayerRequest("keyframes", None, None)),
        ({"editor": "atlas", "image": "x.png"}, LayerRequest("atlas", None, None)),
        ({"editor": "of a later version", "frames": []}, LayerRequest("atlas", None, None)),
        (
            PROMPTED | {"diffusion": {"prompt": " a cat ", "strategy": "random", "on": "keyframes"}},
            LayerRequest("keyframes", "a cat", "random"),
        ),
        (PROMPTED | {"diffusion": {"prompt": "a cat", "on": "atlas"}}, LayerRequest("atlas", "a cat", "propagate")),
        (
            PROMPTED | {"diffusion": {"prompt": " ", "strategy": ["x"], "on": 1}},
            LayerRequest("keyframes", None, "propagate"),
        ),
        (PROMPTED | {"diffusion": {"prompt": {"a": 1}, "strategy": None}}, LayerRequest("keyframes", None, "propagate")),
        (PROMPTED | {"diffusion": ["prompt"], "editor": 3}, LayerRequest("keyframes", None, None)),
        ({"editor": ["atlas"], "frames": {}, "diffusion": "atlas"}, LayerRequest("keyframes", None, None)),
        ({"editor": "images", "on": "frames", "frames": [0, 1]}, LayerRequest("frames", None, None)),
        (PROMPTED | {"on": "frames", "diffusion": {"prompt": "a cat", "on": "frames"}}, LayerRequest("frames", "a cat", None)),
        (
            {
                "editor": "deflicker",
                "on": "frames",
                "deflicker": {"way": "flow", "edit": "raw"},
                "diffusion": {"prompt": "a cat"},
            },
            LayerRequest("frames", "a cat", None, "raw"),
        ),
        ({"on": "frames", "deflicker": {"edit": ["raw"]}}, LayerRequest("frames")),
        ({"on": "frames", "deflicker": "raw"}, LayerRequest("frames")),
        ({"editor": "filter", "deflicker": {"edit": "raw"}}, LayerRequest("keyframes")),
        ({"editor": "filter", "on": ["frames"], "frames": [3]}, LayerRequest("keyframes", None, None)),
        ({"editor": "filter", "on": "every frame"}, LayerRequest("keyframes", None, None)),
        ({"editor": "atlas", "on": 1, "frames": "frames"}, LayerRequest("atlas", None, None)),
    ],
)
def test_requests(saved: dict[str, Any], expected: LayerRequest) -> None:
    assert LayerRequest.of(saved) == expected


@pytest.mark.parametrize("deep", [False, True])
def test_a_keyframe_has_the_frame_s_colours_where_it_is_transparent(deep: bool, sample_clip: Clip, tmp_path: Path) -> None:
    """A painter leaves white there, or black: neither is an edit."""
    image = np.full((sample_clip.height, sample_clip.width, 4), 255, np.uint8)
    image[:30, :, 3], image[30:40, :, 3] = 0, 1
    write_image(tmp_path / "k.png", to_16_bit(image) if deep else image)
    found, frame = read_keyframe(tmp_path / "k.png", sample_clip, 3), sample_clip.frame(3)
    assert np.array_equal(found[:30, :, :3], (to_16_bit(frame) if deep else frame)[:30]) and not found[:30, :, 3].any()
    assert (found[30:, :, :3] == np.iinfo(found.dtype).max).all()
