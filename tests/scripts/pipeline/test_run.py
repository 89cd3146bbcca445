"""All stages from one command, on the smallest sample."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from aggregate.stage import AggregateOptions
from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.maps.maps import Maps
from atlas.preparation.options import PrepareOptions
from atlas.sample.files import write_sample
from atlas.sample.scene import Sample
from atlas.storage.images import read_image, write_image
from atlas.system.command import parse_options
from atlas.video.reading import probe
from scripts.pipeline.run import RunOptions, _part, default_name, run

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "run.py"


@pytest.fixture(scope="module")
def footage(sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample as footage in a folder whose name has a space and letters beyond ASCII."""
    folder = tmp_path_factory.mktemp("run") / "séquence 1"
    write_sample(sample, folder)
    return folder


def command(footage: Path, clip: Path, *more: str) -> list[str]:
    source = [str(footage / "frames"), str(clip), "--masks", str(footage / "masks")]
    return [*source, "--preset", "preview", "--method", "mean", "--quiet", *more]


def test_from_source_to_video_and_again(footage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = command(footage, tmp_path / "clip", "--editor", "filter", "--filter", "recolour")
    run(parse_options(RunOptions, arguments))
    clip = Clip.open(tmp_path / "clip")
    video = clip.edit_folder("recolour") / "video.mp4"
    assert probe(video).frames == clip.frames
    fitted = (clip.fit_folder("default") / "maps" / "maps.json").stat().st_mtime_ns
    capsys.readouterr()

    run(parse_options(RunOptions, arguments))
    said = capsys.readouterr().out
    assert said.count("up to date") == 5

    # Another edit of the same fit, as frames: what is not of the layer is the prepared frame.
    run(
        parse_options(
            RunOptions, [*command(footage, tmp_path / "clip"), "--editor", "filter", "--filter", "invert"] + ["--format", "png"]
        )
    )
    assert (clip.fit_folder("default") / "maps" / "maps.json").stat().st_mtime_ns == fitted
    maps = Maps(clip.fit_folder("default"))
    for index in range(clip.frames):
        result = read_image(clip.edit_folder("invert") / "frames" / f"{index:05d}.png")
        away = maps.opacity("foreground", index) == 0
        np.testing.assert_array_equal(result[away], clip.frame(index)[away])


def test_a_wrong_edit_is_found_before_anything_is_made(footage: Path, tmp_path: Path) -> None:
    clip = tmp_path / "clip"
    for more, message in (
        (["--editor", "filter", "--filter", "recolor"], "no filter 'recolor'"),
        (["--editor", "filter"], "--editor filter needs --filter"),
        (["--editor", "dream"], "no dream editor"),
        (["--editor", "images", "--images", str(tmp_path / "none")], "is missing"),
        (["--editor", "filter", "--filter", "hue", "--keyframes", "auto:0"], "is not understood"),
        (["--editor", "filter", "--filter", "hue", "--image", "x.png"], "--image is for --editor atlas"),
        (["--editor", "filter", "--filter", "hue", "--format", "avi"], "--format avi is not known"),
        (["--editor", "filter", "--filter", "hue", "--name", "../out"], "cannot name a folder"),
        (["--editor", "filter", "--filter", "hue", "--layer", "all"], "--layer all, the whole frame, is for --on frames"),
        (["--editor", "filter", "--filter", "hue", "--mode", "frames"], "--mode frames is for --on frames"),
        (["--editor", "filter", "--filter", "hue", "--layer", "all", "--on", "frames", "--mode", "delta"], "have none"),
        (["--editor", "filter", "--filter", "hue", "--on", "frames", "--keyframes", "0,1"], "leave one of them out"),
    ):
        with pytest.raises(UserError, match=message):
            run(parse_options(RunOptions, command(footage, clip, *more)))
        assert not clip.exists()
    late, small = tmp_path / "late", tmp_path / "small"
    write_image(late / "00012.png", np.zeros((64, 96, 3), np.uint8))
    write_image(small / "00003.png", np.zeros((60, 96, 3), np.uint8))
    for more, message in (
        (["--editor", "images", "--images", str(late)], "keyframe 12 is past the end"),
        (["--editor", "images", "--images", str(small)], "00003.png is 96x60"),
        (["--editor", "images", "--images", str(small), "--keyframes", "4"], "no image of keyframe 4"),
        (["--editor", "images", "--images", str(small), "--on", "frames"], "no image of frame 0, 1, 2 and 8 more"),
        (["--editor", "filter", "--filter", "hue", "--layer", "sky"], "no layer 'sky'"),
        (["--editor", "filter", "--filter", "hue", "--keyframes", "0,12"], "keyframe 12 is past the end"),
    ):
        with pytest.raises(UserError, match=message):
            run(parse_options(RunOptions, command(footage, clip, *more)))
        assert not (clip / "fits").exists()


def test_every_frame_is_rendered_as_it_was_edited(footage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whole frames need no fit, a layer's do; neither is merged in the atlas."""
    command_line = [*command(footage, tmp_path / "clip"), "--on", "frames", "--editor", "filter", "--filter", "invert"]
    run(parse_options(RunOptions, [*command_line, "--layer", "all", "--format", "png"]))
    said = capsys.readouterr().out
    assert "[fit] left out: whole frames are edited" in said and "[aggregate] left out: every frame" in said
    clip = Clip.open(tmp_path / "clip")
    assert not (clip.folder / "fits").exists()
    for index in range(clip.frames):
        result = read_image(clip.edit_folder("invert") / "frames" / f"{index:05d}.png")
        np.testing.assert_array_equal(result, 255 - clip.frame(index))
    closing = run(parse_options(RunOptions, [*command_line, "--name", "layer", "--format", "png"]))
    assert "[aggregate] left out" in capsys.readouterr().out and "keyframes/foreground" in Path(closing).as_posix()
    maps = Maps(clip.fit_folder("default"))
    for index in range(clip.frames):
        result, opacity = (
            read_image(clip.edit_folder("layer") / "frames" / f"{index:05d}.png"),
            maps.opacity("foreground", index),
        )
        np.testing.assert_array_equal(result[opacity == 0], clip.frame(index)[opacity == 0])
        np.testing.assert_array_equal(result[opacity == 1], 255 - clip.frame(index)[opacity == 1])
    run(parse_options(RunOptions, [*command_line, "--name", "layer", "--mode", "delta"]))
    assert "[aggregate" in capsys.readouterr().out and (clip.edit_folder("layer") / "atlas" / "foreground.png").is_file()


def test_the_name_of_the_edit() -> None:
    for more, name in (
        (["--editor", "filter", "--filter", "recolour:color=red"], "recolour"),
        (["--editor", "images", "--images", "x"], "images"),
    ):
        assert default_name(parse_options(RunOptions, ["a", "b", *more])) == name


def test_one_line_and_status_two(tmp_path: Path) -> None:
    arguments = [str(tmp_path / "missing.mp4"), str(tmp_path / "clip"), "--editor", "filter", "--filter", "hue"]
    done = subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_steps_are_those_of_the_edit() -> None:
    """aggregate.py has a --steps too; in one command with the edit it takes its default."""
    options = parse_options(RunOptions, ["a", "b", "--editor", "diffusion", "--prompt", "a cat", "--steps", "7"])
    assert (options.steps, options.merge_steps) == (7, AggregateOptions.merge_steps)
    assert parse_options(AggregateOptions, ["clip", "--edit", "x", "--steps", "7"]).merge_steps == 7


def test_masks_by_networks_are_passed_on() -> None:
    options = ["--masks", "points:0:1,2", "--segmenter", "sam", "--detector", "dino", "--salient", "red.onnx", "--offline"]
    passed = _part(PrepareOptions, parse_options(RunOptions, ["film.mp4", "clip", "--editor", "filter", *options]))
    assert (passed.masks, passed.segmenter, passed.detector, passed.salient) == (
        "points:0:1,2",
        "sam",
        "dino",
        Path("red.onnx"),
    )
    assert passed.offline and passed.clip == Path("clip")
    with pytest.raises(UserError, match="PATH .*required"):
        parse_options(RunOptions, ["film.mp4", "--editor", "filter"])
