"""The edit stage on a clip whose layers are known: what it writes, what it leaves, what it refuses."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atlas.clip.clip import Clip
from atlas.clip.edits import Edit
from atlas.errors import UserError
from atlas.maps.maps import Maps
from atlas.storage.images import read_image, to_uint8, write_image
from atlas.storage.stamps import read_json, write_json
from edit.editors import EditOptions
from edit.stage import edit


def options(clip: Clip, **changes: Any) -> EditOptions:
    given = {"name": "test", "layer": "foreground", "fit": "truth", "editor": "filter", "filter": "invert"}
    given |= {"keyframes": "0,6"} if changes.get("editor", "filter") == "filter" else {"filter": None}
    return EditOptions(clip=clip.folder, quiet=True, **(given | changes))


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}


def test_filter_writes_cut_out_keyframes(fresh_clip: Clip) -> None:
    result = edit(options(fresh_clip))
    maps = Maps(fresh_clip.fit_folder("truth"))
    assert result.keyframes == [0, 6] and 0 < (result.covered or 0) <= 1
    image, frame = read_image(result.edit.keyframe_path("foreground", 6)), fresh_clip.frame(6)
    opacity = to_uint8(maps.opacity("foreground", 6))
    assert np.array_equal(image[..., 3], opacity)
    assert np.array_equal(image[..., :3], np.where(opacity[..., None] > 0, 255 - frame, frame))


def test_an_unchanged_request_leaves_repainted_keyframes_alone(fresh_clip: Clip) -> None:
    first = edit(options(fresh_clip))
    keyframe = first.edit.keyframe_path("foreground", 6)
    write_image(keyframe, np.full((fresh_clip.height, fresh_clip.width, 4), 90, np.uint8))
    before = snapshot(first.edit.folder)
    assert edit(options(fresh_clip)).up_to_date
    assert snapshot(first.edit.folder) == before


def test_a_changed_request_keeps_what_was_repainted_elsewhere(fresh_clip: Clip) -> None:
    first = edit(options(fresh_clip))
    keyframe = first.edit.keyframe_path("foreground", 6)
    write_image(keyframe, np.full((fresh_clip.height, fresh_clip.width, 4), 90, np.uint8))
    again = edit(options(fresh_clip, filter="grey"))
    folder = again.edit.folder / "replaced" / "keyframes" / "foreground"
    assert (read_image(folder / "00006.png") == 90).all()
    said = f"keyframe 6 of {keyframe.parent} was repainted by hand: kept as {folder}, with the others"
    assert again.notes == [said]
    assert not (read_image(keyframe) == 90).all()


def test_what_is_said_of_keyframes_that_were_repainted_is_true(fresh_clip: Clip) -> None:
    entry = edit(options(fresh_clip, keyframes="0,6")).edit
    folder = entry.keyframes_folder("foreground")
    for index in (0, 6):
        write_image(folder / f"{index:05d}.png", np.full((fresh_clip.height, fresh_clip.width, 4), 90, np.uint8))
    moved = entry.folder / "replaced" / "keyframes" / "foreground"
    all_of_them = f"keyframes 0 and 6 of {folder} were repainted by hand: kept as {moved}"
    assert edit(options(fresh_clip, keyframes="0,6", filter="grey")).notes == [all_of_them]
    (folder / "00000.png").unlink()  # nobody repainted the other one
    taken_away = f"{folder} was changed by hand: kept as {moved}-2"
    assert edit(options(fresh_clip, keyframes="0,6", filter="sepia")).notes == [taken_away]
    assert edit(options(fresh_clip, keyframes="0,6", filter="invert")).notes == []


def test_what_was_repainted_before_that_is_kept_too(fresh_clip: Clip) -> None:
    for grey, name in ((90, "grey"), (30, "sepia"), (60, "invert")):
        painted = edit(options(fresh_clip, filter=name)).edit.keyframe_path("foreground", 6)
        write_image(painted, np.full((fresh_clip.height, fresh_clip.width, 4), grey, np.uint8))
    last = edit(options(fresh_clip, filter="blur"))
    kept = last.edit.folder / "replaced" / "keyframes"
    found = [read_image(kept / name / "00006.png")[0, 0, 0] for name in ("foreground", "foreground-2", "foreground-3")]
    assert found == [90, 30, 60]


def test_a_deleted_keyframe_is_made_again(fresh_clip: Clip) -> None:
    first = edit(options(fresh_clip))
    first.edit.keyframe_path("foreground", 6).unlink()
    assert not edit(options(fresh_clip)).up_to_date
    assert first.edit.keyframe_path("foreground", 6).is_file()


def test_adding_a_layer_keeps_the_other(fresh_clip: Clip) -> None:
    first = edit(options(fresh_clip))
    before = snapshot(first.edit.keyframes_folder("foreground"))
    edit(options(fresh_clip, layer="background", filter="grey", keyframes="3"))
    assert snapshot(first.edit.keyframes_folder("foreground")) == before
    opened = Edit.open(fresh_clip, "test")
    assert list(opened.layers) == ["foreground", "background"]
    assert opened.layers["background"] == {"editor": "filter", "keyframes": "3", "seed": 0, "filter": "grey", "frames": [3]}
    assert edit(options(fresh_clip)).up_to_date


def test_the_fit_is_not_touched_and_results_repeat(fresh_clip: Clip) -> None:
    before = snapshot(fresh_clip.folder / "fits")
    one = edit(options(fresh_clip, name="one", keyframes=None)).edit
    two = edit(options(fresh_clip, name="two", keyframes="auto:5")).edit
    assert snapshot(fresh_clip.folder / "fits") == before
    assert [p.name for p in one.keyframes("foreground").values()] == [p.name for p in two.keyframes("foreground").values()]
    for a, b in zip(one.keyframes("foreground").values(), two.keyframes("foreground").values(), strict=True):
        assert a.read_bytes() == b.read_bytes()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"layer": "foregrund"}, "has no layer 'foregrund': choose one of foreground, background"),
        ({"fit": "other"}, "has no fit 'other' (its fits: truth): run scripts/fit.py"),
        ({"fit": "../truth"}, "cannot name a folder"),
        ({"name": "a/b"}, "cannot name a folder"),
        ({"keyframes": "0,12"}, "keyframe 12 is past the end: the clip has frames 0 to 11"),
        ({"filter": "recolor"}, "there is no filter 'recolor': choose one of"),
        ({"filter": None}, "--editor filter needs --filter"),
        ({"editor": "dream"}, "this version has no dream editor: --editor is one of images, filter, atlas, diffusion"),
        ({"hold": 0.5}, "--hold is for --editor diffusion, not --editor filter"),
        ({"editor": "diffusion", "prompt": " "}, "the prompt is empty"),
        ({"keep": Path("missing.png")}, "missing.png is missing"),
        ({"editor": "images", "filter": "grey", "images": Path(".")}, "--filter is for --editor filter"),
        ({"editor": "images", "images": Path("missing")}, "--images missing is not a folder"),
        ({"editor": "atlas", "image": Path("missing.png")}, "missing.png is missing"),
        ({"editor": "atlas", "image": Path(".")}, ". is a folder: name an image"),
        ({"editor": "atlas", "image": Path("missing.png"), "keyframes": "1"}, "a painted atlas has no keyframes"),
    ],
)
def test_wrong_requests_write_nothing(fresh_clip: Clip, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as problem:
        edit(options(fresh_clip, **changes))
    assert said in str(problem.value) and "\n" not in str(problem.value)
    assert not (fresh_clip.folder / "edits").exists()


def test_edits_that_cannot_be_opened(fresh_clip: Clip) -> None:
    with pytest.raises(UserError, match=r"has no edit 'test' \(its edits: none yet\)"):
        Edit.open(fresh_clip, "test")
    made = edit(options(fresh_clip)).edit
    with pytest.raises(UserError, match=r"has no edit 'other' \(its edits: test\)"):
        Edit.open(fresh_clip, "other")
    shutil.copytree(fresh_clip.fit_folder("truth"), fresh_clip.fit_folder("second"))
    with pytest.raises(UserError, match="stands on the fit 'truth', not 'second'"):
        edit(options(fresh_clip, fit="second"))
    description = read_json(made.folder / "edit.json")
    for change, said in [
        ({"version": 2}, "format version 2"),
        ({"layers": {"../x": {}}}, "no layer"),
        ({"fit": "../x"}, "name a"),
    ]:
        write_json(made.folder / "edit.json", description | change)
        with pytest.raises(UserError, match=said):
            Edit.open(fresh_clip, "test")


def test_what_somebody_put_into_its_folders_stays(fresh_clip: Clip) -> None:
    first = edit(options(fresh_clip)).edit
    places = [first.made_folder("foreground"), first.partial_folder("foreground"), first.cache_folder("foreground")]
    unfinished, keyframes = first.unfinished_folder("foreground"), first.keyframes_folder("foreground")
    for place in (*places, unfinished):
        place.mkdir(parents=True, exist_ok=True)
        (place / ".hidden").write_text("mine")
        (place / f"of {place.parent.name}.txt").write_text("mine")
    (keyframes / ".kept").write_text("mine")
    again = edit(options(fresh_clip, filter="grey"))
    assert again.notes == [] and list(again.edit.keyframes("foreground")) == [0, 6]
    for place in places:
        assert (place / f"of {place.parent.name}.txt").read_text() == "mine" == (place / ".hidden").read_text()
    assert {path.name for path in keyframes.iterdir()} == {"00000.png", "00006.png", ".kept", ".hidden", "of unfinished.txt"}
