"""Nodes for ComfyUI, called as it calls them: by what they say of themselves, with its arrays."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch

import atlas
from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.sample.scene import Sample

FOLDER = Path(__file__).resolve().parents[3] / "scripts" / "comfyui"


@pytest.fixture(scope="module")
def nodes() -> dict[str, Any]:
    """The nodes, loaded by the folder's path under a name of ComfyUI's own."""
    where = importlib.util.spec_from_file_location(
        "custom_nodes_layered", FOLDER / "__init__.py", submodule_search_locations=[]
    )
    assert where and where.loader
    module = importlib.util.module_from_spec(where)
    where.loader.exec_module(module)
    assert module.NODE_CLASS_MAPPINGS.keys() == module.NODE_DISPLAY_NAME_MAPPINGS.keys()
    found: dict[str, Any] = module.NODE_CLASS_MAPPINGS
    return found


def call(node: Any, **inputs: Any) -> tuple[Any, ...]:
    assert inputs.keys() == node.INPUT_TYPES()["required"].keys()
    given: tuple[Any, ...] = getattr(node(), node.FUNCTION)(**inputs)
    assert len(given) == len(node.RETURN_TYPES) == len(node.RETURN_NAMES)
    for value, kind in zip(given, node.RETURN_TYPES, strict=True):
        if kind in ("IMAGE", "MASK"):
            assert value.dtype == torch.float32 and value.ndim == (4 if kind == "IMAGE" else 3)
            assert value.min() >= 0 and value.max() <= 1
    return given


def test_an_unedited_atlas_changes_nothing_and_a_painted_one_its_layer(nodes: dict[str, Any], fresh_clip: Clip) -> None:
    fit = atlas.Fit(fresh_clip, "truth")
    image, seen = call(nodes["LayeredAtlasAtlasOfLayer"], fit=fit, layer="foreground")
    assert image.shape[1] == image.shape[2] == seen.shape[1]
    apply = nodes["LayeredAtlasApplyAtlas"]
    (same,) = call(apply, fit=fit, layer="foreground", atlas_image=image, name="same")
    source = torch.stack([torch.from_numpy(fresh_clip.frame(t)) for t in range(fresh_clip.frames)]).float() / 255
    assert torch.equal(same, source)
    (painted,) = call(apply, fit=fit, layer="foreground", atlas_image=1 - image, name="negative")
    opacity = torch.stack([torch.from_numpy(fit.opacity("foreground", t)) for t in range(fresh_clip.frames)])
    changed = (painted - source).abs().mean(-1)
    assert (changed[opacity == 0] == 0).all() and changed[opacity == 1].mean() > 0.1
    with pytest.raises(UserError, match="scale it back"):
        call(apply, fit=fit, layer="foreground", atlas_image=image[:, 1:], name="small")


def test_edited_keyframes_reach_every_frame(nodes: dict[str, Any], fresh_clip: Clip) -> None:
    fit = atlas.Fit(fresh_clip, "truth")
    images, opacity, numbers = call(nodes["LayeredAtlasKeyframes"], fit=fit, layer="foreground", keyframes="auto:2")
    assert images.shape == (2, 64, 96, 3) and opacity.shape == (2, 64, 96) and len(numbers.split(",")) == 2
    asked = {"fit": fit, "layer": "foreground", "numbers": numbers, "name": "negative", "method": "mean"}
    (frames,) = call(nodes["LayeredAtlasApplyKeyframes"], images=1 - images, **asked)
    for t in range(fresh_clip.frames):
        inside = torch.from_numpy(fit.opacity("foreground", t)) == 1
        right = 1 - torch.from_numpy(fresh_clip.frame(t)).float() / 255
        assert (frames[t] - right).abs().mean(-1)[inside].mean() < 0.05
    with pytest.raises(UserError, match="scale them back"):
        call(nodes["LayeredAtlasApplyKeyframes"], images=images[:1], **asked)
    assert call(nodes["LayeredAtlasKeyframes"], fit=fit, layer="foreground", keyframes="3,1")[2] == "1,3"


def test_a_clip_is_fitted_from_arrays(nodes: dict[str, Any], sample: Sample, tmp_path: Path) -> None:
    images = torch.from_numpy(sample.frames[:4].copy()).float() / 255
    masks = torch.from_numpy(sample.masks("foreground")[:4]).float() / 255
    asked = {"masks": masks, "folder": str(tmp_path / "clip"), "preset": "preview"}
    (fit,) = call(nodes["LayeredAtlasFitClip"], images=images, **asked)
    assert fit.layers == ["foreground", "background"] and (fit.clip.width, fit.clip.height) == (96, 64)
    with pytest.raises(UserError, match="a mask of the same size"):
        call(nodes["LayeredAtlasFitClip"], images=images[:3], **asked)


def test_the_example_gives_each_node_what_it_takes(nodes: dict[str, Any]) -> None:
    graph = json.loads((FOLDER / "example.json").read_text())
    ours = {name: one for name, one in graph.items() if one["class_type"] in nodes}
    assert {one["class_type"] for one in ours.values()} == {
        f"LayeredAtlas{n}" for n in ("FitClip", "Keyframes", "ApplyKeyframes")
    }
    for one in ours.values():
        taken = nodes[one["class_type"]].INPUT_TYPES()["required"]
        assert one["inputs"].keys() == taken.keys()
        for name, value in one["inputs"].items():
            if isinstance(value, list) and value[0] in ours:
                given = nodes[ours[value[0]]["class_type"]].RETURN_TYPES[value[1]]
                assert given == taken[name][0]
    for one in graph.values():
        assert all(value[0] in graph for value in one["inputs"].values() if isinstance(value, list))
