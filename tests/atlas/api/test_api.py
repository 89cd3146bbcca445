"""The Python interface on a small clip: the same results as the commands, arrays in and out, and the text of docs/python.md."""

from __future__ import annotations

import inspect
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

import aggregate
import atlas
import edit
from aggregate.stage import AggregateOptions
from atlas.clip.clip import Clip
from atlas.evaluation.stage import EvaluateOptions
from atlas.fitting.stage import FitOptions
from atlas.preparation.stage import PrepareOptions
from atlas.rendering.frames import Rendering
from atlas.rendering.stage import RenderOptions
from atlas.sample.scene import Sample
from atlas.storage.images import read_image
from edit.editors import EditOptions

ROOT = Path(__file__).resolve().parents[3]


def test_arrays_become_a_clip_and_come_back(sample: Sample, tmp_path: Path) -> None:
    frames = np.stack(sample.frames)
    inside = np.stack(sample.opacities["foreground"]) > 0.5
    clip = atlas.prepare(frames, tmp_path / "clip", masks=np.where(inside, np.uint8(255), np.uint8(0)))
    assert (clip.frames, clip.height, clip.width) == frames.shape[:3]
    np.testing.assert_array_equal(clip.frame(5), frames[5])
    np.testing.assert_array_equal(clip.mask("foreground", 5) > 127, inside[5])
    again = atlas.prepare(frames, str(tmp_path / "clip"), masks=np.where(inside, np.uint8(255), np.uint8(0)))
    assert again.folder == clip.folder


def test_a_fit_gives_its_arrays(sample: Sample, sample_clip: Clip) -> None:
    truth = atlas.Fit(sample_clip.folder, "truth")
    assert truth.layers == sample_clip.layers and str(sample_clip.folder) in repr(truth)
    side = truth.atlas("foreground").shape[0]
    assert truth.atlas("foreground").shape == (side, side, 4)
    np.testing.assert_allclose(truth.uv("background", 3), sample.uvs["background"][3], atol=1e-4)
    total = sum(truth.opacity(layer, 3) for layer in truth.layers)
    np.testing.assert_allclose(total, 1, atol=1e-6)
    assert truth.light("background", 3).shape == (sample_clip.height, sample_clip.width, 3)
    with pytest.raises(atlas.UserError, match="has no layer 'sky'"):
        truth.uv("sky", 0)


def test_a_stage_after_the_other_equals_the_commands(fresh_clip: Clip) -> None:
    red = edit.edit(
        fresh_clip, "red", layer="foreground", fit="truth", editor="filter", filter="recolour:color=red", keyframes="2,8"
    )
    assert sorted(red.keyframes("foreground")) == [2, 8] and red.layers == ["foreground"]
    assert aggregate.aggregate(red, method="mean") is red
    film = atlas.render(red)
    assert film == red.folder / "video.mp4" and film.is_file()
    rendered = list(red)
    assert len(rendered) == len(red) == fresh_clip.frames
    expected = [result for _, result in Rendering.open(fresh_clip.folder, "red").frames()]
    np.testing.assert_array_equal(rendered, expected)
    assert (rendered[5] != fresh_clip.frame(5)).any()
    measured = atlas.evaluate(red)
    assert measured["fit"] == "truth" and measured["edit"]["keyframe_fidelity"]["foreground"] < 0.02
    assert atlas.evaluate(red.fit)["reconstruction"] == measured["reconstruction"]
    assert atlas.render(fresh_clip.folder, edit="red") == film, "a clip and a name stand for the edit, as on the command line"
    assert aggregate.aggregate(fresh_clip, edit="red", method="mean").folder == red.folder
    with pytest.raises(TypeError, match="edit=NAME"):
        atlas.render(fresh_clip)


def test_images_and_atlases_are_given_as_arrays(fresh_clip: Clip) -> None:
    painted = {index: 255 - fresh_clip.frame(index) for index in (1, 7)}
    negative = edit.edit(fresh_clip, "negative", layer="foreground", fit="truth", editor="images", images=painted)
    inside = negative.fit.opacity("foreground", 7) > 0
    got = negative.keyframes("foreground")[7]
    np.testing.assert_allclose(got[inside][:, :3] * 255, painted[7][inside], atol=0.51)
    whole = atlas.Fit(fresh_clip, "truth").atlas("background")
    whole[..., 0] = 1
    keep = np.zeros(whole.shape[:2], np.uint8)
    keep[: len(keep) // 2] = 255
    paint = edit.edit(fresh_clip, "paint", layer="background", fit="truth", editor="atlas", image=whole, keep=keep)
    np.testing.assert_array_equal(read_image(paint.folder / "keep" / "background.png")[..., 0], keep)
    assert paint.keyframes("background") == {} and (next(iter(paint.frames())) != fresh_clip.frame(0)).any()


def test_every_frame_is_given_as_one_array(fresh_clip: Clip) -> None:
    shutil.rmtree(fresh_clip.folder / "fits")
    painted = np.stack([255 - fresh_clip.frame(index) for index in range(fresh_clip.frames)])
    negative = edit.edit(fresh_clip, "negative", layer="all", on="frames", editor="images", images=painted)
    np.testing.assert_array_equal(list(negative), painted)
    assert sorted(negative.keyframes("all")) == list(range(fresh_clip.frames))
    assert atlas.render(negative, format="png") == negative.folder / "frames"
    grey = edit.edit(fresh_clip, "grey", layer="all", on="frames", editor="filter", filter="grey")
    assert all(np.ptp(frame, axis=-1).max() == 0 for frame in grey)
    assert atlas.evaluate(grey)["fit"] is None
    with pytest.raises(atlas.UserError, match="has no layer 'sky'"):
        grey.keyframes("sky")


@pytest.mark.parametrize(
    ("function", "options"),
    [
        (atlas.prepare, PrepareOptions),
        (atlas.fit, FitOptions),
        (atlas.render, RenderOptions),
        (atlas.evaluate, EvaluateOptions),
        (edit.edit, EditOptions),
        (aggregate.aggregate, AggregateOptions),
    ],
)
def test_keywords_are_the_options_of_the_command(function, options) -> None:
    keywords = inspect.signature(function).parameters
    assert {field.name for field in fields(options)} - {"clip", "edit"} <= set(keywords)
    given = {"source", "clip", "edit", "edited", "name", "measured"}
    for field in fields(options):
        if field.name in keywords and field.name not in given and isinstance(field.default, (str, int, float, bool)):
            assert keywords[field.name].default == (True if field.name == "quiet" else field.default), field.name


def test_mistakes_are_told_as_python_does(fresh_clip: Clip) -> None:
    with pytest.raises(TypeError, match="presett"):
        atlas.fit(fresh_clip, presett="preview")
    with pytest.raises(atlas.UserError, match="has no edit 'gold'"):
        atlas.Edit(fresh_clip, "gold")
    with pytest.raises(atlas.UserError, match="preset='quick': choose one of 'preview', 'standard', 'best', 'nla'"):
        atlas.fit(fresh_clip, preset="quick")
    with pytest.raises(atlas.UserError, match="strategy='best': choose one of 'propagate', .*, None"):
        edit.edit(fresh_clip, "gold", layer="foreground", editor="filter", filter="invert", strategy="best")
    with pytest.raises(AttributeError, match="atlass"):
        _ = atlas.atlass  # type: ignore[attr-defined]


def test_importing_loads_neither_torch_nor_the_stages() -> None:
    program = (
        "import sys, atlas, edit, aggregate; print([m for m in sys.modules if m.split('.')[0] in ('torch', 'cv2', 'tyro')])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert {"Clip", "Edit", "Fit", "evaluate", "fit", "prepare", "render"} <= set(dir(atlas))
