"""From a video or a folder of frames to the folder of a clip: frames, masks, flow."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atlas.clip.at_work import making_clip
from atlas.clip.clip import BACKGROUND, Clip, Source
from atlas.clip.given_flow.steps import GivenFlow, open_given_flow
from atlas.clip.writer import ClipWriter
from atlas.errors import UserError, a_few
from atlas.masks.overview import mask_sheet
from atlas.masks.source import MaskSource, open_mask_source
from atlas.preparation.again import RECORD, options_again, write_record
from atlas.preparation.building_site import building_site, site_prefix
from atlas.preparation.cuts import CutFinder, refuse_cuts
from atlas.preparation.options import PrepareOptions, check_numbers
from atlas.preparation.repainted import FILES, Prepared, record
from atlas.preparation.taken import open_taken
from atlas.storage.atomic import flush_folder, flush_tree
from atlas.storage.images import write_image
from atlas.storage.lease.file import LeaseFile
from atlas.storage.lease.lease import check_ours, reading
from atlas.storage.links import refuse_outward_links, remove
from atlas.storage.stamps import STAMP, digest, is_up_to_date, read_stamp, write_stamp
from atlas.system.cost import measured
from atlas.system.decoration import decoration
from atlas.system.terminal import say
from atlas.video.source import FrameSource, fit_image, fitted_size

_METHOD = 6
"""Counts up when the same inputs give another clip than before."""
_SHEET = "masks.png"
_PARTS = ("frames", "masks", "flow", _SHEET, RECORD)
_JOBS = "jobs"
"""Folder in a clip for the records of commands that were started in the background; it may be there before the clip is."""


@dataclass(frozen=True)
class _Plan:
    """What a clip is made of."""

    options: PrepareOptions
    source: FrameSource
    indices: list[int]
    """The source's frame shown at each clip frame."""
    masks: MaskSource
    flow: GivenFlow | None


def prepare(options: PrepareOptions) -> Clip:
    """Make the clip `options.clip` of `options.source`, or find it up to date; without a source, give a clip other masks.

    Frames and masks that were repainted since count: they stay where the same clip is made again because something of it is
    missing or damaged, and are moved to the clip's replaced/ where another takes its place. Everything is built beside the
    clip and moved into it at the end, `clip.json` last. Raises UserError where the source, the masks or the clip's folder
    will not do, or another shot starts in it; nothing has been written then.
    """
    earlier = read_stamp(options.source) if options.clip is None else None
    if earlier is not None:  # a clip's folder stands alone
        options = options_again(options)
    check_numbers(options)
    _check_target(options)
    # Masks and flow in files are held against all frames of the source.
    source, indices = open_taken(
        options.source,
        options.start,
        options.frames,
        options.fps,
        whole=os.path.exists(options.masks) or options.flow is not None,
    )
    masks = open_mask_source(options.masks, source, indices, options)
    size = fitted_size(source.width, source.height, options.max_side)
    flow = open_given_flow(options.flow, source, indices, size) if options.flow is not None else None
    plan = _Plan(options, source, indices, masks, flow)
    made_from = _digest(plan)
    with reading(options.folder, inside=True, wait=options.wait):
        if (clip := _up_to_date(options.folder, made_from, is_held=False)) is not None:
            return clip
    with making_clip(options.folder, wait=options.wait):
        _check_target(options)  # somebody else may have made something there while we waited
        if earlier is not None and read_stamp(options.folder) != earlier:
            raise UserError(f"{options.folder} got other masks meanwhile: look at {_SHEET} there, and run the command again")
        return _up_to_date(options.folder, made_from, is_held=True) or _prepared_anew(plan, made_from)


def _up_to_date(folder: Path, made_from: str, *, is_held: bool) -> Clip | None:
    """The clip in a folder where it is whole and made from this, a digest; says so. Its sheet is drawn anew if it `is_held`."""
    if not is_up_to_date(folder, made_from) or (clip := _opened(folder)) is None:
        return None
    earlier = Prepared(folder)
    if earlier.damaged(clip) is not None:
        return None
    if clip.objects and not (folder / _SHEET).is_file():
        if not is_held:
            return None
        _draw_masks(clip)
    say(f"{folder} is up to date" + _kept(earlier.repainted()))
    return clip


def _prepared_anew(plan: _Plan, made_from: str) -> Clip:
    """Build a clip and put it into its folder, which is held for that."""
    options = plan.options
    earlier, same = Prepared(options.folder), is_up_to_date(options.folder, made_from)
    if same and (clip := _opened(options.folder)) is not None:
        say(f"{earlier.damaged(clip)} is missing, damaged or of other frames: {clip.folder} is made again")
    for remark in plan.source.remarks():
        say(f"{options.source} {remark}")
    for remark in plan.masks.remarks():
        say(remark)
    if plan.flow:
        say(plan.flow.said)
    with measured(options.folder, "prepare") as cost, building_site(options.folder) as making:
        clip, kept = _build(making, plan, earlier if same else None)
        if moved := earlier.save_others(kept):
            say(f"changed since they were made, and replaced: {a_few(moved)}")
        _move_in(clip, options.folder, made_from, kept)
        cost.update(frames=clip.frames, width=clip.width, height=clip.height)
    _report(clip, list(kept))
    return clip


def _kept(names: list[str]) -> str:
    return f"; changed since they were made, and kept: {a_few(names)} (delete them to have them made again)" if names else ""


def _check_target(options: PrepareOptions) -> None:
    """Nothing that is not a clip is ever overwritten."""
    target, source = options.folder, options.source
    if target.exists() and not target.is_dir():
        raise UserError(f"{target} is a file: name a folder for the clip")
    if (target / "clip.json").is_file() or (target / STAMP).is_file():  # what is no clip is not touched
        refuse_outward_links(target)
    ours = (target / "clip.json").is_file() or bool(read_stamp(target))  # the stamp alone: a run killed while moving in
    passing = (site_prefix(target), LeaseFile.inside(target).path.name)  # of commands at work there
    others = [path for path in target.iterdir() if not path.name.startswith(passing)] if target.is_dir() else []
    others = [path for path in others if path.name != _JOBS]  # of the app, which may have started this one
    if others and not ours:
        raise UserError(f"{target} holds other files and is not a clip: name a new or empty folder")
    if source.exists() and source.resolve().is_relative_to(target.resolve()):
        raise UserError(f"{source} lies inside the clip {target}: name another folder for the clip")
    existing = next(parent for parent in (target.absolute(), *target.absolute().parents) if parent.exists())
    if not existing.is_dir():
        raise UserError(f"{existing} is a file: a clip cannot be made below it")
    if not os.access(target if target.is_dir() else existing, os.W_OK):
        raise UserError(f"{existing} cannot be written to: choose another folder for the clip")
    if (target / "clip.json").is_file():
        _refuse_newer(target)


def _refuse_newer(target: Path) -> None:
    """A clip of a newer format version is not replaced; one that is merely damaged is."""
    try:
        Clip.open(target)
    except UserError as problem:
        if "format version" in str(problem):
            raise


def _digest(plan: _Plan) -> str:
    options, source = plan.options, plan.source
    text, files = plan.masks.digest_parts()
    settings = [_METHOD, options.max_side, options.fps, str(source.fps), plan.indices, text]
    settings += [options.cuts] * (options.cuts != "refuse")  # what has no cut is the same clip either way, and older clips stay
    if plan.flow:
        settings.append("flow")
        files = [*files, *plan.flow.files]
    return digest(source.sha256, settings, *files)


def _opened(folder: Path) -> Clip | None:
    """The clip in `folder` if it is whole."""
    try:
        clip = Clip.open(folder)
        for way in ("forward", "backward"):
            clip.flow(way)
            clip.flow_validity(way)
    except UserError:
        return None
    return clip


def _build(making: Path, plan: _Plan, earlier: Prepared | None) -> tuple[Clip, dict[str, str]]:
    """Write all parts of the clip into the folder `making`; what was repainted in the `earlier` one stays, and is returned."""
    clip = _described(making, plan)
    writer = ClipWriter(clip, plan.options.quiet)
    writer.write_frames(_frames(plan, (clip.width, clip.height)))
    kept = earlier.keep(clip, "frames/") if earlier else {}
    writer.write_masks(plan.masks.masks(clip, quiet=plan.options.quiet))
    writer.write_flow(plan.flow)
    for layer, filled in plan.masks.complete(clip).items():
        if filled:
            share = f"{len(filled)} of {clip.frames} masks"
            say(f"{layer}: {share} are missing or empty ({a_few(filled, 5)}): carried over from neighbours")
    if earlier:
        kept |= earlier.keep(clip, "masks/")
    _draw_masks(clip)
    write_record(making, plan.options)
    return clip, kept


def _draw_masks(clip: Clip) -> None:
    if not clip.objects:
        return
    with decoration(str(clip.folder / _SHEET)):
        write_image(clip.folder / _SHEET, mask_sheet(clip))


def _described(making: Path, plan: _Plan) -> Clip:
    """The clip to be written."""
    options, source = plan.options, plan.source
    width, height = fitted_size(source.width, source.height, options.max_side)
    origin = Source(
        path=str(options.source.resolve()),
        sha256=source.sha256,
        width=source.width,
        height=source.height,
        start=options.start,
        indices=plan.indices,
        fps=float(source.fps) if source.video else 0.0,
        first_time=max(0.0, float(source.times[plan.indices[0]])) if source.video else None,
        audio=bool(source.video and source.video.audio),
        colour=source.colour,
        deep=source.deep,
    )
    name, fps, layers = options.folder.resolve().name, float(options.fps or source.fps), [*plan.masks.layers, BACKGROUND]
    return Clip(making, name, len(plan.indices), width, height, fps, layers, origin)


def _frames(plan: _Plan, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """The frames at the clip's size; UserError after the last where another shot starts in them."""
    finder = CutFinder() if plan.options.cuts == "refuse" else None
    for frame in plan.source.read(plan.indices):
        image = fit_image(frame, size)
        if finder:
            finder.add(image)
        yield image
    if finder:
        refuse_cuts(finder.cuts(), plan.indices, plan.options.source)


def _move_in(clip: Clip, target: Path, made_from: str, kept: dict[str, str]) -> None:
    """Put the finished parts in the place of the old ones; fits and edits stay, and their own stamps say that they are stale.

    A run killed in between leaves a stamp without clip.json: no clip, but a folder that may be made again.
    """
    flush_tree(clip.folder)
    check_ours(target)
    target.mkdir(parents=True, exist_ok=True)
    write_stamp(target, "")
    for name in ("clip.json", FILES):
        (target / name).unlink(missing_ok=True)
    for part in _PARTS:
        old = target / part
        remove(old)
        if (clip.folder / part).exists():  # without objects there are no masks, and a sheet only decorates
            (clip.folder / part).replace(old)
    flush_folder(target)
    clip.folder = target
    record(clip, kept)
    clip.save()
    write_stamp(target, made_from)


def _report(clip: Clip, kept: list[str]) -> None:
    size, layers = f"{clip.width}x{clip.height}", ", ".join(clip.layers)
    say(f"{clip.folder}: {clip.frames} frames, {size}, {clip.fps:g} fps, layers {layers}{_kept(kept)}")
    if (clip.source.width, clip.source.height) != (clip.width, clip.height):
        say(f"the source is {clip.source.width}x{clip.source.height}: --max-side sets the size worked at")
    if clip.objects:
        say(f"what was taken for the foreground: {clip.folder / _SHEET}")
