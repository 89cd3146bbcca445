"""The textures of an edit: what is added where, up to and beyond the outline of what was seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from atlas.clip.edits import Edit
from atlas.errors import UserError
from atlas.geometry.texture import Texture
from atlas.maps.compositing import DeltaTexture
from atlas.maps.maps import Maps, MapsWriter, write_atlas
from atlas.options.render import Transfer
from atlas.rendering.edited import RIM, EditedLayer, delta_textures, full_changes, read_edited_layers
from atlas.storage.images import to_uint16, write_image
from atlas.storage.stamps import write_json
from tests.atlas.geometry.looking_up import planes_at

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


def looked_up(texture: Texture | DeltaTexture) -> np.ndarray:
    planes = texture.planes if isinstance(texture, DeltaTexture) else texture
    centres = (np.arange(SIDE, dtype=np.float32) + 0.5) * 2 / SIDE - 1
    uv = np.stack(np.meshgrid(centres, centres), -1)
    return np.stack([plane.numpy() for plane in planes_at(planes, uv, smooth=False)], -1)


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


def test_what_maps_colours_is_not_lit_again(maps: Maps) -> None:
    """A curve over a busy layer: as far as the keyframes say that it is one, its change moves to the planes without light."""
    reference = np.full((SIDE, SIDE, 4), 65535, np.uint16)
    reference[..., :3] = np.random.default_rng(0).integers(8000, 60000, (SIDE, SIDE, 1))
    painted = reference.copy()
    painted[..., :3] = np.sqrt(reference[..., :3] / 65535) * 65535
    lit = looked_up(delta_textures({"background": EditedLayer(painted, reference)}, maps)["background"])
    unlit = looked_up(delta_textures({"background": EditedLayer(painted, reference, unlit=1.0)}, maps)["background"])
    assert unlit.shape[2] == 9
    delta = delta_textures({"background": EditedLayer(painted, reference, unlit=1.0)}, maps)["background"]
    assert delta.kinds == ("lit", "gain", "unlit")
    np.testing.assert_allclose(unlit[..., 3:6], lit[..., 3:6])
    np.testing.assert_allclose(unlit[..., :3] + unlit[..., 6:], lit[..., :3], atol=1e-6)
    seen = slice(0, 28)
    assert np.abs(unlit[:, seen, :3]).mean() < 0.2 * np.abs(lit[:, seen, :3]).mean()


def test_a_damaged_note_on_light_is_named(maps: Maps, tmp_path: Path) -> None:
    edit = Edit(tmp_path / "edit", "edit", "fit")
    for name in ("atlas", "reference"):
        write_image(tmp_path / "edit" / name / "background.png", to_uint16(maps.atlas("background")))
    assert read_edited_layers(edit, maps)["background"].unlit == 0
    write_json(tmp_path / "edit" / "reference" / "background.json", {"unlit": 0.25})
    assert read_edited_layers(edit, maps)["background"].unlit == 0.25
    write_json(tmp_path / "edit" / "reference" / "background.json", {"unlit": "very"})
    with pytest.raises(UserError, match="background.json is damaged"):
        read_edited_layers(edit, maps)


@pytest.mark.parametrize("transfer", ["local", "additive"])
def test_light_is_put_on_an_edit_or_left_out(maps: Maps, transfer: Transfer) -> None:
    reference = to_uint16(maps.atlas("background"))
    painted = reference.copy()
    painted[..., 0] = 65535 - painted[..., 0]
    layers = {"background": EditedLayer(painted, reference, unlit=0.5)}
    auto, on, off = (
        looked_up(delta_textures(layers, maps, transfer, light=light)["background"]) for light in ("auto", "on", "off")
    )
    assert on.shape[2] == (6 if transfer == "local" else 3) and np.abs(on[..., :3]).max() > 0.01
    np.testing.assert_allclose(off, np.concatenate([0 * on[..., :3], off[..., 3:6], on[..., :3]], -1))
    np.testing.assert_allclose(off[..., 3:6], on[..., 3:6] if transfer == "local" else 0)
    if transfer == "local":
        np.testing.assert_allclose(auto[..., :3] + auto[..., 6:], on[..., :3], atol=1e-6)
    else:
        np.testing.assert_array_equal(auto, on)
