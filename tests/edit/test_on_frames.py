"""Edits of every frame: what is written, what is kept of a painter's work, what needs no fit, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregate.stage import AggregateOptions, aggregate
from atlas.clip.clip import Clip
from atlas.clip.edits import Edit
from atlas.errors import UserError
from atlas.maps.maps import Maps
from atlas.rendering.export import ExportOptions, export
from atlas.rendering.frames import Rendering
from atlas.rendering.settings import RenderSettings
from atlas.storage.images import read_image, to_uint8, write_image
from atlas.storage.stamps import read_json, write_json
from edit.editors import EDITORS, EditOptions
from edit.editors.filters import FilterEditor
from edit.stage import edit


def options(clip: Clip, **changes: Any) -> EditOptions:
    given = {"name": "test", "layer": "all", "fit": "truth", "editor": "filter", "on": "frames"}
    given |= {"filter": "invert"} if changes.get("editor", "filter") == "filter" else {}
    return EditOptions(clip=clip.folder, quiet=True, **(given | changes))


@pytest.fixture
def unfitted(fresh_clip: Clip) -> Clip:
    """A clip as prepare leaves it."""
    shutil.rmtree(fresh_clip.folder / "fits")
    return fresh_clip


def painted(clip: Clip, folder: Path, frames: range, channels: int = 3) -> list[np.ndarray]:
    """Write images of noise as another program would, and return them."""
    images = [np.random.default_rng(i).integers(0, 256, (clip.height, clip.width, channels), np.uint8) for i in frames]
    for index, image in zip(frames, images, strict=True):
        write_image(folder / f"{index:05d}.png", image)
    return images


def test_a_filter_edits_whole_frames_without_a_fit(unfitted: Clip) -> None:
    result = edit(options(unfitted))
    files = result.edit.keyframes("all")
    assert list(files) == result.keyframes == list(range(12)) and result.covered is None
    for index, path in files.items():
        image = read_image(path)
        assert (image[..., 3] == 255).all()
        np.testing.assert_array_equal(image[..., :3], 255 - unfitted.frame(index))
        assert path.read_bytes() == result.edit.made_path("all", index).read_bytes()
    opened = Edit.open(unfitted, "test")
    assert opened.layers["all"] == {"editor": "filter", "on": "frames", "seed": 0, "filter": "invert", "frames": [*range(12)]}
    assert opened.is_on_frames("all") and not opened.is_painted("all")
    assert str(result).startswith("all: all 12 frames, in ")
    assert not (opened.folder / "unfinished").exists() and not opened.repainted(opened.keyframes_folder("all"))
    assert edit(options(unfitted)).up_to_date


def test_a_layer_is_cut_out_of_every_frame(fresh_clip: Clip) -> None:
    result = edit(options(fresh_clip, layer="foreground"))
    maps = Maps(fresh_clip.fit_folder("truth"))
    for index, path in result.edit.keyframes("foreground").items():
        image, opacity, frame = read_image(path), to_uint8(maps.opacity("foreground", index)), fresh_clip.frame(index)
        np.testing.assert_array_equal(image[..., 3], opacity)
        np.testing.assert_array_equal(image[..., :3], np.where(opacity[..., None] > 0, 255 - frame, frame))
    assert len(result.edit.keyframes("foreground")) == 12


def test_images_of_every_frame_come_back_to_the_bit(unfitted: Clip, tmp_path: Path) -> None:
    images = painted(unfitted, tmp_path / "rgb", range(12))
    made = edit(options(unfitted, editor="images", images=tmp_path / "rgb")).edit
    for index, image in enumerate(images):
        np.testing.assert_array_equal(read_image(made.keyframe_path("all", index)), np.dstack([image, 255 + 0 * image[..., 0]]))
    images = painted(unfitted, tmp_path / "rgba", range(12), channels=4)
    made = edit(options(unfitted, name="rgba", editor="images", images=tmp_path / "rgba")).edit
    for index, image in enumerate(images):
        written = read_image(made.keyframe_path("all", index))
        np.testing.assert_array_equal(written[..., 3], image[..., 3])
        applies = image[..., 3:] > 0
        np.testing.assert_array_equal(written[..., :3], np.where(applies, image[..., :3], unfitted.frame(index)))


def test_sixteen_bits_are_kept(unfitted: Clip, tmp_path: Path) -> None:
    """From a film scan to png16 without a step in between that rounds."""
    scan = np.random.default_rng(0).integers(0, 65536, (12, unfitted.height, unfitted.width, 3), np.uint16)
    for index, image in enumerate(scan):
        write_image(tmp_path / "scan" / f"{index}.png", image)
    edit(options(unfitted, editor="images", images=tmp_path / "scan"))
    settings = RenderSettings(device="cpu", deep=True)
    results = [result for _, result in Rendering.open(unfitted.folder, "test", settings).frames()]
    np.testing.assert_array_equal(results, scan)


@pytest.mark.slow
def test_all_frames_of_a_layer_are_merged(fresh_clip: Clip) -> None:
    made = edit(options(fresh_clip, layer="foreground")).edit
    ask = AggregateOptions(clip=fresh_clip.folder, edit="test", method="mean", quiet=True, device="cpu")
    assert "12 keyframes cover" in str(aggregate(ask))
    rendering = Rendering.open(fresh_clip.folder, "test")
    assert rendering.settings.mode == "delta" and made.atlas_path("foreground").is_file()
    inside = Maps(fresh_clip.fit_folder("truth")).opacity("foreground", 5) == 1
    for index, (source, result) in enumerate(rendering.frames()):
        if index == 5:
            assert np.abs(result[inside] - (255.0 - source[inside])).mean() < 6
    edit(options(fresh_clip, name="whole"))
    with pytest.raises(UserError, match="edit of whole frames, which have no atlas to be merged in: render it, or let"):
        aggregate(AggregateOptions(clip=fresh_clip.folder, edit="whole", quiet=True))
    with pytest.raises(UserError, match="edit of whole frames, of which there is no atlas"):
        export(ExportOptions(clip=fresh_clip.folder, edit="whole", output=fresh_clip.folder.parent / "out"))


def test_a_frame_for_each(unfitted: Clip, tmp_path: Path) -> None:
    painted(unfitted, tmp_path / "in", range(3, 12))
    ask = options(unfitted, editor="images", images=tmp_path / "in")
    with pytest.raises(
        UserError, match=r"in has no image of frame 0, 1 and 2: --on frames needs one of each, 00000.png to 00011"
    ):
        edit(ask)
    painted(unfitted, tmp_path / "in", range(13))
    with pytest.raises(UserError, match="keyframe 12 is past the end: the clip has frames 0 to 11"):
        edit(ask)
    (tmp_path / "in" / "00012.png").unlink()
    write_image(tmp_path / "in" / "00007.png", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(UserError, match="00007.png is 4x4, the clip's frames are 96x64"):
        edit(ask)
    (tmp_path / "in" / "00007.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="00007.png is not a readable image"):
        edit(ask)
    assert not (unfitted.folder / "edits").exists()


def test_a_repainted_frame_stays_until_the_request_changes(unfitted: Clip) -> None:
    first = edit(options(unfitted)).edit
    write_image(first.keyframe_path("all", 5), np.full((unfitted.height, unfitted.width, 4), 90, np.uint8))
    assert edit(options(unfitted)).up_to_date and (read_image(first.keyframe_path("all", 5)) == 90).all()
    again = edit(options(unfitted, filter="grey"))
    kept = again.edit.folder / "replaced" / "keyframes" / "all" / "00005.png"
    assert (read_image(kept) == 90).all() and "repainted by hand" in str(again)
    assert not (read_image(again.edit.keyframe_path("all", 5)) == 90).all()


def test_keyframes_of_all_frames_are_another_request(fresh_clip: Clip) -> None:
    """The same pictures, but what stages make of them differs."""
    by_number = ",".join(map(str, range(12)))
    first = edit(options(fresh_clip, layer="foreground", on=None, keyframes=by_number))
    assert not first.edit.is_on_frames("foreground")
    second = edit(options(fresh_clip, layer="foreground"))
    assert not second.up_to_date and second.edit.is_on_frames("foreground")
    assert edit(options(fresh_clip, layer="foreground")).up_to_date


def test_what_whole_frames_are_made_from_is_the_clip(unfitted: Clip) -> None:
    edit(options(unfitted))
    write_json(unfitted.folder / "stamp.json", {"made_from": "prepared again"})
    assert not edit(options(unfitted)).up_to_date and edit(options(unfitted)).up_to_date


def test_the_work_of_a_slow_editor_grows_with_the_frames(unfitted: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each keyframe of a slow editor is signed when it is written; of all frames that would be the square of their number."""

    class Slow(FilterEditor):
        is_slow = True

    monkeypatch.setitem(EDITORS, "filter", Slow)
    signed: list[int] = []
    sign = Edit.sign_keyframes
    monkeypatch.setattr(Edit, "sign_keyframes", lambda entry, layer: (signed.append(1), sign(entry, layer))[1])
    made = edit(options(unfitted)).edit
    assert len(signed) == 1 and len(made.keyframes("all")) == len(list(made.made_folder("all").iterdir())) == 12


def test_whole_frames_and_layers_are_no_one_edit(fresh_clip: Clip) -> None:
    edit(options(fresh_clip))
    with pytest.raises(UserError, match="edit 'test' is one of whole frames, foreground cannot be added to it: choose another"):
        edit(options(fresh_clip, layer="foreground"))
    edit(options(fresh_clip, name="layers", layer="foreground", on=None, keyframes="3"))
    with pytest.raises(UserError, match="edit 'layers' is one of foreground, whole frames cannot be added to it: choose"):
        edit(options(fresh_clip, name="layers"))
    assert list(Edit.open(fresh_clip, "layers").layers) == ["foreground"]
    description = read_json(fresh_clip.edit_folder("test") / "edit.json")
    whole = description["layers"]["all"]
    for layers in ({"all": whole, "foreground": {}}, {"all": {"editor": "filter"}}, {"all": {**whole, "on": ["frames"]}}):
        write_json(fresh_clip.edit_folder("test") / "edit.json", description | {"layers": layers})
        with pytest.raises(UserError, match=r"edit.json is damaged \('all' is there beside layers, or not on frames\)"):
            Edit.open(fresh_clip, "test")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"on": None}, "--layer all, the whole frame, is for --on frames: say that too, or name one layer"),
        ({"on": "keyframes"}, "--layer all, the whole frame, is for --on frames"),
        ({"on": "atlas", "layer": "foreground"}, "--on atlas is not for --editor filter, which edits keyframes or frames"),
        ({"on": "atlas", "editor": "images", "images": Path(".")}, "--on atlas is not for --editor images"),
        (
            {"editor": "atlas", "image": Path("x.png")},
            "--on frames is not for --editor atlas, which edits atlas: say --on atlas",
        ),
        ({"editor": "atlas", "image": Path("x.png"), "on": "keyframes"}, "--on keyframes is not for --editor atlas"),
        ({"keyframes": "0,3"}, "--keyframes chooses some frames, --on frames edits every one: leave one of them out"),
        ({"keyframes": "auto:5", "layer": "foreground"}, "--keyframes chooses some frames"),
        ({"keep": Path("keep.png")}, "--keep is a mask of the atlas, --on frames edits the frames themselves"),
        ({"filter": "recolor"}, "there is no filter 'recolor'"),
        ({"layer": "every"}, "has no layer 'every': choose one of foreground, background"),
        ({"fit": "../truth"}, "cannot name a folder of this fit"),
        ({"layer": "foreground", "fit": "none"}, "has no fit 'none'"),
    ],
)
def test_wrong_requests_write_nothing(fresh_clip: Clip, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as problem:
        edit(options(fresh_clip, **changes))
    assert said in str(problem.value) and "\n" not in str(problem.value)
    assert not (fresh_clip.folder / "edits").exists()


def test_a_painted_atlas_may_say_what_it_edits(fresh_clip: Clip) -> None:
    image = Maps(fresh_clip.fit_folder("truth")).atlas_path("foreground")
    made = edit(options(fresh_clip, layer="foreground", editor="atlas", image=image, on="atlas")).edit
    assert made.is_painted("foreground")
