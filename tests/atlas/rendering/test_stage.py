"""Rendering an edit: known answers on the true fit, and edits that cannot be rendered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from atlas.clip.clip import Clip, Source
from atlas.clip.edits import Edit
from atlas.errors import UserError
from atlas.maps.maps import Maps, fit_identity
from atlas.metrics.definitions import psnr, warp_error
from atlas.rendering.stage import RenderOptions, render
from atlas.sample.scene import Sample
from atlas.storage.images import read_image, to_float, to_uint8, to_uint16, write_image
from atlas.storage.stamps import write_stamp
from atlas.system.cost import read_costs
from atlas.video.reading import probe, read_frames
from atlas.video.source import open_source


def painted(sample: Sample, layer: str) -> np.ndarray:
    """The true atlas with a strong, textured edit, (N, N, 4)."""
    atlas = sample.atlases[layer].copy()
    size = len(atlas)
    stripes = (np.indices((size, size)).sum(0) // 12 % 2)[..., None]
    atlas[..., :3] = np.clip(atlas[..., :3] * np.array([1, 0.55, 0.1]) + 0.15 * stripes, 0, 1)
    atlas[..., 3] = 1
    return to_uint8(atlas) / np.float32(255)


def make_edit(clip: Clip, name: str, atlases: dict[str, np.ndarray], **requests: dict) -> Edit:
    """An edit as aggregation leaves it: `atlases` are the images to store."""
    edit = Edit(clip.edit_folder(name), name, "truth", requests or {layer: {"editor": "atlas"} for layer in atlases})
    edit.save()
    for layer, image in atlases.items():
        write_image(edit.atlas_path(layer), image)
    return edit


def options(clip: Clip, edit: str, **changes: object) -> RenderOptions:
    return replace(RenderOptions(clip=clip.folder, edit=edit, quiet=True, device="cpu", format="png"), **changes)


def rendered(clip: Clip, edit: str) -> np.ndarray:
    return np.stack([read_image(clip.edit_folder(edit) / "frames" / f"{i:05d}.png") for i in range(clip.frames)])


def test_an_unedited_atlas_gives_the_frames_to_the_bit(fresh_clip: Clip, sample: Sample) -> None:
    make_edit(fresh_clip, "same", {"foreground": to_uint8(sample.atlases["foreground"])})
    render(options(fresh_clip, "same"))
    np.testing.assert_array_equal(rendered(fresh_clip, "same"), sample.frames)


def test_the_true_edit_gives_the_true_video(fresh_clip: Clip, sample: Sample) -> None:
    edits = {layer: painted(sample, layer) for layer in sample.layers}
    for names in (["foreground"], ["background"], ["foreground", "background"]):
        name = "-".join(names)
        make_edit(fresh_clip, name, {layer: to_uint16(edits[layer]) for layer in names})
        render(options(fresh_clip, name))
        truth = sample.render({layer: edits[layer] for layer in names})
        for result, right in zip(rendered(fresh_clip, name), truth, strict=True):
            assert psnr(result, right) >= 38


def test_pixels_without_the_layer_are_the_frame_to_the_bit(fresh_clip: Clip, sample: Sample) -> None:
    make_edit(fresh_clip, "paint", {"foreground": to_uint8(painted(sample, "foreground"))})
    render(options(fresh_clip, "paint"))
    maps = Maps(fresh_clip.fit_folder("truth"))
    for index, result in enumerate(rendered(fresh_clip, "paint")):
        away = maps.opacity("foreground", index) == 0
        np.testing.assert_array_equal(result[away], sample.frames[index][away])
        assert (result[~away] != sample.frames[index][~away]).any()


def test_full_mode_renders_the_layers_alone(fresh_clip: Clip, sample: Sample) -> None:
    edited = painted(sample, "foreground")
    make_edit(fresh_clip, "full", {"foreground": to_uint16(edited)})
    render(options(fresh_clip, "full", mode="full"))
    truth = sample.render({"foreground": edited})
    assert min(psnr(a, b) for a, b in zip(rendered(fresh_clip, "full"), truth, strict=True)) >= 38


def test_no_fringe_of_the_old_colour(fresh_clip: Clip, sample: Sample) -> None:
    """Pixels that a layer half covers are edited as much as those that it covers whole."""
    size = sample.atlases["foreground"].shape[0]
    seen = sample.atlases["foreground"][..., 3] > 0
    red = np.zeros((size, size, 4), np.float32)
    red[seen] = (1, 0, 0, 1)
    for mode in ("delta", "full"):
        make_edit(fresh_clip, mode, {"foreground": to_uint8(red)})
        render(options(fresh_clip, mode, mode=mode, transfer="additive"))
        truth = sample.render({"foreground": np.full((size, size, 3), (1.0, 0, 0), np.float32)})
        edge = (sample.opacities["foreground"] > 0.02) & (sample.opacities["foreground"] < 0.5)
        assert psnr(rendered(fresh_clip, mode)[edge], truth[edge]) > 34


def test_uncovered_texels_keep_the_original(fresh_clip: Clip, sample: Sample) -> None:
    edited = painted(sample, "background")
    edited[..., 3] = 0
    make_edit(fresh_clip, "nothing", {"background": to_uint16(edited)})
    render(options(fresh_clip, "nothing"))
    np.testing.assert_array_equal(rendered(fresh_clip, "nothing"), sample.frames)


def test_an_atlas_painted_over_by_hand(fresh_clip: Clip, sample: Sample) -> None:
    # Aggregation left 16 bits; a painter saved 8 bits without alpha, changing one corner of what is visible.
    original = to_uint16(sample.atlases["foreground"] * np.float32(0.7))
    original[..., 3] = 65535
    edit = make_edit(fresh_clip, "hand", {"foreground": original}, foreground={"editor": "filter"})
    write_image(edit.reference_path("foreground"), original)
    saved = to_uint8(to_float(original))[..., :3]
    write_image(edit.atlas_path("foreground"), saved)
    render(options(fresh_clip, "hand"))
    np.testing.assert_array_equal(rendered(fresh_clip, "hand"), sample.frames)
    saved[: len(saved) // 2] = 255
    write_image(edit.atlas_path("foreground"), saved)
    render(options(fresh_clip, "hand"))
    assert (rendered(fresh_clip, "hand") != sample.frames).any()


def test_light_is_a_choice(fresh_clip: Clip, sample: Sample) -> None:
    edited = painted(sample, "background")
    make_edit(fresh_clip, "paint", {"background": to_uint16(edited)})
    results = {}
    for light in ("auto", "on", "off"):
        render(options(fresh_clip, "paint", light=light))
        results[light] = rendered(fresh_clip, "paint").astype(int)
    np.testing.assert_array_equal(results["auto"], results["on"])  # paint is lit
    maps, added = Maps(fresh_clip.fit_folder("truth")), {}
    for light in ("on", "off"):
        render(options(fresh_clip, "paint", light=light, transfer="additive"))
        added[light] = rendered(fresh_clip, "paint").astype(float) - sample.frames
    seen = np.stack([(maps.opacity("background", i) == 1)[..., None] & (added["off"][i] < -20) for i in range(maps.frames)])
    gains = [(added["on"][i][seen[i]] / added["off"][i][seen[i]]).mean() for i in range(maps.frames)]
    right = [maps.light("background", i)[seen[i]].mean() for i in range(maps.frames)]
    np.testing.assert_allclose(gains, right, atol=0.02)
    assert max(right) > min(right) + 0.02
    with pytest.raises(UserError, match="--light off is for --mode delta"):
        render(options(fresh_clip, "paint", light="off", mode="full"))


@pytest.mark.parametrize("square", [1, 2, 6])
def test_a_checkerboard_does_not_shimmer(fresh_clip: Clip, sample: Sample, square: int) -> None:
    """Painted on the background, against the true re-render: a finer pattern than frames can show must not flicker."""
    atlas = sample.atlases["background"]
    board = (np.indices(atlas.shape[:2]) // square).sum(0) % 2
    edited = np.dstack([np.repeat((0.2 + 0.5 * board)[..., None], 3, 2), np.ones(board.shape)]).astype(np.float32)
    make_edit(fresh_clip, "board", {"background": to_uint16(edited)})
    render(options(fresh_clip, "board"))
    flow, valid = fresh_clip.flow("forward"), fresh_clip.flow_validity("forward")
    found, truth = (
        np.mean([warp_error(a, b, flow[i], valid[i]) for i, (a, b) in enumerate(zip(video, video[1:], strict=False))])
        for video in (rendered(fresh_clip, "board"), to_uint8(sample.render({"background": edited})))
    )
    assert found <= 1.2 * truth


def test_video_and_sheet(fresh_clip: Clip, sample: Sample) -> None:
    make_edit(fresh_clip, "video", {"foreground": to_uint8(painted(sample, "foreground"))})
    said = render(options(fresh_clip, "video", format="mp4"))
    folder = fresh_clip.edit_folder("video")
    info = probe(folder / "video.mp4")
    assert (info.frames, info.width, info.height, float(info.fps)) == (12, 96, 64, 24.0)
    assert "12 frames of 96x64" in said
    truth = sample.render({"foreground": painted(sample, "foreground")})
    assert min(psnr(a, b) for a, b in zip(read_frames(folder / "video.mp4"), truth, strict=True)) > 28
    sheet = read_image(folder / "sheet.png")
    assert sheet.shape[1] > 6 * 96 and sheet.shape[0] > 2 * 64
    cost = read_costs(fresh_clip.folder)["render video"]
    assert cost["frames"] == 12 and cost["wall_seconds"] > 0


def test_the_sheet_shows_how_far_keyframes_reach(fresh_clip: Clip, sample: Sample) -> None:
    atlas = to_uint8(painted(sample, "foreground"))
    heights = {}
    for name, editor in (("painted", "atlas"), ("filtered", "filter")):
        make_edit(fresh_clip, name, {"foreground": atlas}, foreground={"editor": editor})
        render(options(fresh_clip, name))
        heights[name] = read_image(fresh_clip.edit_folder(name) / "sheet.png").shape[0]
    assert heights["filtered"] >= heights["painted"] + 64, "a painted atlas has no keyframes"


def test_the_size_of_the_source(fresh_clip: Clip, sample: Sample, tmp_path: Path) -> None:
    large = [cv2.resize(frame, (192, 128), interpolation=cv2.INTER_CUBIC) for frame in sample.frames]
    for index, frame in enumerate(large):
        write_image(tmp_path / "large" / f"{index:05d}.png", frame)
    source = open_source(tmp_path / "large")
    fresh_clip.source = Source(str(source.path), source.sha256, 192, 128, indices=list(range(12)))
    fresh_clip.save()
    make_edit(fresh_clip, "large", {"foreground": to_uint8(painted(sample, "foreground"))})
    render(options(fresh_clip, "large", size="source"))
    result = rendered(fresh_clip, "large")
    assert result.shape == (12, 128, 192, 3)
    render(options(fresh_clip, "large"))
    small = rendered(fresh_clip, "large")
    for one, other, frame in zip(result, small, large, strict=True):
        assert psnr(cv2.resize(one, (96, 64), interpolation=cv2.INTER_AREA), other) > 30
        assert (one == frame).all(-1).mean() > 0.5
    write_image(tmp_path / "large" / "00003.png", large[0])
    with pytest.raises(UserError, match="has changed since"):
        render(options(fresh_clip, "large", size="source"))


def test_up_to_date_until_something_changes(fresh_clip: Clip, sample: Sample) -> None:
    edit = make_edit(fresh_clip, "again", {"foreground": to_uint8(painted(sample, "foreground"))})
    first = render(options(fresh_clip, "again"))
    assert "up to date" not in first
    assert "up to date" in render(options(fresh_clip, "again"))
    assert "up to date" not in render(options(fresh_clip, "again", format="mp4"))
    assert "up to date" not in render(options(fresh_clip, "again", mode="full"))
    render(options(fresh_clip, "again"))
    write_image(edit.atlas_path("foreground"), to_uint8(sample.atlases["foreground"]))
    assert "up to date" not in render(options(fresh_clip, "again"))
    np.testing.assert_array_equal(rendered(fresh_clip, "again"), sample.frames)


def test_the_same_input_gives_the_same_bytes(fresh_clip: Clip, sample: Sample) -> None:
    video = fresh_clip.edit_folder("bytes") / "video.mp4"
    make_edit(fresh_clip, "bytes", {"foreground": to_uint8(painted(sample, "foreground"))})
    render(options(fresh_clip, "bytes", format="mp4"))
    first = video.read_bytes()
    video.unlink()
    render(options(fresh_clip, "bytes", format="mp4"))
    assert video.read_bytes() == first


def test_what_cannot_be_rendered(fresh_clip: Clip, sample: Sample) -> None:
    with pytest.raises(UserError, match="no edit 'missing'"):
        render(options(fresh_clip, "missing"))
    edit = make_edit(fresh_clip, "early", {}, foreground={"editor": "filter"})
    with pytest.raises(UserError, match=r"no edited atlas of foreground: run scripts/aggregate\.py"):
        render(options(fresh_clip, "early"))
    small = cv2.resize(to_uint8(sample.atlases["foreground"]), (50, 60))
    write_image(edit.atlas_path("foreground"), small)
    with pytest.raises(UserError, match="50x60, the atlas of foreground is"):
        render(options(fresh_clip, "early"))
    edit.atlas_path("foreground").write_bytes(b"no image")
    with pytest.raises(UserError, match="not a readable image"):
        render(options(fresh_clip, "early"))
    with pytest.raises(UserError, match="--format gif is not known"):
        render(options(fresh_clip, "early", format="gif"))
    with pytest.raises(UserError, match="no clip.json"):
        render(RenderOptions(clip=Path("nowhere"), edit="early"))
    assert not (edit.folder / "frames").exists() and not (edit.folder / "sheet.png").exists()


def test_an_edit_of_an_earlier_fit_is_refused(fresh_clip: Clip, sample: Sample) -> None:
    """Edits record which fit they were made on; an atlas of an earlier one would land in the wrong places."""
    edit = make_edit(fresh_clip, "old", {"foreground": to_uint8(painted(sample, "foreground"))})
    maps = Maps(fresh_clip.fit_folder("truth"))
    write_stamp(edit.folder, fit_identity(fresh_clip, maps, "foreground"), "fit foreground")
    render(options(fresh_clip, "old"))
    write_stamp(maps.folder, "fitted again")
    with pytest.raises(UserError, match="has changed since"):
        render(options(fresh_clip, "old"))
