"""The folder of an edit: edit.json, keyframes, partial atlases, the edited atlas and what it is compared with.

edit.json                     version, name, fit, and for each layer what was asked for
keyframes/<layer>/00012.png   RGBA, frame-sized: an edited keyframe, anyone may repaint it; of an edit on frames, all of them
keyframes/all/00012.png       the same of whole frames, where no layer is edited for itself
made/<layer>/00012.png        that keyframe as it was made: what differs was repainted
partial/<layer>/00012.png     RGBA, atlas-sized: that keyframe in the atlas, to look at; alpha = coverage
atlas/<layer>.png             RGBA 16 bit: the edited atlas; alpha = coverage
reference/<layer>.png         RGBA 16 bit: the same, had nothing been edited but the layer's colours
reference/<layer>.safetensors what the edit does to the layer's colours (`atlas.recolour`), the reference's too
reference/<layer>.json        {"unlit": 0 to 1}: 0 where the edit takes on the layer's light, 1 where it maps colours seen
keep/<layer>.png              grey, atlas-sized: white keeps the original; whoever wants to paints it
cache/<layer>/...             what a model made, by what it was made from; may be deleted
unfinished/<layer>/00012.png  keyframes of a run, until all of them are there (where an earlier edit stays until then)
oracle.json                   where the right answer is known: how far the rendered edit is from it
replaced/...                  what someone had repainted before a changed request replaced it
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from atlas.clip.clip import WHOLE_FRAME, Clip, checked_name
from atlas.clip.signatures import Signatures
from atlas.errors import EDIT, UserError
from atlas.storage.atomic import atomic_file, set_aside
from atlas.storage.images import read_image, to_16_bit, write_image
from atlas.storage.pictures import WantedSize, picture_bytes, picture_header
from atlas.storage.stamps import read_stamp, read_versioned, write_json, write_stamp

VERSION = 1


@dataclass(frozen=True)
class LayerRequest:
    """What edit.json says that was asked for a layer, as far as later stages ask: this class alone knows how it says so.

    The file may come from anyone: what is not of its type counts as not there.
    """

    target: Literal["keyframes", "atlas", "frames"] = "keyframes"
    """What was edited: keyframes, the layer's atlas itself (by hand or by a prompt), or every frame."""
    prompt: str | None = None
    """The text of an edit by a prompt."""
    strategy: str | None = None
    """What kept its keyframes alike."""
    deflickered: str | None = None
    """Name of the edit whose frames were made to agree, where it is made of them."""

    @classmethod
    def of(cls, saved: dict[str, Any]) -> LayerRequest:
        """From what stands in edit.json for the layer."""
        on_frames = saved.get("on") == "frames"
        is_atlas = saved.get("editor") == "atlas" or saved.get("frames") == []
        chosen, agreed = saved.get("diffusion"), saved.get("deflicker")
        before = agreed.get("edit") if isinstance(agreed, dict) else None
        before = before if on_frames and isinstance(before, str) else None
        if not isinstance(chosen, dict):
            return cls("frames" if on_frames else "atlas" if is_atlas else "keyframes", deflickered=before)
        prompt, strategy = (chosen.get(name) for name in ("prompt", "strategy"))
        text = prompt.strip() or None if isinstance(prompt, str) else None
        if on_frames:
            return cls("frames", text, deflickered=before)
        return cls(
            "atlas" if is_atlas or chosen.get("on") == "atlas" else "keyframes",
            text,
            strategy if isinstance(strategy, str) else "propagate",
        )


@dataclass
class Edit:
    """An edit of a clip: requests for one or more layers of one fit."""

    folder: Path
    name: str
    fit: str
    layers: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Per layer, what was asked for (`edit.request.request.EditRequest` as a dict) and the keyframes that were chosen."""

    @classmethod
    def open(cls, clip: Clip, name: str) -> Edit:
        """Open an existing edit; UserError lists the clip's edits where it has no such one."""
        folder = clip.edit_folder(name)
        path = folder / "edit.json"
        if not path.is_file():
            known = ", ".join(edit_names(clip)) or "none yet"
            raise UserError(
                f"{clip.folder} has no edit {name!r} (its edits: {known}): make it with {EDIT} {clip.folder} --name {name}"
            )
        data = read_versioned(path, VERSION, "an edit's description", f"delete it and run {EDIT} again")
        try:
            fit, layers = str(data["fit"]), dict(data["layers"])
        except (KeyError, TypeError, ValueError):
            raise UserError(f"{path} is damaged: delete it and run {EDIT} again") from None
        if not all(isinstance(request, dict) for request in layers.values()):
            raise UserError(f"{path} is damaged: delete it and run {EDIT} again")
        try:  # the file may come from anyone, and these names become paths
            checked_name(fit, "fit")
            for layer in layers:
                clip.check_editable(layer)
        except UserError as problem:
            raise UserError(f"{path} does not fit its clip ({problem}): run {EDIT} again") from None
        edit = cls(folder, name, fit, layers)
        if WHOLE_FRAME in layers and (len(layers) > 1 or edit.request(WHOLE_FRAME).target != "frames"):
            raise UserError(f"{path} is damaged ({WHOLE_FRAME!r} is there beside layers, or not on frames): run {EDIT} again")
        return edit

    @classmethod
    def open_or_new(cls, clip: Clip, name: str, fit: str) -> Edit:
        """The edit of this name if there is one (it must stand on the same fit), else a new one, not yet written."""
        folder = clip.edit_folder(name)
        if not (folder / "edit.json").is_file():
            return cls(folder, name, fit)
        edit = cls.open(clip, name)
        if edit.fit != fit:
            raise UserError(
                f"edit {name!r} of {clip.folder} stands on the fit {edit.fit!r}, not {fit!r}: "
                f"choose another --name or --fit {edit.fit}"
            )
        return edit

    def check_addition(self, layer: str) -> None:
        """UserError where `layer` cannot join what the edit holds: whole frames leave nothing to a layer, nor it to them."""
        others = self.layers.keys() - {layer}
        if others and WHOLE_FRAME in {layer, *others}:
            held = "whole frames" if layer != WHOLE_FRAME else " and ".join(others)
            added = "whole frames" if layer == WHOLE_FRAME else layer
            raise UserError(f"edit {self.name!r} is one of {held}, {added} cannot be added to it: choose another --name")

    def save(self) -> None:
        """Write edit.json."""
        description = {"version": VERSION, "name": self.name, "fit": self.fit, "layers": self.layers}
        write_json(self.folder / "edit.json", description)

    def keyframes_folder(self, layer: str) -> Path:
        """Folder of the layer's edited keyframes."""
        return self.folder / "keyframes" / layer

    def unfinished_folder(self, layer: str) -> Path:
        """Folder of keyframes that are to replace those of an earlier edit, as long as some are missing."""
        return self.folder / "unfinished" / layer

    def keyframe_path(self, layer: str, index: int) -> Path:
        """The edited keyframe of frame `index`, RGBA and frame-sized."""
        return self.keyframes_folder(layer) / f"{index:05d}.png"

    def made_folder(self, layer: str) -> Path:
        """Folder of the layer's keyframes as they were made."""
        return self.folder / "made" / layer

    def made_path(self, layer: str, index: int) -> Path:
        """The keyframe of frame `index` as it was made. It need not exist."""
        return self.made_folder(layer) / f"{index:05d}.png"

    def sign_keyframes(self, layer: str) -> None:
        """`sign` the layer's keyframes, and keep a copy of each new one that tells what of it is repainted later."""
        for index, path in self.keyframes(layer).items():
            if not (made := self.made_path(layer, index)).is_file():
                with atomic_file(made) as temporary:
                    shutil.copyfile(path, temporary)
        self.signatures.sign(self.keyframes_folder(layer))

    def sign_frames(self, layer: str, made_on: str) -> None:
        """Remember the fit, or of whole frames the clip, that every frame of the layer was edited on (a digest)."""
        write_stamp(self.folder, made_on, self._frames_stamp(layer))

    def frames_are_of(self, layer: str, made_on: str) -> bool:
        """Whether the layer's frames were edited on this fit or clip, as far as that is known."""
        return read_stamp(self.folder).get(self._frames_stamp(layer), made_on) == made_on

    @staticmethod
    def _frames_stamp(layer: str) -> str:
        return f"frames {layer}"

    @staticmethod
    def merged_stamp(layer: str) -> str:
        """Name of the stamp of what the layer's edited atlas was merged from; it is "" while that is being written."""
        return f"aggregate {layer}"

    def is_half_merged(self, layer: str) -> bool:
        """Whether a run died while it wrote the layer's edited atlas and what belongs to it."""
        return read_stamp(self.folder).get(self.merged_stamp(layer)) == ""

    def keyframes(self, layer: str) -> dict[int, Path]:
        """The keyframes that lie in the layer's folder, by frame number."""
        files = self.keyframes_folder(layer).glob("*.png")
        return {int(path.stem): path for path in sorted(files) if path.stem.isascii() and path.stem.isdigit()}

    def partial_folder(self, layer: str) -> Path:
        """Folder of the layer's partial atlases."""
        return self.folder / "partial" / layer

    def atlas_path(self, layer: str) -> Path:
        """The edited atlas, RGBA 16 bit; alpha = coverage."""
        return self.folder / "atlas" / f"{layer}.png"

    def reference_path(self, layer: str) -> Path:
        """What the edited atlas is compared with, RGBA 16 bit."""
        return self.folder / "reference" / f"{layer}.png"

    def lighting_path(self, layer: str) -> Path:
        """How the layer's keyframes answer light, beside the reference: {"unlit": 0 to 1}. It need not exist."""
        return self.reference_path(layer).with_suffix(".json")

    def change_path(self, layer: str) -> Path:
        """The colour change of the layer's keyframes, beside the reference, which has it already. It need not exist."""
        return self.reference_path(layer).with_suffix(".safetensors")

    def request(self, layer: str) -> LayerRequest:
        """What was asked for the layer."""
        return LayerRequest.of(self.layers.get(layer, {}))

    def is_painted(self, layer: str) -> bool:
        """Whether the layer's atlas was edited itself, by hand or by a prompt: there are no keyframes then."""
        return self.request(layer).target == "atlas"

    def is_on_frames(self, layer: str) -> bool:
        """Whether every frame was edited: there is a keyframe of each, and they can be rendered without an atlas."""
        return self.request(layer).target == "frames"

    def keep_path(self, layer: str) -> Path:
        """Mask of the layer's atlas: white keeps the original. It need not exist."""
        return self.folder / "keep" / f"{layer}.png"

    def save_keep(self, layer: str, mask: np.ndarray) -> None:
        """Write the mask, (N, N) uint8, unless it is what stands there already."""
        path = self.keep_path(layer)
        same_size = path.is_file() and picture_header(path).size == mask.shape
        if not same_size or not np.array_equal(read_image(path)[..., 0], mask):
            write_image(path, mask)

    def cache_folder(self, layer: str) -> Path:
        """Where what a model made for the layer is kept."""
        return self.folder / "cache" / layer

    @property
    def oracle_path(self) -> Path:
        """How far the rendered edit is from the right answer, where that is known. It need not exist."""
        return self.folder / "oracle.json"

    @property
    def signatures(self) -> Signatures:
        """What stages wrote into the edit's folder."""
        return Signatures(self.folder)

    def write_signed(self, path: Path, image: np.ndarray) -> None:
        """Write an image, and remember it, so that a later repainting by hand is noticed."""
        with self.signatures.file(path) as temporary:
            write_image(temporary, image)

    def write_keyframe(self, layer: str, index: int, image: np.ndarray) -> None:
        """Write one of the layer's keyframes into its place, and sign them all."""
        folder, path = self.keyframes_folder(layer), self.keyframe_path(layer, index)
        there = {file.name: file for file in self.keyframes(layer).values()}
        with self.signatures.file_within(folder, path, there) as temporary:
            write_image(temporary, image)
        self.sign_keyframes(layer)

    def repainted(self, path: Path) -> bool:
        """Whether someone changed `path` since a stage wrote it."""
        return self.signatures.repainted(path)

    def set_aside(self, path: Path) -> Path | None:
        """Before `path` is replaced: move it below replaced/ if someone repainted it, and say where it is now."""
        if not self.repainted(path):
            return None
        return set_aside(path, self.folder)


def read_keyframe(
    path: Path,
    clip: Clip,
    index: int,
    frame: np.ndarray | None = None,  # (H, W, 3) uint8
) -> np.ndarray:  # (H, W, 4) uint8 or uint16
    """A keyframe of frame `index`, edited or as it was made; UserError where it has not the size of the clip's frames.

    Where it is transparent it has the frame's own colours: painters leave any there, and nothing is to be made of them.
    frame: the clip's own, where it has been read already.
    """
    image = read_image(path, mode="rgba", size=_keyframe_size(clip))
    if (hidden := image[..., 3] == 0).any():
        frame = clip.frame(index) if frame is None else frame
        image[hidden, :3] = (frame if image.dtype == np.uint8 else to_16_bit(frame))[hidden]
    return image


def check_keyframe(path: Path, clip: Clip) -> None:
    """Check a keyframe without decoding it; UserError where it is damaged, or has not the size of the clip's frames."""
    picture_bytes(path, _keyframe_size(clip))


def _keyframe_size(clip: Clip) -> WantedSize:
    return WantedSize(clip.height, clip.width, "the clip's frames are", "save it without scaling")


def edit_names(clip: Clip) -> list[str]:
    """Names of the clip's edits, sorted."""
    return sorted(path.parent.name for path in (clip.folder / "edits").glob("*/edit.json"))
