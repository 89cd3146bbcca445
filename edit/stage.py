"""The edit stage: from a request to edited keyframes (or an edited atlas) in the folder of an edit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atlas.clip.at_work import at_work, holds_clip
from atlas.clip.clip import Clip, checked_name, is_name
from atlas.clip.edits import Edit
from atlas.clip.keep import read_keep
from atlas.maps.maps import open_maps
from atlas.storage.images import to_float, to_uint8, to_uint16, write_image
from atlas.storage.stamps import digest
from atlas.system.cost import measured
from atlas.system.progress import Progress
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
        fit = [] if editor.holds_fit else [self.layer.identity()]
        return digest(self.request.fingerprint(), *keyframes, editor.fingerprint(), *fit)

    @property
    def on_frames(self) -> bool:
        """Whether every frame is edited."""
        return self.request.target == "frames"


@holds_clip
def edit(options: EditOptions) -> EditResult:
    """Edit one layer, or whole frames, and record the request in the edit's folder; its other layers stay as they are.

    Everything is checked before anything is written. An unchanged request whose files are there does nothing, so
    that keyframes repainted by hand stay; where a changed one replaces them, they move to the edit's replaced/.
    Raises UserError for an unknown layer, fit, filter or keyframe, and for images that do not fit the clip.
    """
    clip = Clip.open(options.clip)
    for name, kind in ((options.name, "edit"), (options.fit, "fit")):
        checked_name(name, kind)
    clip.check_editable(options.layer)
    reads = [clip.fit_folder(options.fit), *map(clip.edit_folder, _other_edits(options))]
    with at_work(clip.folder, writes=[clip.edit_folder(options.name)], reads=reads, wait=options.wait):
        return _edit(options, clip)


def _other_edits(options: EditOptions) -> list[str]:
    """Names of the edits that this one is to start from or learn from."""
    named = [text.partition(":")[2] for text in (options.start_from, options.tune) if text and text.startswith("edit:")]
    return [name for name in named if is_name(name)]


def _edit(options: EditOptions, clip: Clip) -> EditResult:
    """Edit a clip that is held for it."""
    editor = chosen_editor(options)
    maps = open_maps(clip, options.fit) if editor.needs_fit(options.layer) else None
    entry = Edit.open_or_new(clip, options.name, options.fit)
    entry.check_addition(options.layer)
    layer = FittedLayer(clip, maps, options.layer, entry.cache_folder(options.layer))
    mask = None if options.keep is None else _keep_mask(options.keep, layer)
    opened = editor.open(layer)
    request = EditRequest.of(options, editor.target(options.layer), editor.asked_for(options.layer))
    job = _Job(entry, layer, request, options.quiet)
    result = _edit_keyframes(job, opened) if isinstance(opened, KeyframeEditor) else _edit_atlas(job, opened)
    if mask is not None:
        entry.save_keep(options.layer, mask)
    return result


def _edit_keyframes(job: _Job, editor: KeyframeEditor) -> EditResult:
    entry, layer, clip = job.entry, job.layer.name, job.layer.clip
    keyframes = editor.keyframes
    result = EditResult(entry, layer, keyframes, _covered(job, keyframes))
    made_from = job.made_from(editor, keyframes)
    if is_done(entry, layer, made_from, [entry.keyframe_path(layer, index) for index in keyframes]):
        result.up_to_date = True
    else:
        editor.check()
        with (
            measured(clip.folder, f"edit {entry.name} {layer}") as cost,
            # All frames at once have their place taken when they are done: signing them one by one is quadratic work.
            replaced_when_done(entry, layer, result.notes, in_place=editor.is_slow and not job.on_frames) as folder,
        ):
            unit = "frame" if job.on_frames else "keyframe"
            for index in Progress(editor.order, desc=visible(f"edit {layer}"), unit=unit, quiet=job.quiet):
                keyframe = Keyframe(index, to_float(clip.frame(index)), job.layer.opacity(index))
                image = cut_out(keyframe, editor.edit(keyframe))
                image = to_uint16(image) if editor.deep else image
                if folder == entry.keyframes_folder(layer):
                    entry.write_keyframe(layer, index, image)
                else:
                    write_image(folder / f"{index:05d}.png", image)
            cost.update(frames=len(keyframes), width=clip.width, height=clip.height)
        if job.on_frames:
            entry.sign_frames(layer, job.layer.identity())
    result.notes += editor.notes
    record(entry, layer, job.request, keyframes, made_from, result.up_to_date)
    return result


def _covered(job: _Job, keyframes: list[int]) -> float | None:
    """Share of the layer's visible pixels that the keyframes see; UserError where it has none. None of whole frames."""
    share = None if job.layer.is_whole else job.layer.seen.share(keyframes)
    return None if job.on_frames else share


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
            save_atlas(entry, layer, edited, reference, job.layer.identity())
            cost.update(frames=0, width=edited.shape[1], height=edited.shape[0])
    result.notes += editor.notes
    record(entry, layer, job.request, [], made_from, result.up_to_date)
    return result


def _keep_mask(path: Path, layer: FittedLayer) -> np.ndarray:  # (N, N) uint8
    """The mask of --keep, checked; UserError where it is no image or not of the atlas's size."""
    maps, name = layer.maps, layer.name
    return to_uint8(read_keep(path, maps.atlas_path(name), maps.atlas_size(name)))
