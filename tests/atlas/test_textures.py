"""The textures of an edit: what is added where, up to and beyond the outline of what was seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from atlas.files import to_uint16
from atlas.maps import Maps, MapsWriter, write_atlas
from atlas.textures import RIM, EditedLayer, delta_textures, full_changes

SIDE = 64


@pytest.fixture
def maps(tmp_path: Path) -> Maps:
    """A grey layer seen in its left half; its alpha fades over four texels."""
    writer = MapsWriter(tmp_path, ["background"], 2, 16, 16)
    for _ in range(2):
        writer.append_frame({"background": np.zeros((16, 16, 2))}, {"background": np.ones((16, 16))})
    writer.close()
    atlas = np.full((SIDE, SIDE, 4), 0.4, np.float32)
    atlas[..., 3] = np.clip((34 - np.arange(SIDE)) / 4, 0, 1)
    write_atlas(tmp_path, "background", atlas)
    return Maps(tmp_path)


def looked_up(texture: object) -> np.ndarray:
    centres = (np.arange(SIDE, dtype=np.float32) + 0.5) * 2 / SIDE - 1
    uv = np.stack(np.meshgrid(centres, centres), -1)
    return np.stack([plane.numpy() for plane in texture.at(uv, smooth=False)], -1)  # type: ignore[attr-defined]


def test_a_repainted_atlas_is_edited_up_to_its_outline_and_just_beyond(maps: Maps) -> None:
    """The painter kept the atlas's fading alpha: no fringe of the old colour may be left for half-covered pixels."""
    reference = to_uint16(maps.atlas("background"))
    painted = reference.copy()
    painted[..., 0] = 65535
    layers = {"background": EditedLayer(painted, reference)}
    seen = maps.atlas("background")[0, :, 3] > 0
    last = int(np.flatnonzero(seen)[-1])
    for planes in (
        looked_up(delta_textures(layers, maps, "additive")["background"]),
        looked_up(full_changes(layers, maps)["background"]),
    ):
        np.testing.assert_allclose(planes[..., 0][:, : last + 1 + RIM], 0.6, atol=0.01)
        np.testing.assert_allclose(planes[:, last + 2 + RIM :], 0, atol=1e-6)
        np.testing.assert_allclose(planes[..., 1:], 0, atol=0.01)


def test_a_painted_spot_stays_a_spot(maps: Maps) -> None:
    reference = to_uint16(maps.atlas("background"))
    painted = np.zeros_like(reference)
    painted[20:30, 8:20] = (65535, 0, 0, 65535)
    layers = {"background": EditedLayer(painted, reference)}
    planes = looked_up(delta_textures(layers, maps)["background"])
    inside = np.zeros((SIDE, SIDE), bool)
    inside[20:30, 8:20] = True
    assert (planes[~inside] == 0).all() and (planes[inside][:, 0] != 0).all()


def test_nothing_painted_is_exactly_nothing(maps: Maps) -> None:
    reference = to_uint16(maps.atlas("background"))
    for painted in (reference, np.zeros_like(reference)):
        planes = looked_up(delta_textures({"background": EditedLayer(painted, reference)}, maps)["background"])
        assert planes.shape[2] == 6 and (planes == 0).all()
