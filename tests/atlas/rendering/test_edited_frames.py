"""Edits of every frame, rendered: known answers, which mode is meant, and frames that cannot be laid over."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from atlas.clip.clip import Clip, Source
from atlas.clip.edits import Edit
from atlas.errors import UserError
from atlas.maps.maps import Maps, fit_identity
from atlas.metrics.definitions import psnr
from atlas.rendering.frames import Rendering, RenderSettings
from atlas.rendering.stage import RenderOptions, render
from atlas.sample.scene import Sample
from atlas.storage.images import read_image, to_8_bit, to_uint8, write_image
from atlas.storage.stamps import write_json, write_stamp
from atlas.video.reading import probe, read_frames
from atlas.video.source import open_source


def on_frames(clip: Clip, name: str, frames: dict[str, list[np.ndarray]], **other: dict) -> Edit:
    """An edit as the edit stage leaves it: for each layer its edited frames, (H, W, 4), as they are stored."""
    requests = {layer: {"editor": "images", "on": "frames", "frames": [*range(clip.frames)]} for layer in frames}
    edit = Edit(clip.edit_folder(name), name, "truth", requests | other)
    edit.save()
    for layer, images in frames.items():
        for index, image in enumerate(images):
            write_image(edit.keyframe_path(layer, index), image)
    return edit


def options(clip: Clip, edit: str, **changes: object) -> RenderOptions:
    return replace(RenderOptions(clip=clip.folder, edit=edit, quiet=True, device="cpu", format="png"), **changes)


def rendered(clip: Clip, edit: str, folder: str = "frames") -> list[np.ndarray]:
    return [read_image(clip.edit_folder(edit) / folder / f"{i:05d}.png") for i in range(clip.frames)]


def opaque(images: list[np.ndarray]) -> list[np.ndarray]:
    return [np.dstack([image, np.full(image.shape[:2], 255, np.uint8)]) for image in images]


def negatives(clip: Clip, layer: str | None = None) -> list[np.ndarray]:
    """Negatives of whole frames, or cut out by a layer's opacity."""
    images = opaque([255 - clip.frame(index) for index in range(clip.frames)])
    if layer:
        maps = Maps(clip.fit_folder("truth"))
        for index, image in enumerate(images):
            image[..., 3] = to_uint8(maps.opacity(layer, index))
    return images


@pytest.fixture
def unfitted(fresh_clip: Clip) -> Clip:
    """A clip as prepare leaves it."""
    shutil.rmtree(fresh_clip.folder / "fits")
    return fresh_clip


def test_whole_frames_are_the_result_to_the_bit(unfitted: Clip) -> None:
    on_frames(unfitted, "negative", {"all": negatives(unfitted)})
    assert "12 frames of 96x64" in render(options(unfitted, "negative"))
    np.testing.assert_array_equal(rendered(unfitted, "negative"), [255 - unfitted.frame(i) for i in range(12)])
    assert "up to date" in render(options(unfitted, "negative", mode="frames"))
    render(options(unfitted, "negative", format="png16"))
    deep = rendered(unfitted, "negative", "frames16")
    assert deep[3].dtype == np.uint16
    np.testing.assert_array_equal(to_8_bit(deep[3]), 255 - unfitted.frame(3))
    rendering = Rendering.open(unfitted.folder, "negative")
    assert rendering.maps is None and rendering.settings.mode == "frames" and rendering.layers == {}


def test_transparent_pixels_of_whole_frames_are_the_source(unfitted: Clip) -> None:
    images = negatives(unfitted)
    for image in images:
        image[:, :30, 3] = 0
    on_frames(unfitted, "half", {"all": images})
    render(options(unfitted, "half"))
    render(options(unfitted, "half", alpha=True))
    alone = rendered(unfitted, "half", "layer")
    for index, result in enumerate(rendered(unfitted, "half")):
        np.testing.assert_array_equal(result[:, :30], unfitted.frame(index)[:, :30])
        np.testing.assert_array_equal(result[:, 30:], 255 - unfitted.frame(index)[:, 30:])
        np.testing.assert_array_equal(alone[index][:, 30:], images[index][:, 30:])
        assert not alone[index][:, :30, 3].any()


def test_a_film_of_whole_frames(unfitted: Clip) -> None:
    on_frames(unfitted, "film", {"all": negatives(unfitted)})
    for kind, suffix in (("mp4", ".mp4"), ("webm", ".webm"), ("prores", ".mov")):
        render(options(unfitted, "film", format=kind))
        path = unfitted.edit_folder("film") / f"video{suffix}"
        assert probe(path).frames == 12
        assert min(psnr(frame[..., :3], 255 - unfitted.frame(i)) for i, frame in enumerate(read_frames(path))) > 25
    assert read_image(unfitted.edit_folder("film") / "sheet.png").shape[0] > 2 * 64


def test_a_layer_is_laid_over(fresh_clip: Clip, sample: Sample) -> None:
    on_frames(fresh_clip, "negative", {"foreground": negatives(fresh_clip, "foreground")})
    render(options(fresh_clip, "negative"))
    maps = Maps(fresh_clip.fit_folder("truth"))
    for index, result in enumerate(rendered(fresh_clip, "negative")):
        opacity, frame = maps.opacity("foreground", index), sample.frames[index]
        np.testing.assert_array_equal(result[opacity == 0], frame[opacity == 0])
        np.testing.assert_array_equal(result[opacity == 1], 255 - frame[opacity == 1])
        assert (result[opacity > 0] != frame[opacity > 0]).any()


def test_the_source_laid_over_itself_is_the_source(fresh_clip: Clip, sample: Sample) -> None:
    maps = Maps(fresh_clip.fit_folder("truth"))
    same = {
        layer: [np.dstack([sample.frames[i], to_uint8(maps.opacity(layer, i))]) for i in range(fresh_clip.frames)]
        for layer in fresh_clip.layers
    }
    on_frames(fresh_clip, "same", same)
    render(options(fresh_clip, "same"))
    np.testing.assert_array_equal(rendered(fresh_clip, "same"), sample.frames)
    on_frames(fresh_clip, "opaque", {layer: opaque(list(sample.frames)) for layer in fresh_clip.layers})  # by a painter
    render(options(fresh_clip, "opaque", format="png16"))
    np.testing.assert_array_equal(to_8_bit(np.stack(rendered(fresh_clip, "opaque", "frames16"))), sample.frames)


def test_a_layer_alone_on_transparent(fresh_clip: Clip, sample: Sample) -> None:
    images = negatives(fresh_clip, "foreground")
    on_frames(fresh_clip, "negative", {"foreground": images})
    render(options(fresh_clip, "negative", alpha=True))
    maps = Maps(fresh_clip.fit_folder("truth"))
    for index, result in enumerate(rendered(fresh_clip, "negative", "layer")):
        opacity = maps.opacity("foreground", index)
        np.testing.assert_array_equal(result[..., 3], to_uint8(opacity))
        np.testing.assert_array_equal(result[opacity == 1][:, :3], images[index][opacity == 1][:, :3])


def test_beside_a_layer_whose_atlas_was_painted(fresh_clip: Clip, sample: Sample) -> None:
    """The background's atlas, the foreground's frames: each is as it is in an edit of its own, where it is seen alone."""
    grey = sample.atlases["background"].copy()
    grey[..., :3] = grey[..., :3].mean(-1, keepdims=True)
    painted = {"background": {"editor": "atlas"}}
    for name, frames in (("both", {"foreground": negatives(fresh_clip, "foreground")}), ("back", {})):
        write_image(on_frames(fresh_clip, name, frames, **painted).atlas_path("background"), to_uint8(grey))
        render(options(fresh_clip, name))
    maps = Maps(fresh_clip.fit_folder("truth"))
    for index, (result, back) in enumerate(zip(rendered(fresh_clip, "both"), rendered(fresh_clip, "back"), strict=True)):
        opacity = maps.opacity("foreground", index)
        np.testing.assert_array_equal(result[opacity == 0], back[opacity == 0])
        np.testing.assert_array_equal(result[opacity == 1], 255 - sample.frames[index][opacity == 1])
        assert (back != sample.frames[index]).any()


def test_a_repainted_frame_is_picked_up(unfitted: Clip) -> None:
    edit = on_frames(unfitted, "negative", {"all": negatives(unfitted)})
    render(options(unfitted, "negative"))
    paint = np.full((64, 96, 3), 60000, np.uint16)  # saved with 16 bits and without alpha
    write_image(edit.keyframe_path("all", 4), paint)
    assert "up to date" not in render(options(unfitted, "negative"))
    result = rendered(unfitted, "negative")
    assert (result[4] == to_8_bit(paint)).all()
    np.testing.assert_array_equal(result[5], 255 - unfitted.frame(5))
    render(options(unfitted, "negative", format="png16"))
    assert (rendered(unfitted, "negative", "frames16")[4] == 60000).all()


def test_which_mode_is_meant(fresh_clip: Clip, sample: Sample) -> None:
    edit = on_frames(fresh_clip, "both", {"foreground": negatives(fresh_clip, "foreground")})

    def mode() -> str:
        return Rendering.open(fresh_clip.folder, "both").settings.mode

    assert mode() == "frames"
    atlas = edit.atlas_path("foreground")
    write_image(atlas, to_uint8(sample.atlases["foreground"]))
    assert mode() == "delta"  # merged since
    render(options(fresh_clip, "both"))
    np.testing.assert_array_equal(rendered(fresh_clip, "both"), sample.frames)
    later = atlas.stat().st_mtime_ns + 10**9
    os.utime(edit.keyframe_path("foreground", 3), ns=(later, later))
    assert mode() == "frames"  # repainted since
    for chosen in ("delta", "full", "frames"):
        assert Rendering.open(fresh_clip.folder, "both", RenderSettings(mode=chosen)).settings.mode == chosen


def test_the_size_of_the_source(fresh_clip: Clip, sample: Sample, tmp_path: Path) -> None:
    large = [cv2.resize(frame, (192, 128), interpolation=cv2.INTER_CUBIC) for frame in sample.frames]
    for index, frame in enumerate(large):
        write_image(tmp_path / "large" / f"{index:05d}.png", frame)
    source = open_source(tmp_path / "large")
    fresh_clip.source = Source(str(source.path), source.sha256, 192, 128, indices=list(range(12)))
    fresh_clip.save()
    for name, layer in (("whole", None), ("layer", "foreground")):
        on_frames(fresh_clip, name, {layer or "all": negatives(fresh_clip, layer)})
        render(options(fresh_clip, name, size="source"))
        enlarged = rendered(fresh_clip, name)
        render(options(fresh_clip, name))
        for one, other, frame in zip(enlarged, rendered(fresh_clip, name), large, strict=True):
            assert one.shape == (128, 192, 3)
            assert psnr(cv2.resize(one, (96, 64), interpolation=cv2.INTER_AREA), other) > 28
            if layer:
                assert (one == frame).all(-1).mean() > 0.5  # away from the layer the source itself


def test_frames_that_cannot_be_laid_over(fresh_clip: Clip, sample: Sample) -> None:
    edit = on_frames(fresh_clip, "negative", {"foreground": negatives(fresh_clip, "foreground")})
    for mode, said in (("delta", "no edited atlas of foreground: run"), ("full", "no edited atlas of foreground: run")):
        with pytest.raises(UserError, match=said):
            render(options(fresh_clip, "negative", mode=mode))
    edit.keyframe_path("foreground", 2).unlink()
    with pytest.raises(UserError, match=r"keyframes/foreground lacks frame 2: bring back what was deleted, or run"):
        render(options(fresh_clip, "negative"))
    for index in range(8):
        edit.keyframe_path("foreground", index).unlink(missing_ok=True)
    with pytest.raises(UserError, match=r"lacks frames 0, 1, 2 and 5 more:"):
        render(options(fresh_clip, "negative"))
    edit = on_frames(fresh_clip, "negative", {"foreground": negatives(fresh_clip, "foreground")})
    write_image(edit.keyframe_path("foreground", 11), np.zeros((4, 4, 4), np.uint8))
    with pytest.raises(UserError, match=r"00011.png is 4x4, the clip's frames are 96x64: save it without scaling"):
        render(options(fresh_clip, "negative"))
    edit.keyframe_path("foreground", 11).write_bytes(b"no image")
    with pytest.raises(UserError, match=r"00011.png is not a readable image"):
        render(options(fresh_clip, "negative"))
    on_frames(fresh_clip, "mixed", {"foreground": negatives(fresh_clip, "foreground")}, background={"editor": "filter"})
    with pytest.raises(UserError, match=r"no edited atlas of background: run scripts/aggregate\.py"):
        render(options(fresh_clip, "mixed"))
    on_frames(fresh_clip, "whole", {"all": negatives(fresh_clip)})
    for mode in ("delta", "full"):
        with pytest.raises(
            UserError, match="is an edit of whole frames, of which there is no atlas: render it with --mode frames"
        ):
            render(options(fresh_clip, "whole", mode=mode))
    other = Edit(fresh_clip.edit_folder("paint"), "paint", "truth", {"foreground": {"editor": "atlas"}})
    other.save()
    write_image(other.atlas_path("foreground"), to_uint8(sample.atlases["foreground"]))
    with pytest.raises(UserError, match="no layer of .*paint was edited with --on frames: leave --mode frames out"):
        render(options(fresh_clip, "paint", mode="frames"))
    assert not [path for name in ("negative", "mixed", "whole", "paint") for path in (fresh_clip.edit_folder(name)).glob("fr*")]


def test_frames_of_an_earlier_fit_or_clip_are_refused(fresh_clip: Clip) -> None:
    edit = on_frames(fresh_clip, "layer", {"foreground": negatives(fresh_clip, "foreground")})
    maps = Maps(fresh_clip.fit_folder("truth"))
    edit.sign_frames("foreground", fit_identity(fresh_clip, maps, "foreground"))
    render(options(fresh_clip, "layer"))
    write_stamp(maps.folder, "fitted again")
    with pytest.raises(UserError, match="the fit 'truth' has changed since .* was made on it: run scripts/edit.py again"):
        render(options(fresh_clip, "layer"))
    whole = on_frames(fresh_clip, "whole", {"all": negatives(fresh_clip)})
    whole.sign_frames("all", fresh_clip.identity())
    render(options(fresh_clip, "whole"))
    write_json(fresh_clip.folder / "stamp.json", {"made_from": "prepared again"})
    with pytest.raises(UserError, match="the clip .* has changed since .* was made on it: run scripts/edit.py again"):
        render(options(fresh_clip, "whole"))
