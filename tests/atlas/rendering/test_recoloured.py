"""Recoloured layers through all stages: the change reaches what no keyframe saw, and nothing that was not edited."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from aggregate.stage import AggregateOptions, aggregate
from atlas.clip.clip import Clip
from atlas.clip.edits import Edit
from atlas.errors import UserError
from atlas.maps.compositing import composite_frame, fit_textures
from atlas.maps.maps import Maps
from atlas.metrics.definitions import psnr
from atlas.rendering.frames import Rendering
from atlas.rendering.settings import RenderSettings
from atlas.storage.images import to_uint8, write_image
from edit.editors import EditOptions
from edit.stage import edit

pytestmark = pytest.mark.slow


def edited(clip: Clip, folder: Path, images: dict[int, np.ndarray], layer: str = "background", **how: object) -> Edit:
    for index, image in images.items():
        write_image(folder / f"{index}.png", image)
    made = edit(
        EditOptions(clip=clip.folder, name="e", layer=layer, fit="truth", editor="images", images=folder, quiet=True)
    ).edit
    aggregate(AggregateOptions(clip=clip.folder, edit="e", method="mean", quiet=True, device="cpu", **how))  # type: ignore[arg-type]
    return made


def frames(clip: Clip, **how: object) -> list[np.ndarray]:
    settings = RenderSettings(device="cpu", **how)  # type: ignore[arg-type]
    return [frame for _, frame in Rendering.open(clip.folder, "e", settings).frames()]


def score(clip: Clip, rendered: list[np.ndarray], layer: str, skip: int) -> float:
    """PSNR to inverted frames, where the layer is seen alone."""
    maps, scores = Maps(clip.fit_folder("truth")), []
    for index, frame in enumerate(rendered):
        if index != skip:
            scores.append(psnr(frame, 255 - clip.frame(index), maps.opacity(layer, index) > 0.99))
    return float(np.mean(scores))


def test_what_no_keyframe_saw_follows(fresh_clip: Clip, tmp_path: Path) -> None:
    edited(fresh_clip, tmp_path, {0: 255 - fresh_clip.frame(0)})
    rendered = frames(fresh_clip)
    assert score(fresh_clip, rendered, "background", 0) > 45
    maps = Maps(fresh_clip.fit_folder("truth"))
    for index in (3, 11):
        others = maps.opacity("background", index) == 0
        assert others.any() and np.array_equal(rendered[index][others], fresh_clip.frame(index)[others])
    edited(fresh_clip, tmp_path, {0: 255 - fresh_clip.frame(0)}, colours="kept")
    assert score(fresh_clip, frames(fresh_clip), "background", 0) < 30


def test_a_selection_with_hard_edges_keeps_them(fresh_clip: Clip, tmp_path: Path) -> None:
    """Keyframes that were edited inside the clip's masks: so are all frames, and nothing outside."""

    def inside(index: int) -> np.ndarray:
        return fresh_clip.mask("foreground", index) > 127

    def selected(index: int) -> np.ndarray:
        return np.where(inside(index)[..., None], 255 - fresh_clip.frame(index), fresh_clip.frame(index))

    edited(fresh_clip, tmp_path, {index: selected(index) for index in (0, 6)}, "foreground")
    rendered = frames(fresh_clip)
    for index in (3, 9):
        assert psnr(rendered[index], selected(index), inside(index)) > 38
        assert np.array_equal(rendered[index][~inside(index)], fresh_clip.frame(index)[~inside(index)])


def test_what_is_kept_stays(fresh_clip: Clip, tmp_path: Path) -> None:
    made = edited(fresh_clip, tmp_path, {0: 255 - fresh_clip.frame(0)})
    maps = Maps(fresh_clip.fit_folder("truth"))
    height, width = maps.atlas_size("background")
    keep = np.zeros((height, width), np.uint8)
    keep[:, width // 2 :] = 255
    write_image(made.keep_path("background"), keep)
    rendered = frames(fresh_clip)
    for index in (2, 9):
        u, alone = maps.uv("background", index)[..., 0], maps.opacity("background", index) > 0.99
        kept, free = alone & (u > 0.05), alone & (u < -0.05)
        assert np.array_equal(rendered[index][kept], fresh_clip.frame(index)[kept])
        assert psnr(rendered[index], 255 - fresh_clip.frame(index), free) > 40


def test_a_texture_lies_on_top_of_the_change(fresh_clip: Clip, tmp_path: Path) -> None:
    """A red patch on an inverted background: both come back on another frame."""
    maps = Maps(fresh_clip.fit_folder("truth"))

    def patched(index: int) -> np.ndarray:
        u, v = np.moveaxis(maps.uv("background", index), -1, 0)
        patch = ((np.abs(u + 0.35) < 0.12) & (np.abs(v) < 0.12))[..., None]
        return np.where(patch, to_uint8(np.float32([0.6, 0.1, 0.1])), 255 - fresh_clip.frame(index))

    edited(fresh_clip, tmp_path, {index: patched(index) for index in (0, 3, 6)})
    rendered = frames(fresh_clip)
    u, v = np.moveaxis(maps.uv("background", 1), -1, 0)
    alone = maps.opacity("background", 1) > 0.99
    inner = alone & (np.abs(u + 0.35) < 0.09) & (np.abs(v) < 0.09)
    outer = alone & ((np.abs(u + 0.35) > 0.2) | (np.abs(v) > 0.2))
    assert psnr(rendered[1], patched(1), inner) > 35 and psnr(rendered[1], patched(1), outer) > 35


def test_full_rendering_recolours_the_atlas(fresh_clip: Clip, tmp_path: Path) -> None:
    edited(fresh_clip, tmp_path, {0: np.ascontiguousarray(fresh_clip.frame(0)[..., [2, 0, 1]])})
    maps = Maps(fresh_clip.fit_folder("truth"))
    rendered = frames(fresh_clip, mode="full")
    unedited = [to_uint8(composite_frame(i, maps, fit_textures(maps))) for i in range(fresh_clip.frames)]
    for index, (frame, before) in enumerate(zip(rendered, unedited, strict=True)):  # what frame 0 did not see, too
        assert psnr(frame, before[..., [2, 0, 1]], maps.opacity("background", index) > 0.99) > 30
    edited(fresh_clip, tmp_path, {0: 255 - fresh_clip.frame(0)})
    alone = frames(fresh_clip, alone=True)[9]
    opaque = alone[..., 3] == 255
    assert psnr(alone[..., :3], 255 - fresh_clip.frame(9), opaque) > 40


def test_another_edit_of_the_layer_forgets_the_change(fresh_clip: Clip, tmp_path: Path) -> None:
    made = edited(fresh_clip, tmp_path, {0: 255 - fresh_clip.frame(0)})
    assert made.change_path("background").is_file()
    painted = Maps(fresh_clip.fit_folder("truth")).atlas_path("background")
    edit(
        EditOptions(
            clip=fresh_clip.folder, name="e", layer="background", fit="truth", editor="atlas", image=painted, quiet=True
        )
    )
    assert not made.change_path("background").exists()
    for rendered, index in zip(frames(fresh_clip), range(fresh_clip.frames), strict=True):
        assert np.array_equal(rendered, fresh_clip.frame(index))


@pytest.mark.parametrize("damaged", [True, False])
def test_a_change_that_is_damaged_or_gone_is_named_and_made_again(fresh_clip: Clip, tmp_path: Path, damaged: bool) -> None:
    made = edited(fresh_clip, tmp_path, {0: 255 - fresh_clip.frame(0)})
    path, before = made.change_path("background"), Rendering.open(fresh_clip.folder, "e").made_from()
    if damaged:
        path.write_bytes(b"damaged")
    else:
        path.unlink()
    with pytest.raises(UserError, match="background.safetensors is missing or was changed.*: run scripts/aggregate.py again"):
        Rendering.open(fresh_clip.folder, "e")
    aggregate(AggregateOptions(clip=fresh_clip.folder, edit="e", method="mean", quiet=True, device="cpu"))
    assert Rendering.open(fresh_clip.folder, "e").made_from() == before


def test_layers_alone_keep_their_own_outline(fresh_clip: Clip, tmp_path: Path) -> None:
    inside = [fresh_clip.mask("foreground", index)[..., None] > 127 for index in (0, 6)]
    images = [np.where(mask, 255 - fresh_clip.frame(i), fresh_clip.frame(i)) for i, mask in zip((0, 6), inside, strict=True)]
    edited(fresh_clip, tmp_path, dict(zip((0, 6), images, strict=True)), "foreground")
    alpha = frames(fresh_clip, alone=True)[3][..., 3]
    opacity = Maps(fresh_clip.fit_folder("truth")).opacity("foreground", 3)
    np.testing.assert_allclose(alpha / 255, opacity, atol=1 / 255)
