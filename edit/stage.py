"""The edit stage: from a request to edited keyframes (or an edited atlas) in the folder of an edit."""

from __future__ import annotations

from tqdm import tqdm

from atlas.clip.clip import Clip, checked_name
from atlas.clip.edits import Edit
from atlas.errors import UserError
from atlas.maps.coverage import visibility
from atlas.maps.maps import Maps, fit_identity, open_maps
from atlas.storage.atomic import atomic_folder
from atlas.storage.images import to_float, write_image
from atlas.storage.stamps import digest
from atlas.system.cost import measured
from atlas.system.terminal import visible
from edit.editors.filters import FilterEditor
from edit.editors.images import ImagesEditor
from edit.editors.painted import read_painted
from edit.editors.protocol import Keyframe, KeyframeEditor, cut_out
from edit.keep import keep_mask
from edit.prompted import edit_by_prompt
from edit.record import EditResult, forget, is_done, record, save_atlas
from edit.request.keyframes import DEFAULT, automatic_count, checked, listed
from edit.request.options import EditOptions
from edit.request.prompting import stray
from edit.request.request import EditRequest

EDITORS = {"images": "images", "filter": "filter", "atlas": "image", "diffusion": "prompt"}  # and the option that each needs


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
    mask = keep_mask(options.keep, maps, options.layer)
    if options.editor == "atlas":
        result = _take_painted(options, clip, maps, entry)
    elif options.editor == "diffusion":
        result = edit_by_prompt(options, clip, maps, entry)
    else:
        result = _edit_keyframes(options, clip, maps, entry)
    if mask is not None:
        entry.save_keep(options.layer, mask)
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
    if options.editor == "diffusion":
        options.check()
        if not -(2**63) <= options.seed < 2**64:
            raise UserError(f"--seed {options.seed} is out of range: choose from {-(2**63)} to {2**64 - 1}")
    elif option := stray(options):
        raise UserError(f"{option} is for --editor diffusion, not --editor {options.editor}: leave one of them out")


def _edit_keyframes(options: EditOptions, clip: Clip, maps: Maps, entry: Edit) -> EditResult:
    """Editors that need no model."""
    layer = options.layer
    editor, keyframes = _editor_and_keyframes(options, clip, maps)
    covered = visibility(maps, layer).share(keyframes)
    result = EditResult(entry, layer, keyframes, covered)
    request = EditRequest.of(options)
    made_from = digest(request.fingerprint(), keyframes, editor.fingerprint(keyframes), fit_identity(clip, maps, layer))
    paths = [entry.keyframe_path(layer, index) for index in keyframes]
    if is_done(entry, layer, made_from, paths):
        result.up_to_date = True
    else:
        with measured(clip.folder, f"edit {entry.name} {layer}") as cost:
            forget(entry, layer, result.notes)
            with atomic_folder(entry.keyframes_folder(layer)) as folder:
                for index in tqdm(keyframes, desc=visible(f"edit {layer}"), unit="keyframe", disable=options.quiet):
                    keyframe = Keyframe(index, to_float(clip.frame(index)), maps.opacity(layer, index))
                    write_image(folder / f"{index:05d}.png", cut_out(keyframe, editor.edit(keyframe)))
            entry.sign_keyframes(layer)
            cost.update(frames=len(keyframes), width=clip.width, height=clip.height)
    record(entry, layer, request, keyframes, made_from, result.up_to_date)
    return result


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


def _take_painted(options: EditOptions, clip: Clip, maps: Maps, entry: Edit) -> EditResult:
    assert options.image is not None
    layer = options.layer
    edited, reference = read_painted(options.image, maps, layer)
    request = EditRequest.of(options)
    identity = fit_identity(clip, maps, layer)
    made_from = digest(request.fingerprint(), options.image, identity)
    result = EditResult(entry, layer, [])
    if is_done(entry, layer, made_from, [entry.atlas_path(layer), entry.reference_path(layer)]):
        result.up_to_date = True
    else:
        forget(entry, layer, result.notes)
        save_atlas(entry, layer, edited, reference, identity)
    record(entry, layer, request, [], made_from, result.up_to_date)
    return result
