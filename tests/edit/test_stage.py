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


def painted_frames(clip: Clip, folder: Path, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        write_image(folder / name, np.full((clip.height, clip.width, 3), 200, np.uint8))
    return folder


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
    kept = again.edit.folder / "replaced" / "keyframes" / "foreground" / "00006.png"
    assert (read_image(kept) == 90).all() and "repainted by hand" in str(again)
    assert not (read_image(keyframe) == 90).all()


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


def test_images_are_found_by_number(fresh_clip: Clip, tmp_path: Path) -> None:
    folder = painted_frames(fresh_clip, tmp_path / "bilder ä", "3.png", "00007.png", "frame_00009.jpg")
    assert edit(options(fresh_clip, editor="images", images=folder)).keyframes == [3, 7, 9]
    assert edit(options(fresh_clip, editor="images", images=folder, keyframes="9,3")).keyframes == [3, 9]


def test_alpha_of_an_image_says_where_the_edit_applies(fresh_clip: Clip, tmp_path: Path) -> None:
    image = np.full((fresh_clip.height, fresh_clip.width, 4), 200, np.uint8)
    image[:, : fresh_clip.width // 2, 3] = 0
    (tmp_path / "in").mkdir()
    write_image(tmp_path / "in" / "4.png", image)
    written = read_image(edit(options(fresh_clip, editor="images", images=tmp_path / "in")).edit.keyframe_path("foreground", 4))
    opacity = to_uint8(Maps(fresh_clip.fit_folder("truth")).opacity("foreground", 4))
    half = fresh_clip.width // 2
    assert (written[:, :half, 3] == 0).all()
    assert np.array_equal(written[:, :half, :3], fresh_clip.frame(4)[:, :half])
    assert np.abs(written[:, half:, 3].astype(int) - np.round(opacity[:, half:] * (200 / 255))).max() <= 1


def test_an_unpainted_atlas_is_its_own_reference(fresh_clip: Clip, tmp_path: Path) -> None:
    painted = shutil.copy(Maps(fresh_clip.fit_folder("truth")).atlas_path("foreground"), tmp_path / "painted.png")
    result = edit(options(fresh_clip, editor="atlas", image=painted))
    atlas, reference = (read_image(p) for p in (result.edit.atlas_path("foreground"), result.edit.reference_path("foreground")))
    assert result.keyframes == [] and atlas.dtype == np.uint16 and atlas[..., 3].max() == 65535
    assert np.array_equal(atlas, reference)
    assert edit(options(fresh_clip, editor="atlas", image=painted)).up_to_date


def test_a_painted_atlas_differs_only_where_painted(fresh_clip: Clip, tmp_path: Path) -> None:
    image = read_image(Maps(fresh_clip.fit_folder("truth")).atlas_path("foreground"))
    seen = image[..., 3] > 0
    image[40:50, 40:60] = (255, 0, 0, 255)
    image[~seen, :3] = 255  # what some painters leave below transparency
    write_image(tmp_path / "painted.png", image)
    result = edit(options(fresh_clip, editor="atlas", image=tmp_path / "painted.png")).edit
    atlas, reference = read_image(result.atlas_path("foreground")), read_image(result.reference_path("foreground"))
    different = (atlas[..., :3] != reference[..., :3]).any(-1)
    assert np.array_equal(different[44:46, 44:56], np.ones((2, 12), bool))
    different[36:54, 36:64] = False
    assert not different.any()


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


def test_images_that_do_not_fit(fresh_clip: Clip, tmp_path: Path) -> None:
    folder = painted_frames(fresh_clip, tmp_path / "in", "3.png", "12.png")
    with pytest.raises(UserError, match="keyframe 12 is past the end"):
        edit(options(fresh_clip, editor="images", images=folder))
    with pytest.raises(UserError, match=r"no image of keyframe 5.*add 00005.png"):
        edit(options(fresh_clip, editor="images", images=folder, keyframes="3,5"))
    write_image(folder / "0003.png", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(UserError, match=r"two images of keyframe 3 \(0003.png, 3.png\)"):
        edit(options(fresh_clip, editor="images", images=folder, keyframes="3"))
    (folder / "3.png").unlink()
    with pytest.raises(UserError, match="0003.png is 4x4, the clip's frames are 96x64"):
        edit(options(fresh_clip, editor="images", images=folder, keyframes="3"))
    (folder / "0003.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="not a readable image"):
        edit(options(fresh_clip, editor="images", images=folder, keyframes="3"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no image named by a frame number"):
        edit(options(fresh_clip, editor="images", images=tmp_path / "empty"))
    assert not (fresh_clip.folder / "edits").exists()


def test_a_painted_atlas_of_another_size(fresh_clip: Clip, tmp_path: Path) -> None:
    write_image(tmp_path / "painted.png", np.zeros((30, 20, 3), np.uint8))
    with pytest.raises(UserError, match="painted.png is 20x30, the atlas of layer 'foreground' is"):
        edit(options(fresh_clip, editor="atlas", image=tmp_path / "painted.png"))


@pytest.mark.parametrize("size", ["its own", "another"])
def test_an_atlas_without_paint_is_refused(fresh_clip: Clip, tmp_path: Path, size: str) -> None:
    """Transparent throughout, or opaque only where the layer is never seen: nothing would be edited."""
    seen = read_image(Maps(fresh_clip.fit_folder("truth")).atlas_path("foreground"))[..., 3] > 0
    assert not seen.all()
    images = [np.dstack([np.full((*seen.shape, 3), 200, np.uint8), np.where(seen, 0, 255).astype(np.uint8)])]
    images += [np.full((50, 50, 4) if size == "another" else (*seen.shape, 4), (200, 0, 0, 0), np.uint8)]
    for image in images:
        write_image(tmp_path / "painted.png", image)
        with pytest.raises(
            UserError, match="painted.png is transparent wherever layer 'foreground' is seen.* paint on a copy of"
        ):
            edit(options(fresh_clip, editor="atlas", image=tmp_path / "painted.png"))
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
