"""Exports for compositors: an outside program renders a painted atlas from these files alone as we do."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest

from aggregate.stage import AggregateOptions, aggregate
from atlas.clip.clip import Clip
from atlas.clip.edits import Edit
from atlas.errors import UserError
from atlas.geometry import texture as mipmaps
from atlas.maps.maps import Maps
from atlas.metrics.definitions import psnr
from atlas.rendering.export import ExportOptions, export, stmap
from atlas.rendering.stage import RenderOptions, render
from atlas.sample.scene import Sample
from atlas.storage.images import read_image, to_float, to_uint16, write_image
from edit.editors import EditOptions
from edit.stage import edit


def options(clip: Clip, output: Path, **changes: Any) -> ExportOptions:
    return replace(ExportOptions(clip=clip.folder, output=output, fit="truth", quiet=True, device="cpu"), **changes)


def ffmpeg(*arguments: str) -> bytes:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-nostdin", *arguments]
    return subprocess.run(command, check=True, capture_output=True).stdout


def read_exr(path: Path, height: int, width: int) -> np.ndarray:
    """An EXR as ffmpeg's decoder has it, (H, W, 3) float32."""
    planes = np.frombuffer(ffmpeg("-i", str(path), "-f", "rawvideo", "-pix_fmt", "gbrpf32le", "-"), np.float32)
    green, blue, red = planes.reshape(3, height, width)
    return np.stack([red, green, blue], -1)


def remapped(image: Path, stmap: Path, size: tuple[int, int], finer: int, scratch: Path) -> np.ndarray:
    """`image` as ffmpeg's remap filter sees it through an STMap, (H, W, 3) float32.

    That filter takes whole pixels: the image is enlarged bilinearly before, so that the nearest of its pixels is the
    bilinear look-up to within a fraction of a texel.
    """
    height, width = size
    side = read_image(image).shape[0] * finer
    s, t, _ = np.moveaxis(read_exr(stmap, height, width), -1, 0)
    for name, place in (("x", s), ("y", 1 - t)):
        (scratch / name).write_bytes(np.clip(np.floor(place * side), 0, side - 1).astype("<u2").tobytes())
    raw = ["-f", "rawvideo", "-pix_fmt", "gray16le", "-video_size", f"{width}x{height}"]
    inputs = ["-i", str(image), *raw, "-i", str(scratch / "x"), *raw, "-i", str(scratch / "y")]
    chain = f"[0:v]format=rgb48le,scale={side}:{side}:flags=bilinear+accurate_rnd,format=rgb48le[a];[a][1:v][2:v]remap"
    out = ffmpeg(*inputs, "-filter_complex", chain, "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb48le", "-")
    return np.frombuffer(out, "<u2").reshape(height, width, 3).astype(np.float32) / 65535


@pytest.fixture
def painted(fresh_clip: Clip, sample: Sample) -> Clip:
    """A clip with the edit "paint": a tint on the foreground, stripes on the background."""
    layers = {}
    for layer in sample.layers:
        atlas = sample.atlases[layer].copy()
        stripes = (np.indices(atlas.shape[:2]).sum(0) // 9 % 2)[..., None]
        atlas[..., :3] = np.clip(atlas[..., :3] * np.float32([1, 0.6, 0.3]) + 0.1 * stripes, 0, 1)
        atlas[..., 3] = 1
        layers[layer] = atlas
    edit = Edit(fresh_clip.edit_folder("paint"), "paint", "truth", {layer: {"editor": "atlas"} for layer in layers})
    edit.save()
    for layer, atlas in layers.items():
        write_image(edit.atlas_path(layer), to_uint16(atlas))
    return fresh_clip


def test_ffmpeg_renders_a_painted_atlas_from_the_files_alone(
    painted: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("OpenEXR")
    monkeypatch.setattr(mipmaps, "SHARP", 99.0)  # that filter looks up one place, however much a pixel spans
    folder = tmp_path / "export"
    export(options(painted, folder, edit="paint"))
    render(RenderOptions(clip=painted.folder, edit="paint", mode="full", format="png16", quiet=True, device="cpu"))
    render(RenderOptions(clip=painted.folder, edit="paint", transfer="additive", format="png", quiet=True, device="cpu"))
    size = (painted.height, painted.width)
    for index in (0, 7):
        name = f"{index:05d}"
        alone, over = np.zeros((*size, 3), np.float32), to_float(painted.frame(index))
        for layer in painted.layers:
            part = folder / layer
            weight = to_float(read_image(part / "matte" / f"{name}.png")) * read_exr(part / "light" / f"{name}.exr", *size)
            new, old = (
                remapped(part / i, part / "stmap" / f"{name}.exr", size, 8, tmp_path) for i in ("edited.png", "atlas.png")
            )
            alone += weight * new
            over += weight * (new - old)
        frames = painted.edit_folder("paint")
        assert psnr(np.clip(alone, 0, 1), read_image(frames / "frames16" / f"{name}.png")) > 40
        assert psnr(np.clip(over, 0, 1), read_image(frames / "frames" / f"{name}.png")) > 38


def test_the_nearest_texel_is_the_very_same(painted: Clip, tmp_path: Path) -> None:
    """Without enlarging, nearest against nearest: nothing but whole texels, which must agree."""
    pytest.importorskip("OpenEXR")
    export(options(painted, tmp_path / "export"))
    maps, size = Maps(painted.fit_folder("truth")), (painted.height, painted.width)
    part = tmp_path / "export" / "background"
    found = remapped(part / "atlas.png", part / "stmap" / "00004.exr", size, 1, tmp_path)
    atlas = maps.atlas("background")[..., :3]
    column, row = np.moveaxis(np.clip(np.floor((maps.uv("background", 4) + 1) / 2 * len(atlas)), 0, len(atlas) - 1), -1, 0)
    same = np.abs(found - atlas[row.astype(int), column.astype(int)]).max(-1) < 2e-4
    assert same.mean() > 0.999  # but for places on the border between two texels to the last bit


@pytest.mark.slow
def test_an_edit_that_changes_colours_is_exported_with_them(fresh_clip: Clip, tmp_path: Path) -> None:
    """Inverted in one keyframe: the exported atlas is inverted also where that keyframe saw nothing, and so is a composite."""
    pytest.importorskip("OpenEXR")
    write_image(tmp_path / "images" / "0.png", 255 - fresh_clip.frame(0))
    made = edit(
        EditOptions(
            clip=fresh_clip.folder,
            name="e",
            layer="background",
            fit="truth",
            editor="images",
            images=tmp_path / "images",
            quiet=True,
        )
    ).edit
    merge = AggregateOptions(clip=fresh_clip.folder, edit="e", method="mean", quiet=True, device="cpu")
    ask = options(fresh_clip, tmp_path / "export", edit="e")
    maps, part = Maps(fresh_clip.fit_folder("truth")), tmp_path / "export" / "background"
    atlas = maps.atlas("background")
    for colours, inverted in (("learned", True), ("kept", False)):
        aggregate(replace(merge, colours=colours))
        assert "up to date" not in export(ask) and "up to date" in export(ask)
        unseen = (atlas[..., 3] > 0) & (to_float(read_image(made.atlas_path("background")))[..., 3] == 0)
        assert unseen.sum() > 100
        edited, right = to_float(read_image(part / "edited.png"))[..., :3], 1 - atlas[..., :3]
        if inverted:
            assert psnr(edited, right, unseen) > 35
            frame, name = to_float(fresh_clip.frame(9)), "00009"
            weight = to_float(read_image(part / "matte" / f"{name}.png")) * read_exr(part / "light" / f"{name}.exr", 64, 96)
            new, old = (
                remapped(part / image, part / "stmap" / f"{name}.exr", (64, 96), 8, tmp_path)
                for image in ("edited.png", "atlas.png")
            )
            assert psnr(frame + weight * (new - old), 1 - frame, maps.opacity("background", 9) > 0.99) > 25
        else:
            np.testing.assert_array_equal(edited[unseen], to_float(to_uint16(atlas))[unseen, :3])
        assert ("keeps its old colour" in (tmp_path / "export" / "README.txt").read_text()) == inverted


def test_values_and_precision(painted: Clip, tmp_path: Path) -> None:
    package = pytest.importorskip("OpenEXR")
    export(options(painted, tmp_path / "export"))
    maps = Maps(painted.fit_folder("truth"))
    with package.File(str(tmp_path / "export" / "foreground" / "stmap" / "00002.exr"), separate_channels=True) as file:
        channels = {name: channel.pixels for name, channel in file.channels().items()}
    assert sorted(channels) == ["B", "G", "R"] and all(pixels.dtype == np.float32 for pixels in channels.values())
    uv = maps.uv("foreground", 2)
    np.testing.assert_array_equal(channels["R"], (uv[..., 0] + 1) / 2)
    np.testing.assert_array_equal(channels["G"], (1 - uv[..., 1]) / 2)
    matte = read_image(tmp_path / "export" / "foreground" / "matte" / "00002.png")[..., 0]
    np.testing.assert_array_equal(matte, np.round(maps.opacity("foreground", 2) * 255))
    said = (tmp_path / "export" / "README.txt").read_text()
    assert "bottom" in said and "edited.png" not in said and not (tmp_path / "export" / "foreground" / "edited.png").exists()


def test_a_clip_s_name_in_the_explanation_steers_no_terminal(fresh_clip: Clip, tmp_path: Path) -> None:
    pytest.importorskip("OpenEXR")
    fresh_clip.name = "\x1b[31mred\nand a second line"
    fresh_clip.save()
    export(ExportOptions(clip=fresh_clip.folder, output=tmp_path / "export", fit="truth", device="cpu", quiet=True))
    said = (tmp_path / "export" / "README.txt").read_text(encoding="utf-8")
    assert "\x1b" not in said and said.startswith(r"Layers of \x1b[31mred and a second line, front to back")


def test_the_origin_is_at_the_bottom_left() -> None:
    corners = stmap(np.array([[[-1, -1], [1, -1]], [[-1, 1], [1, 1]]], np.float32))
    assert corners[0, 0].tolist() == [0, 1, 0] and corners[1, 1].tolist() == [1, 0, 0]


def test_again_and_over_other_things(painted: Clip, tmp_path: Path) -> None:
    pytest.importorskip("OpenEXR")
    assert "up to date" not in export(options(painted, tmp_path / "export"))
    assert "up to date" in export(options(painted, tmp_path / "export"))
    assert "up to date" not in export(options(painted, tmp_path / "export", edit="paint"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("keep")
    with pytest.raises(UserError, match="no earlier export"):
        export(options(painted, tmp_path / "mine"))
    with pytest.raises(UserError, match="no fit 'none'"):
        export(options(painted, tmp_path / "x", fit="none"))
    with pytest.raises(UserError, match="stands on the fit 'truth', not 'other'"):
        export(options(painted, tmp_path / "x", fit="other", edit="paint"))
    with pytest.raises(UserError, match=r"letter\.txt is no folder that you may write to"):
        export(options(painted, tmp_path / "mine" / "letter.txt" / "export"))
    for place in (painted.folder / "frames" / "export", painted.fit_folder("truth") / "export"):
        with pytest.raises(UserError, match="lies inside the clip"):
            export(options(painted, place))
        assert not place.exists()
    assert (tmp_path / "mine" / "letter.txt").read_text() == "keep" and not (tmp_path / "x").exists()


def test_what_was_added_to_an_export_is_kept(painted: Clip, tmp_path: Path) -> None:
    pytest.importorskip("OpenEXR")
    folder = tmp_path / "export"
    export(options(painted, folder))
    atlas = folder / "foreground" / "atlas.png"
    (folder / ".DS_Store").write_text("a file manager's")
    (folder / "foreground" / "painted.png").write_text("hours of work")
    with pytest.raises(UserError, match=r"painted\.png is none of the files that were exported: move it away"):
        export(options(painted, folder, edit="paint"))
    assert "up to date" in export(options(painted, folder))
    (folder / "foreground" / "painted.png").unlink()
    (folder / "work").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(UserError, match="work is none of the files that were exported"):
        export(options(painted, folder, edit="paint"))
    (folder / "work").unlink()
    exported = atlas.read_bytes()
    atlas.write_text("hours of work")
    with pytest.raises(UserError, match=r"atlas\.png was changed since it was exported"):
        export(options(painted, folder, edit="paint"))
    assert atlas.read_text() == "hours of work"
    atlas.write_bytes(exported)
    export(options(painted, folder, edit="paint"))
    assert (folder / "foreground" / "edited.png").is_file()


def test_without_the_package_one_line_says_what_to_install(
    painted: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    with pytest.raises(UserError, match="pip install OpenEXR"):
        export(options(painted, tmp_path / "export"))
    assert not (tmp_path / "export").exists()
