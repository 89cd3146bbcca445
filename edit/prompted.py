"""Editing a layer by a prompt: keyframe after keyframe, each written as it is done, or the layer's atlas itself."""

from __future__ import annotations

from tqdm import tqdm

from atlas.clip.clip import Clip
from atlas.clip.edits import Edit
from atlas.errors import UserError
from atlas.maps.coverage import visibility
from atlas.maps.maps import Maps, fit_identity
from atlas.storage.images import to_float, write_image
from atlas.storage.stamps import digest
from atlas.system.cost import measured
from atlas.system.terminal import visible
from edit.diffusion.sources import Sources
from edit.editors.prompt import DiffusionEditor
from edit.editors.prompt_atlas import AtlasPrompt
from edit.editors.protocol import Keyframe, cut_out
from edit.record import EditResult, forget, is_done, record, replaced_when_done, save_atlas
from edit.request.keyframes import DEFAULT, automatic_count, listed, outwards
from edit.request.options import EditOptions
from edit.request.request import EditRequest


def edit_by_prompt(options: EditOptions, clip: Clip, maps: Maps, entry: Edit) -> EditResult:
    """Edit the layer as `options` ask; UserError, before anything is written, where that is not possible."""
    check_target(options, options.layer)
    if options.target(options.layer) == "atlas":
        result = _edit_atlas(options, clip, maps, entry)
        for name, given in (("strategy", options.strategy != EditOptions.strategy), ("hold", options.hold > 0)):
            if given:
                result.notes.append(
                    f"--{name} is for keyframes and changed nothing: the atlas of {options.layer} is edited itself"
                )
        return result
    return _edit_keyframes(options, clip, maps, entry)


def check_target(options: EditOptions, layer: str) -> None:
    """UserError where options for keyframes were given and the atlas is edited itself."""
    if options.target(layer) == "atlas" and (options.keyframes is not None or options.prompt_at):
        raise UserError(f"the atlas of {layer} is edited itself: leave --keyframes and --prompt-at out, or say --on keyframes")


def check_prompts(options: EditOptions, keyframes: list[int]) -> None:
    """UserError where a frame that is no keyframe has a prompt of its own."""
    unused = sorted(set(options.keyframe_prompts()) - set(keyframes))
    if unused:
        raise UserError(f"--prompt-at {unused[0]} is no keyframe: the keyframes are {', '.join(map(str, keyframes))}")


def _edit_keyframes(options: EditOptions, clip: Clip, maps: Maps, entry: Edit) -> EditResult:
    layer = options.layer
    seen = visibility(maps, layer)
    count = automatic_count(options.keyframes or DEFAULT)
    keyframes = listed(options.keyframes or "", clip.frames) if count is None else seen.choose(count)
    check_prompts(options, keyframes)
    sources = Sources(options)
    sources.open_images(clip.width, clip.height, keyframes)
    editor = DiffusionEditor(options, clip, maps, sources, outwards(keyframes, seen), entry.cache_folder(layer))
    made_from = digest(EditRequest.of(options).fingerprint(), keyframes, editor.fingerprint(keyframes))
    result = EditResult(entry, layer, keyframes, seen.share(keyframes))
    if is_done(entry, layer, made_from, [entry.keyframe_path(layer, index) for index in keyframes]):
        result.up_to_date = True
    else:
        editor.check()
        with (
            measured(clip.folder, f"edit {entry.name} {layer}") as cost,
            replaced_when_done(entry, layer, result.notes) as folder,
        ):
            for index in tqdm(editor.order, desc=visible(f"edit {layer}"), unit="keyframe", disable=options.quiet):
                keyframe = Keyframe(index, to_float(clip.frame(index)), maps.opacity(layer, index))
                write_image(folder / f"{index:05d}.png", cut_out(keyframe, editor.edit(keyframe)))
                if folder == entry.keyframes_folder(layer):
                    entry.sign_keyframes(layer)  # a killed run's keyframes are no repainted ones
            cost.update(frames=len(keyframes), width=clip.width, height=clip.height)
        result.notes += editor.notes
    record(entry, layer, EditRequest.of(options), keyframes, made_from, result.up_to_date)
    return result


def _edit_atlas(options: EditOptions, clip: Clip, maps: Maps, entry: Edit) -> EditResult:
    layer = options.layer
    visibility(maps, layer)  # UserError where it is never visible
    sources = Sources(options)
    editor = AtlasPrompt(options, clip, maps, sources, entry.cache_folder(layer))
    made_from = digest(EditRequest.of(options).fingerprint(), editor.key)
    result = EditResult(entry, layer, [])
    if is_done(entry, layer, made_from, [entry.atlas_path(layer), entry.reference_path(layer)]):
        result.up_to_date = True
    else:
        editor.check()
        with measured(clip.folder, f"edit {entry.name} {layer}") as cost:
            edited, reference = editor.edit()
            forget(entry, layer, result.notes)
            save_atlas(entry, layer, edited, reference, fit_identity(clip, maps, layer))
            cost.update(frames=0, width=edited.shape[1], height=edited.shape[0])
        result.notes += editor.notes
    record(entry, layer, EditRequest.of(options), [], made_from, result.up_to_date)
    return result
