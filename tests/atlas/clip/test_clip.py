"""The folder of a clip: what opening one checks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from atlas.clip.clip import Clip, checked_name
from atlas.errors import UserError
from atlas.storage.images import write_image
from atlas.storage.stamps import read_json, write_json


def test_round_trip(sample_clip: Clip) -> None:
    again = Clip.open(sample_clip.folder)
    assert again == sample_clip
    assert (again.frames, again.width, again.height, again.fps) == (12, 96, 64, 24.0)
    assert again.objects == ["foreground"]
    assert again.source.indices == list(range(12))


def test_shapes_and_types(sample_clip: Clip) -> None:
    assert sample_clip.frame(0).shape == (64, 96, 3) and sample_clip.frame(0).dtype == np.uint8
    assert sample_clip.mask("foreground", 0).shape == (64, 96)
    assert sample_clip.flow("backward").shape == (11, 64, 96, 2) and sample_clip.flow("forward").dtype == np.float16
    assert sample_clip.flow_validity("forward").shape == (11, 64, 96)


def test_repainted_pictures_are_read_as_they_look(fresh_clip: Clip) -> None:
    """Erased to transparent, painted in a colour, saved with 16 bits: what an image editor may leave."""
    erased = np.full((64, 96, 4), 255, np.uint8)
    erased[:10, :, 3] = 0
    erased[10:20, :, :2] = 0  # blue
    write_image(fresh_clip.mask_path("foreground", 0), erased)
    write_image(fresh_clip.mask_path("foreground", 1), np.full((64, 96), 128 * 257, np.uint16))
    write_image(fresh_clip.frame_path(0), np.full((64, 96, 3), 7 * 257, np.uint16))
    mask, deep, frame = fresh_clip.mask("foreground", 0), fresh_clip.mask("foreground", 1), fresh_clip.frame(0)
    assert (mask[:10] == 0).all() and (mask[10:] == 255).all()
    assert deep.dtype == frame.dtype == np.uint8 and (deep == 128).all() and (frame == 7).all()


def test_a_folder_that_is_no_clip(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a clip folder .*scripts/prepare.py"):
        Clip.open(tmp_path)
    with pytest.raises(UserError, match="is not a clip folder"):
        Clip.open(tmp_path / "nowhere")


def _change(**values: object) -> Callable[[dict], dict]:
    return lambda data: data | values


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_change(version=2), "format version 2, this program reads up to 1"),
        (_change(version="1"), "is not a clip's description"),
        (lambda data: [data], "is not a clip's description"),
        (lambda data: {k: v for k, v in data.items() if k != "layers"}, "is incomplete .*layers"),
        (_change(frames="many"), "is incomplete"),
        (_change(frames=None), "is incomplete"),
        (_change(frames=0), "is damaged"),
        (_change(fps=float("nan")), "is damaged"),
        (lambda data: data | {"source": data["source"] | {"indices": ["a"]}}, "is damaged"),
        (lambda data: data | {"source": data["source"] | {"path": 3}}, "is damaged"),
        (_change(width=-3), "is damaged"),
        (_change(layers=[]), "is damaged"),
        (_change(layers=["../../elsewhere", "background"]), "is damaged"),
        (_change(layers=["..", "background"]), "is damaged"),
        (_change(layers=["all", "background"]), "is damaged .'all', which means the whole frame, names one of its layers."),
        (_change(source={"path": "x"}), "is incomplete"),
        (_change(source={"path": "x", "surprise": 1}), "is incomplete"),
        (_change(frames=13), "00012.png is missing"),
        (_change(frames=10**12), "00012.png is missing"),
        (_change(layers=["dog", "background"]), "00000.png is missing"),
    ],
)
def test_damaged_descriptions(fresh_clip: Clip, change: Callable[[dict], object], message: str) -> None:
    path = fresh_clip.folder / "clip.json"
    write_json(path, change(read_json(path)))
    with pytest.raises(UserError, match=message):
        Clip.open(fresh_clip.folder)


def test_missing_and_misfitting_files(fresh_clip: Clip) -> None:
    write_image(fresh_clip.frame_path(2), np.zeros((5, 5, 3), np.uint8))
    with pytest.raises(UserError, match="00002.png is 5x5, the clip is 96x64"):
        fresh_clip.frame(2)
    write_image(fresh_clip.mask_path("foreground", 3), np.zeros((64, 95), np.uint8))
    with pytest.raises(UserError, match="00003.png is 95x64"):
        fresh_clip.mask("foreground", 3)
    fresh_clip.frame_path(4).unlink()
    with pytest.raises(UserError, match="00004.png is missing"):
        Clip.open(fresh_clip.folder)


@pytest.mark.parametrize("content", [None, b"", b"nothing of numpy", b"\x93NUMPY\x01\x00"])
def test_damaged_flow(fresh_clip: Clip, content: bytes | None) -> None:
    path = fresh_clip.folder / "flow" / "forward.npy"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match="forward.npy is missing or damaged"):
        fresh_clip.flow("forward")


def test_flow_of_another_shape_or_cut_short(fresh_clip: Clip) -> None:
    path = fresh_clip.folder / "flow" / "forward.npy"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match="forward.npy is missing or damaged"):
        fresh_clip.flow("forward")
    np.save(path, np.zeros((11, 64, 96), np.float16))
    with pytest.raises(UserError, match="has shape"):
        fresh_clip.flow("forward")


def test_flow_with_a_pickle_inside(fresh_clip: Clip) -> None:
    np.save(fresh_clip.folder / "flow" / "forward.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="forward.npy is missing or damaged"):
        fresh_clip.flow("forward")


def test_layers(sample_clip: Clip) -> None:
    sample_clip.check_layer("background")
    with pytest.raises(UserError, match="no layer 'dog': choose one of foreground, background"):
        sample_clip.check_layer("dog")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", ".hidden", " a", "a\n", "x" * 101])
def test_names_that_cannot_be_folders(sample_clip: Clip, name: str) -> None:
    with pytest.raises(UserError, match="cannot name a folder of this edit"):
        sample_clip.edit_folder(name)


@pytest.mark.parametrize("name", [
    "C:x", "con", "NUL", "Aux.png", "lpt1", "COM¹.tar.gz", "CONIN$", "nul .txt", "-rf", "a.", "a ", "a\x1b[31m", "a\x7f",
    "\u00a0a", "a\u202eb", "a\u2066b", "a\u200bb", "a\u2028b", "a\ud800", "\U0001f600" * 51, "語" * 67,
])  # fmt: skip
def test_names_that_some_system_takes_for_something_else(sample_clip: Clip, name: str) -> None:
    for folder in (sample_clip.edit_folder, sample_clip.fit_folder):
        with pytest.raises(UserError, match="cannot name a folder") as problem:
            folder(name)
        assert str(problem.value).isprintable()


@pytest.mark.parametrize("name", [
    "a (2)", "v1.2_final-3", "Größe", "синий цвет", "赤い車", "أحمر", "می\u200cخواهم", "लाल",
    "\U0001f469\u200d\U0001f680 red", "it's 50%, + more!", "console", "com", "nulls.1", "x" * 100, "語" * 66, "e\u0301",
])  # fmt: skip
def test_names_that_people_give(sample_clip: Clip, name: str) -> None:
    assert sample_clip.edit_folder(name).name == name


def test_names_that_can(sample_clip: Clip) -> None:
    assert checked_name("Größe 2", "fit") == "Größe 2"
    assert sample_clip.fit_folder("default") == sample_clip.folder / "fits" / "default"
    assert sample_clip.edit_folder("a-b_c.1") == sample_clip.folder / "edits" / "a-b_c.1"


def test_saved_text_is_stable(sample_clip: Clip) -> None:
    data = json.loads((sample_clip.folder / "clip.json").read_text(encoding="utf-8"))
    assert list(data) == ["version", "name", "frames", "width", "height", "fps", "layers", "source"]
