"""What the edit stage leaves behind: requests, stamps, keyframes or an atlas; and what it sets aside before that."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from atlas.clip.edits import Edit
from atlas.errors import a_few
from atlas.storage.atomic import keep_others, put_in_place
from atlas.storage.own.listed import remove_unchanged
from atlas.storage.own.others import NUMBERED, others, remove_ours
from atlas.storage.stamps import digest, is_up_to_date, write_stamp, write_stamps
from edit.request.request import EditRequest


@dataclass
class EditResult:
    """What the edit stage did."""

    edit: Edit
    layer: str
    keyframes: list[int]
    """Frames that were edited; none where the atlas itself was."""
    covered: float | None = None
    """Share of the layer's visible pixels that these keyframes see; None where the atlas or every frame was edited."""
    up_to_date: bool = False
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        edited = "its atlas" if not self.keyframes else f"keyframes {', '.join(map(str, self.keyframes))}"
        if self.edit.is_on_frames(self.layer):
            edited = f"all {len(self.keyframes)} frames"
        share = "" if self.covered is None else f", seeing {self.covered:.1%} of its visible pixels"
        state = " (up to date)" if self.up_to_date else ""
        return "\n".join([f"{self.layer}: {edited}{share}, in {self.edit.folder}{state}", *self.notes])


def is_done(entry: Edit, layer: str, made_from: str, paths: list[Path]) -> bool:
    """Whether the layer's edit was made from exactly this and its files are there."""
    return is_up_to_date(entry.folder, made_from, _stage(layer)) and all(path.is_file() for path in paths)


def forget(entry: Edit, layer: str, notes: list[str]) -> None:
    """What was made from the layer's earlier request goes (what was repainted by hand: to replaced/), its stamp first."""
    # They must not be found beside what comes, should this run be killed.
    write_stamps(entry.folder, {_stage(layer): "", entry.merged_stamp(layer): None})
    for path in _made(entry, layer):
        if entry.repainted(path):
            what, beside = _changed_by_hand(entry, layer, path)
            notes.append(f"{what} by hand: kept as {entry.set_aside(path)}{beside}")
        else:
            entry.signatures.unsign(path)
            if path == entry.partial_folder(layer):
                remove_unchanged(path)
            else:
                remove_ours(path, NUMBERED)


@contextlib.contextmanager
def replaced_when_done(entry: Edit, layer: str, notes: list[str], *, in_place: bool) -> Iterator[Path]:
    """The folder to write the layer's new keyframes to, one by one: beside their place, which they take once all are written.

    An earlier edit goes then: whatever fails before leaves it whole. What a failed run had written stays to be looked at
    until the next one. in_place: where there is no earlier edit, write to their place at once.
    """
    final, beside = entry.keyframes_folder(layer), entry.unfinished_folder(layer)
    remove_ours(beside, NUMBERED)
    if in_place and not any(path.exists() for path in _made(entry, layer)):
        yield final
        return
    yield beside
    forget(entry, layer, notes)
    final.parent.mkdir(parents=True, exist_ok=True)
    keep_others(final, beside, others(final, NUMBERED))
    entry.signatures.expect(final, digest(beside))
    put_in_place(beside, final)
    with contextlib.suppress(OSError):  # another layer's may still lie there
        beside.parent.rmdir()
    entry.sign_keyframes(layer)


def record(entry: Edit, layer: str, request: EditRequest, keyframes: list[int], made_from: str, up_to_date: bool) -> None:
    """Write down what was asked for and, last, what the files were made from."""
    saved = request.to_dict() | {"frames": keyframes}
    if entry.layers.get(layer) != saved:
        entry.layers[layer] = saved
        entry.save()
    if not up_to_date:
        write_stamp(entry.folder, made_from, _stage(layer))


def save_atlas(
    entry: Edit,
    layer: str,
    edited: np.ndarray,  # (N, N, 4) uint16
    reference: np.ndarray,  # (N, N, 4) uint16
    fit: str,
) -> None:
    """Write an atlas that was edited itself, and the fit that it stands on: rendering asks for that."""
    entry.write_signed(entry.reference_path(layer), reference)
    write_stamp(entry.folder, fit, f"fit {layer}")
    entry.write_signed(entry.atlas_path(layer), edited)  # last: where it is, the others are


def _made(entry: Edit, layer: str) -> list[Path]:
    """What an edit of the layer leaves: keyframes and what is made from them, or its atlas."""
    folders = [entry.keyframes_folder(layer), entry.made_folder(layer), entry.partial_folder(layer)]
    files = (entry.atlas_path, entry.reference_path, entry.lighting_path, entry.change_path)
    return [*folders, *(path(layer) for path in files)]


def _changed_by_hand(entry: Edit, layer: str, path: Path) -> tuple[str, str]:
    """Say what of `path` was repainted, of keyframes which are not as they were made; and whether others lie beside them."""
    if path != entry.keyframes_folder(layer):
        return f"{path} was repainted", ""
    keyframes = entry.keyframes(layer)
    made = {index: entry.made_path(layer, index) for index in keyframes}
    changed = [i for i, file in keyframes.items() if made[i].is_file() and file.read_bytes() != made[i].read_bytes()]
    if not changed:  # a file was put there or taken away, or it is not known how they were made
        return f"{path} was changed", ""
    several = len(changed) > 1
    what = f"keyframe{'s' if several else ''} {a_few(changed)} of {path} {'were' if several else 'was'} repainted"
    return what, ", with the others" if len(changed) < len(keyframes) else ""


def _stage(layer: str) -> str:
    return f"edit {layer}"
