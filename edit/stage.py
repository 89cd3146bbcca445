"""The edit stage: from a request to edited keyframes (or an edited atlas) in the folder of an edit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from atlas.clip.clip import Clip, checked_name
from atlas.clip.edits import Edit
from atlas.clip.keep import read_keep
from atlas.maps.maps import Maps, fit_identity, open_maps
from atlas.storage.images import to_float, to_uint8, write_image
from atlas.storage.stamps import digest
from atlas.system.cost import measured
from atlas.system.terminal import visible
from edit.editors import EditOptions
from edit.editors.choice import chosen_editor
from edit.editors.protocol import AtlasEditor, FittedLayer, Keyframe, KeyframeEditor, LayerEditor, cut_out
from edit.record import EditResult, forget, is_done, record, replaced_when_done, save_atlas
from edit.request.request import EditRequest


@dataclass
class _Job:
    """One layer to edit, and where the result is kept."""

    entry: Edit
    layer: FittedLayer
    request: EditRequest
    quiet: bool

    def made_from(self, editor: LayerEditor, *keyframes: list[int]) -> str:
        """Digest of all that decides the result."""
        fit = [] if editor.holds_fit else [fit_identity(self.layer.clip, self.layer.maps, self.layer.name)]
        return digest(self.request.fingerprint(), *keyframes, editor.fingerprint(), *fit)


def edit(options: EditOptions) -> EditResult:
    """Edit one layer and record the request in the edit's folder; other layers of the edit stay as they are.

    Everything is checked before anything is written. An unchanged request whose files are there does nothing, so
    that keyframes repainted by hand stay; where a changed one replaces them, they move to the edit's replaced/.
    Raises UserError for an unknown layer, fit, filter or keyframe, and for images that do not fit the clip.
    """
    clip = Clip.open(options.clip)
    checked_name(options.name, "edit")
    clip.check_layer(options.layer)
    editor = chosen_editor(options)
    maps = open_maps(clip, options.fit, options.layer)
    entry = Edit.open_or_new(clip, options.name, options.fit)
    mask = _keep_mask(options.keep, maps, options.layer)
    layer = FittedLayer(clip, maps, options.layer, entry.cache_folder(options.layer))
    job = _Job(entry, layer, EditRequest.of(options, editor.asked_for(options.layer)), options.quiet)
    opened = editor.open(layer)
    result = _edit_keyframes(job, opened) if isinstance(opened, KeyframeEditor) else _edit_atlas(job, opened)
    if mask is not None:
        entry.save_keep(options.layer, mask)
    return result


def _edit_keyframes(job: _Job, editor: KeyframeEditor) -> EditResult:
    entry, layer, clip = job.entry, job.layer.name, job.layer.clip
    keyframes = editor.keyframes
    result = EditResult(entry, layer, keyframes, job.layer.seen.share(keyframes))
    made_from = job.made_from(editor, keyframes)
    if is_done(entry, layer, made_from, [entry.keyframe_path(layer, index) for index in keyframes]):
        result.up_to_date = True
    else:
        editor.check()
        with (
            measured(clip.folder, f"edit {entry.name} {layer}") as cost,
            replaced_when_done(entry, layer, result.notes, in_place=editor.is_slow) as folder,
        ):
            for index in tqdm(editor.order, desc=visible(f"edit {layer}"), unit="keyframe", disable=job.quiet):
                keyframe = Keyframe(index, to_float(clip.frame(index)), job.layer.maps.opacity(layer, index))
                write_image(folder / f"{index:05d}.png", cut_out(keyframe, editor.edit(keyframe)))
                if folder == entry.keyframes_folder(layer):
                    entry.sign_keyframes(layer)  # a killed run's keyframes are no repainted ones
            cost.update(frames=len(keyframes), width=clip.width, height=clip.height)
    result.notes += editor.notes
    record(entry, layer, job.request, keyframes, made_from, result.up_to_date)
    return result


def _edit_atlas(job: _Job, editor: AtlasEditor) -> EditResult:
    entry, layer, clip = job.entry, job.layer.name, job.layer.clip
    result = EditResult(entry, layer, [])
    made_from = job.made_from(editor)
    if is_done(entry, layer, made_from, [entry.atlas_path(layer), entry.reference_path(layer)]):
        result.up_to_date = True
    else:
        editor.check()
        with measured(clip.folder, f"edit {entry.name} {layer}") as cost:
            edited, reference = editor.edit()
            forget(entry, layer, result.notes)
            save_atlas(entry, layer, edited, reference, fit_identity(clip, job.layer.maps, layer))
            cost.update(frames=0, width=edited.shape[1], height=edited.shape[0])
    result.notes += editor.notes
    record(entry, layer, job.request, [], made_from, result.up_to_date)
    return result


def _keep_mask(
    path: Path | None,
    maps: Maps,
    layer: str,
) -> np.ndarray | None:  # (N, N) uint8
    """The mask of --keep, checked; UserError where it is no image or not of the atlas's size."""
    return None if path is None else to_uint8(read_keep(path, maps.atlas_path(layer), maps.atlas_size(layer)))
