"""What edit.json says that was asked for a layer; the file may come from anyone."""

from __future__ import annotations

from typing import Any

import pytest

from atlas.clip.edits import LayerRequest

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
