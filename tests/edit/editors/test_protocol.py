"""The registry of editors: what each says of itself, and that a new one needs no more than its class and its options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.storage.images import read_image
from edit.editors import EDITORS, EditOptions
from edit.editors.choice import chosen_editor
from edit.editors.protocol import AtlasEditor, Editor, FittedLayer, Keyframe, KeyframeEditor
from edit.questions import answer
from edit.request.options import LayerOptions
from edit.stage import edit


@dataclass(kw_only=True)
class ToyOptions(LayerOptions):
    """Options of a toy editor."""

    shade: float | None = None
    toy_size: int = 3


@dataclass(kw_only=True)
class WithToy(ToyOptions, EditOptions):
    """What the command would take, had it the toy."""


class Toy(Editor[ToyOptions], KeyframeEditor):
    """Paints the frame in one grey, from the last keyframe to the first."""

    meaning, needs, options_type = "for a test", "shade", ToyOptions
    is_slow = True
    edited: list[int] = []

    def check_early(self) -> None:
        """A shade is no light."""
        if not 0 <= (self.options.shade or 0) <= 1:
            raise UserError(f"--shade {self.options.shade} is out of range")

    def open(self, layer: FittedLayer) -> KeyframeEditor:
        """Begin with the last."""
        self.order = self.chosen_keyframes(layer)[::-1]
        self.notes = ["painted grey"]
        return self

    def fingerprint(self) -> str:
        """The shade."""
        return str(self.options.shade)

    def edit(self, keyframe: Keyframe) -> np.ndarray:
        """Grey."""
        self.edited.append(keyframe.index)
        return np.concatenate([np.full_like(keyframe.frame, self.options.shade), np.ones_like(keyframe.frame[..., :1])], -1)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EDITORS, "toy", Toy)
    monkeypatch.setattr(Toy, "edited", [])


def options(clip: Clip | None, **changes: Any) -> WithToy:
    given = {"name": "test", "layer": "foreground", "fit": "truth", "editor": "toy", "keyframes": "0,6"}
    return WithToy(clip=Path() if clip is None else clip.folder, quiet=True, **(given | changes))


def test_a_new_editor_edits(fresh_clip: Clip, toy: None) -> None:
    result = edit(options(fresh_clip, shade=0.4))
    assert result.keyframes == [0, 6] and Toy.edited == [6, 0] and result.notes == ["painted grey"]
    image = read_image(result.edit.keyframe_path("foreground", 6))
    assert (image[image[..., 3] > 0][:, :3] == 102).all()
    saved = {"editor": "toy", "keyframes": "0,6", "seed": 0, "shade": 0.4, "frames": [0, 6]}
    assert result.edit.layers["foreground"] == saved
    assert edit(options(fresh_clip, shade=0.4)).up_to_date and len(Toy.edited) == 2
    assert not edit(options(fresh_clip, shade=0.5)).up_to_date and len(Toy.edited) == 4


def test_the_fit_counts_for_a_new_editor_too(fresh_clip: Clip, toy: None) -> None:
    edit(options(fresh_clip, shade=0.4))
    (fresh_clip.fit_folder("truth") / "stamp.json").write_text('{"made_from": "another fit"}')
    assert not edit(options(fresh_clip, shade=0.4)).up_to_date


def test_its_checks_are_asked(fresh_clip: Clip, toy: None) -> None:
    for changes, said in (
        ({}, "--editor toy needs --shade"),
        ({"shade": 2.0}, "--shade 2.0 is out of range"),
        ({"shade": 0.4, "filter": "grey"}, "--filter is for --editor filter, not --editor toy: leave one of them out"),
        ({"shade": 0.4, "vae_slicing": True}, "--vae-slicing is for --editor diffusion, not --editor toy"),
        ({"editor": "filter", "filter": "grey", "toy_size": 4}, "--toy-size is for --editor toy, not --editor filter"),
        ({"editor": "none"}, "--editor is one of images, filter, atlas, diffusion, toy"),
    ):
        with pytest.raises(UserError, match=said):
            edit(options(fresh_clip, **changes))
        assert not (fresh_clip.folder / "edits").exists()


def test_options_that_the_command_does_not_have(toy: None) -> None:
    without = EditOptions(clip=Path(), name="test", layer="foreground", editor="toy")
    with pytest.raises(TypeError, match="the options of --editor toy are not among the bases of EditOptions"):
        chosen_editor(without)


@pytest.mark.parametrize("name", list(EDITORS))
def test_the_command_has_the_options_of_every_editor(name: str) -> None:
    editor = EDITORS[name]
    assert issubclass(EditOptions, editor.options_type)
    assert editor.needs in editor.own_options() and editor.own_options()[editor.needs] is None
    assert issubclass(editor, (KeyframeEditor, AtlasEditor)) or name == "diffusion"  # which is one or the other by layer


def test_only_what_explains_itself_answers() -> None:
    assert (answer(["clip", "--filter", "help"]) or "").startswith("recolour:")
    assert (answer(["--recipe=help"]) or "").startswith("layered:")
    assert answer(["--images", "help"]) is None and answer(["--filter", "grey"]) is None and answer([]) is None
