"""The edit stage: from a request to edited keyframes (or a painted atlas) in the folder of an edit."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from atlas.clip import Clip, checked_name
from atlas.cost import measured
from atlas.coverage import visibility
from atlas.edits import Edit, fit_identity, open_maps
from atlas.errors import UserError
from atlas.files import atomic_folder, digest, is_up_to_date, to_float, write_image, write_stamp
from atlas.maps import Maps
from edit.editors.atlas import read_painted
from edit.editors.filters import FilterEditor
from edit.editors.images import ImagesEditor
from edit.editors.protocol import Keyframe, KeyframeEditor
from edit.keyframes import DEFAULT, automatic_count, checked, listed
from edit.request import EditOptions, EditRequest

EDITORS = {"images": "images", "filter": "filter", "atlas": "image"}  # and the option that each needs


@dataclass
class EditResult:
    """What the edit stage did."""

    edit: Edit
    layer: str
    keyframes: list[int]
    """Frames that were edited; none for a painted atlas."""
    covered: float | None = None
    """Share of the layer's visible pixels that these keyframes see; None for a painted atlas."""
    up_to_date: bool = False
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        what = "painted atlas" if not self.keyframes else f"keyframes {', '.join(map(str, self.keyframes))}"
        share = "" if self.covered is None else f", seeing {self.covered:.1%} of its visible pixels"
        state = " (up to date)" if self.up_to_date else ""
        return "\n".join([f"{self.layer}: {what}{share}, in {self.edit.folder}{state}", *self.notes])


def edit(options: EditOptions) -> EditResult:
    """Edit one layer and record the request in the edit's folder; other layers of the edit stay as they are.

    Everything is checked before anything is written. An unchanged request whose files are there does nothing, so
    that keyframes repainted by hand stay; where a changed one replaces them, they move to the edit's replaced/.
    Raises UserError for an unknown layer, fit, filter or keyframe, and for images that do not fit the clip.
    """
    clip = Clip.open(options.clip)
    checked_name(options.name, "edit")
    clip.check_layer(options.layer)
    check_editor(options)
    maps = open_maps(clip, options.fit, options.layer)
    entry = Edit.open_or_new(clip, options.name, options.fit)
    if options.editor == "atlas":
        return _take_painted(options, clip, maps, entry)

    editor, keyframes = _editor_and_keyframes(options, clip, maps)
    covered = visibility(maps, options.layer).share(keyframes)
    result = EditResult(entry, options.layer, keyframes, covered)
    request = EditRequest.of(options)
    identity = fit_identity(clip, maps, options.layer)
    made_from = digest(request.fingerprint(), keyframes, editor.fingerprint(keyframes), identity)
    paths = [entry.keyframe_path(options.layer, index) for index in keyframes]
    if _is_done(entry, options.layer, made_from, paths):
        result.up_to_date = True
    else:
        with measured(clip.folder, f"edit {entry.name} {options.layer}") as cost:
            _forget(entry, options.layer, result.notes)
            _edit_keyframes(options, clip, maps, entry, editor, keyframes)
            cost.update(frames=len(keyframes), width=clip.width, height=clip.height)
    _record(entry, options.layer, request, keyframes, made_from, result.up_to_date)
    return result


def check_editor(options: EditOptions) -> None:
    """UserError where the editor is unknown, or is not given what it needs and nothing else."""
    if options.editor not in EDITORS:
        raise UserError(f"this version has no {options.editor} editor: --editor is one of {', '.join(EDITORS)}")
    for editor, needed in EDITORS.items():
        given = getattr(options, needed) is not None
        if editor == options.editor and not given:
            raise UserError(f"--editor {editor} needs --{needed}")
        if editor != options.editor and given:
            raise UserError(f"--{needed} is for --editor {editor}, not --editor {options.editor}: leave one of them out")
    if options.editor == "atlas" and options.keyframes is not None:
        raise UserError("a painted atlas has no keyframes: leave --keyframes out")


def _editor_and_keyframes(options: EditOptions, clip: Clip, maps: Maps) -> tuple[KeyframeEditor, list[int]]:
    """The editor, checked, and the frames it will edit."""
    count = automatic_count(options.keyframes or DEFAULT)
    if options.editor == "images":
        assert options.images is not None
        images = ImagesEditor(options.images, clip.width, clip.height)
        if options.keyframes is None:
            keyframes = checked(list(images.files), clip.frames)
        else:
            keyframes = _keyframes(options, clip, maps, count)
        images.check(keyframes)
        return images, keyframes
    assert options.filter is not None
    return FilterEditor(options.filter), _keyframes(options, clip, maps, count)


def _keyframes(options: EditOptions, clip: Clip, maps: Maps, count: int | None) -> list[int]:
    if count is None:
        assert options.keyframes is not None
        return listed(options.keyframes, clip.frames)
    return visibility(maps, options.layer).choose(count)


def _is_done(entry: Edit, layer: str, made_from: str, paths: list[Path]) -> bool:
    return is_up_to_date(entry.folder, made_from, _stage(layer)) and all(path.is_file() for path in paths)


def _stage(layer: str) -> str:
    return f"edit {layer}"


def _edit_keyframes(
    options: EditOptions, clip: Clip, maps: Maps, entry: Edit, editor: KeyframeEditor, keyframes: list[int]
) -> None:
    with atomic_folder(entry.keyframes_folder(options.layer)) as folder:
        for index in tqdm(keyframes, desc=f"edit {options.layer}", unit="keyframe", disable=options.quiet):
            keyframe = Keyframe(index, to_float(clip.frame(index)), maps.opacity(options.layer, index))
            write_image(folder / f"{index:05d}.png", _cut_out(keyframe, editor.edit(keyframe)))
    entry.sign(entry.keyframes_folder(options.layer))


def _cut_out(
    keyframe: Keyframe,
    edited: np.ndarray,  # (H, W, 4)
) -> np.ndarray:  # (H, W, 4)
    """The keyframe as it is saved: alpha = the layer's opacity times where the edit applies, colours not premultiplied.

    Where alpha is 0 the frame's own colours stand, so that a painter who removes the transparency sees the frame.
    """
    alpha = keyframe.opacity * edited[..., 3]
    colour = np.where(alpha[..., None] > 0, edited[..., :3], keyframe.frame)
    return np.concatenate([colour, alpha[..., None]], -1)


def _forget(entry: Edit, layer: str, notes: list[str]) -> None:
    """What was made from the layer's earlier request goes (what was repainted by hand: to replaced/)."""
    made = [entry.keyframes_folder(layer), entry.partial_folder(layer), entry.atlas_path(layer), entry.reference_path(layer)]
    for path in made:
        moved = entry.set_aside(path)
        if moved is not None:
            notes.append(f"{path} was repainted by hand: kept as {moved}")
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _record(entry: Edit, layer: str, request: EditRequest, keyframes: list[int], made_from: str, up_to_date: bool) -> None:
    saved = request.to_dict() | {"frames": keyframes}
    if entry.layers.get(layer) != saved:
        entry.layers[layer] = saved
        entry.save()
    if not up_to_date:
        write_stamp(entry.folder, made_from, _stage(layer))


def _take_painted(options: EditOptions, clip: Clip, maps: Maps, entry: Edit) -> EditResult:
    assert options.image is not None
    edited, reference = read_painted(options.image, maps, options.layer)
    request = EditRequest.of(options)
    identity = fit_identity(clip, maps, options.layer)
    made_from = digest(request.fingerprint(), options.image, identity)
    paths = [entry.atlas_path(options.layer), entry.reference_path(options.layer)]
    result = EditResult(entry, options.layer, [])
    if _is_done(entry, options.layer, made_from, paths):
        result.up_to_date = True
    else:
        _forget(entry, options.layer, result.notes)
        for path, image in zip(paths, (edited, reference), strict=True):
            write_image(path, image)
            entry.sign(path)
        write_stamp(entry.folder, identity, f"fit {options.layer}")  # rendering asks for the fit an atlas stands on
    _record(entry, options.layer, request, [], made_from, result.up_to_date)
    return result
