"""Where a rendering goes and as what: every format of a real edit, and what is refused before any work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atlas.clip.clip import Clip, Source
from atlas.clip.edits import Edit
from atlas.errors import UserError
from atlas.maps.maps import Maps
from atlas.metrics.definitions import psnr
from atlas.rendering.output import check_format, choose_output, shown
from atlas.rendering.stage import RenderOptions, render
from atlas.sample.scene import Sample
from atlas.storage.images import read_image, to_uint16, write_image
from atlas.video.reading import probe
from atlas.video.source import open_source


def options(clip: Clip, **changes: Any) -> RenderOptions:
    return replace(RenderOptions(clip=clip.folder, edit="red", quiet=True, device="cpu"), **changes)


@pytest.fixture
def edited(fresh_clip: Clip, sample: Sample) -> tuple[Clip, np.ndarray]:
    """A clip with the edit "red" of its foreground, and the edited atlas."""
    atlas = sample.atlases["foreground"] * np.array([1, 0.4, 0.3, 1], np.float32)
    atlas[..., 3] = 1
    edit = Edit(fresh_clip.edit_folder("red"), "red", "truth", {"foreground": {"editor": "atlas"}})
    edit.save()
    write_image(edit.atlas_path("foreground"), to_uint16(atlas))
    return fresh_clip, atlas


@pytest.mark.parametrize(("name", "alpha", "file"), [
    ("webm", False, "video.webm"), ("prores", False, "video.mov"), ("webm", True, "layer.webm"), ("prores", True, "layer.mov"),
])  # fmt: skip
def test_videos(edited: tuple[Clip, np.ndarray], name: str, alpha: bool, file: str) -> None:
    clip, _ = edited
    said = render(options(clip, format=name, alpha=alpha))
    info = probe(clip.edit_folder("red") / file)
    assert (info.frames, info.width, info.height, info.fps) == (12, 96, 64, 24) and file in said
    assert "up to date" in render(options(clip, format=name, alpha=alpha))
    assert read_image(clip.edit_folder("red") / "sheet.png").shape[2] == 3


def test_sixteen_bits(edited: tuple[Clip, np.ndarray]) -> None:
    clip, _ = edited
    for name in ("png", "png16"):
        render(options(clip, format=name))
    folder, maps = clip.edit_folder("red"), Maps(clip.fit_folder("truth"))
    for index in range(clip.frames):
        deep, eight = (read_image(folder / name / f"{index:05d}.png") for name in ("frames16", "frames"))
        away = maps.opacity("foreground", index) == 0
        assert deep.dtype == np.uint16 and eight.dtype == np.uint8
        np.testing.assert_array_equal(deep[away], clip.frame(index)[away].astype(np.uint16) * 257)
        assert np.abs(deep / 257 - eight).max() <= 0.51


def test_the_source_keeps_its_sixteen_bits(edited: tuple[Clip, np.ndarray], tmp_path: Path) -> None:
    clip, _ = edited
    frames = [clip.frame(i).astype(np.uint16) * 257 + np.uint16(i + 1) for i in range(clip.frames)]
    for index, frame in enumerate(frames):
        write_image(tmp_path / "deep" / f"{index:05d}.png", frame)
    source = open_source(tmp_path / "deep")
    clip.source = Source(str(source.path), source.sha256, clip.width, clip.height, indices=list(range(12)))
    clip.save()
    render(options(clip, format="png16", size="source"))
    away = Maps(clip.fit_folder("truth")).opacity("foreground", 7) == 0
    result = read_image(clip.edit_folder("red") / "frames16" / "00007.png")
    np.testing.assert_array_equal(result[away], frames[7][away])


def test_the_layer_alone(edited: tuple[Clip, np.ndarray], sample: Sample) -> None:
    """Alpha is the layer's opacity; put over the true background it is the edited film, outlines and all."""
    clip, atlas = edited
    truth = sample.render({"foreground": atlas})
    behind = sample.render({"foreground": np.zeros_like(atlas)})  # what the background gives, weighted already
    for mode in ("delta", "full"):
        render(options(clip, format="png", alpha=True, mode=mode))
        for index in range(clip.frames):
            image = read_image(clip.edit_folder("red") / "layer" / f"{index:05d}.png").astype(np.float32) / 255
            np.testing.assert_allclose(image[..., 3], sample.opacities["foreground"][index], atol=0.01)
            assert psnr(image[..., :3] * image[..., 3:] + behind[index], truth[index]) > 38
            edge = (image[..., 3] > 0.1) & (image[..., 3] < 0.9)
            assert image[edge][:, 0].mean() > image[edge][:, 2].mean() + 0.1  # red to the outline


def test_another_place(edited: tuple[Clip, np.ndarray], tmp_path: Path) -> None:
    clip, _ = edited
    target = tmp_path / "a new folder" / "film.mp4"
    render(options(clip, output=target, crf=30))
    assert probe(target).frames == 12 and not (clip.edit_folder("red") / "video.mp4").exists()
    render(options(clip, output=tmp_path / "images", format="png"))
    render(options(clip, output=tmp_path / "images", format="png", mode="full"))  # its own work is replaced
    assert len(list((tmp_path / "images").glob("*.png"))) == 12


@pytest.mark.parametrize("name", ["mp4", "webm"])
def test_the_rate_factor_reaches_the_encoder(edited: tuple[Clip, np.ndarray], name: str) -> None:
    clip, _ = edited
    path, sizes = clip.edit_folder("red") / f"video.{name}", []
    for crf in (4, 45):
        assert "up to date" not in render(options(clip, format=name, crf=crf))
        sizes.append(path.stat().st_size)
    assert sizes[0] > 3 * sizes[1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": "gif"}, "--format gif is not known: choose one of mp4, webm, prores, png, png16"),
        ({"format": "mp4", "alpha": True}, "holds no transparency: with --alpha choose one of webm, prores, png, png16"),
        ({"format": "prores", "crf": 3}, "has no rate factor"),
        ({"format": "png", "crf": 3}, "--crf is for mp4 and webm"),
        ({"format": "mp4", "crf": 52}, "takes --crf 0 to 51"),
        ({"output": Path("film.mov")}, "end it with .mp4"),
        ({"output": Path("FILE/film.mp4")}, "cannot be written"),
        ({"output": Path("folder.mp4")}, "is a folder"),
        ({"output": Path("FILE"), "format": "png"}, "is a file"),
        ({"output": Path("folder.mp4"), "format": "png"}, "holds other files"),
    ],
)
def test_what_is_refused(edited: tuple[Clip, np.ndarray], tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    clip, _ = edited
    (tmp_path / "FILE").write_text("mine")
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "folder.mp4" / "mine.txt").write_text("mine")
    if "output" in changes:
        changes = changes | {"output": tmp_path / changes["output"]}
    with pytest.raises(UserError) as problem:
        render(options(clip, **changes))
    assert said in str(problem.value) and "\n" not in str(problem.value)
    assert (tmp_path / "folder.mp4" / "mine.txt").read_text() == "mine" and (tmp_path / "FILE").read_text() == "mine"


@pytest.mark.parametrize("where", ["frames", "masks/foreground", "edits/red/keyframes", "fits/truth/film", "."])
def test_the_clip_is_not_rendered_over(edited: tuple[Clip, np.ndarray], where: str) -> None:
    clip, _ = edited
    (clip.folder / "edits" / "red" / "keyframes").mkdir(exist_ok=True)
    write_image(clip.folder / "edits" / "red" / "keyframes" / "00000.png", clip.frame(0))
    before = clip.frame_path(0).read_bytes()
    with pytest.raises(UserError, match="choose another --output"):
        render(options(clip, format="png", output=clip.folder / where))
    assert clip.frame_path(0).read_bytes() == before


def test_other_images_are_not_replaced_but_an_own_rendering_is(edited: tuple[Clip, np.ndarray], tmp_path: Path) -> None:
    clip, _ = edited
    write_image(tmp_path / "mine" / "00000.png", clip.frame(0))
    with pytest.raises(UserError, match="holds other files"):
        render(options(clip, format="png", output=tmp_path / "mine"))
    source = Path(clip.source.path)
    if source.exists():
        with pytest.raises(UserError, match="would be lost"):
            render(options(clip, format="png", output=source))
    for _ in range(2):
        render(options(clip, format="png", output=tmp_path / "new"))
    assert len(list((tmp_path / "new").glob("*.png"))) == clip.frames
    (tmp_path / "new" / ".gitignore").write_text("*.png")
    (tmp_path / "new" / "00000.png").unlink()  # so that there is something to do
    (tmp_path / "new" / "older").symlink_to(tmp_path / "mine", target_is_directory=True)
    render(options(clip, format="png", output=tmp_path / "new"))
    assert (tmp_path / "new" / ".gitignore").read_text() == "*.png" and (tmp_path / "new" / "older").is_symlink()
    assert len(list((tmp_path / "new").glob("*.png"))) == clip.frames


def test_usual_names(fresh_clip: Clip) -> None:
    formats = ("png", "png16", "webm", "prores")
    names = {(f, a): choose_output(fresh_clip, "red", f, alpha=a).path.name for f in formats for a in (False, True)}
    assert len(set(names.values())) == 8
    check_format("mp4", crf=51)


def test_transparency_is_shown_over_a_board() -> None:
    image = np.zeros((64, 64, 4), np.uint16)
    image[:32] = 65535
    result = shown(image)
    assert result.dtype == np.uint8 and (result[:32] == 255).all() and 80 < result[32:].mean() < 140
