"""From a video or a folder of frames to the folder of a clip: frames, masks, flow."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro
from tqdm import tqdm

from atlas.clip.clip import BACKGROUND, Clip, Source
from atlas.clip.flow import write_flow
from atlas.errors import UserError
from atlas.masks.box import Box, masks_from_box, parse_box
from atlas.masks.folder import MaskFolder, layer_names, open_masks
from atlas.masks.gaps import fill_gaps
from atlas.masks.motion import masks_from_motion
from atlas.masks.overview import mask_sheet
from atlas.preparation.building_site import building_site, site_prefix
from atlas.preparation.cuts import CutFinder, refuse_cuts
from atlas.preparation.repainted import FILES, Prepared, record, told
from atlas.storage.bounds import FASTEST, MOST_FRAMES, SLOWEST, is_rate
from atlas.storage.images import write_image
from atlas.storage.links import refuse_outward_links, remove
from atlas.storage.stamps import STAMP, digest, is_up_to_date, read_stamp, write_stamp
from atlas.system.command import CommonOptions
from atlas.system.cost import measured
from atlas.system.terminal import say
from atlas.video.source import SMALLEST, FrameSource, fit_image, fitted_size, open_source, picked_frames

_METHOD = 3
"""Counts up when the same inputs give another clip than before."""
_PARTS = ("frames", "masks", "flow", "masks.png")


@dataclass(kw_only=True)
class PrepareOptions(CommonOptions):
    """Make a clip from a video file (mp4, mov, webm, gif) or a folder of frames (JPEG, PNG)."""

    source: tyro.conf.Positional[Path]
    """Video file or folder of frames; transparent pixels are put over black."""
    clip: tyro.conf.Positional[Path]
    """Folder of the clip to make; fits and edits in it are kept when it is made again."""
    masks: str = "auto"
    """Folder of masks, as large as the source and named as its frames (some may be missing), or with a folder of them for each
    object; `auto`: what moves against the background; or `box:x,y,w,h`: the object in this box of the first frame taken, in
    the source's pixels."""
    max_side: int = 768
    """Frames are averaged down until their longer side is at most this many pixels; they are never enlarged."""
    start: int = 0
    """First frame taken, counted from 0."""
    frames: int | None = None
    """How many frames are taken; default: to the end."""
    fps: float | None = None
    """Frames per second: a video is resampled to it by picking frames; a folder of frames plays at it (default 24)."""
    cuts: Literal["refuse", "ignore"] = "refuse"
    """What is done where another shot starts inside the clip: say where and stop, or go on (the layers of both shots mix)."""


def prepare(options: PrepareOptions) -> Clip:
    """Make the clip `options.clip` of `options.source`, or find it up to date.

    Frames and masks that were repainted since count: they stay where the same clip is made again because something of it is
    missing or damaged, and are moved to the clip's replaced/ where another takes its place. Everything is built beside the
    clip and moved into it at the end, `clip.json` last. Raises UserError where the source, the masks or the clip's folder
    will not do, or another shot starts in it; nothing has been written then.
    """
    _check_numbers(options)
    _check_target(options)
    source = open_source(options.source, options.fps)
    indices = _chosen_frames(source, options)
    box = parse_box(options.masks, source.width, source.height)
    folder = None if box is not None or options.masks == "auto" else open_masks(Path(options.masks), source, indices)
    made_from = _digest(source, options, folder, indices)
    earlier, same = Prepared(options.clip), is_up_to_date(options.clip, made_from)
    if same and (clip := _opened(options.clip)) is not None:
        damaged = earlier.damaged(clip)
        if damaged is None:
            say(f"{clip.folder} is up to date" + _kept(earlier.repainted()))
            return clip
        say(f"{damaged} is missing, damaged or of other frames: {clip.folder} is made again")
    with measured(options.clip, "prepare") as cost, building_site(options.clip) as making:
        clip, kept = _build(making, source, indices, options, box, folder, earlier if same else None)
        if moved := earlier.save_others(kept):
            say(f"changed since they were made, and replaced: {told([str(path) for path in moved])}")
        _move_in(clip, options.clip, made_from, kept)
        cost.update(frames=clip.frames, width=clip.width, height=clip.height)
    _report(clip, list(kept))
    return clip


def _kept(names: list[str]) -> str:
    return f"; changed since they were made, and kept: {told(names)} (delete them to have them made again)" if names else ""


def _check_numbers(options: PrepareOptions) -> None:
    if options.max_side < SMALLEST:
        raise UserError(f"--max-side {options.max_side} is too small: choose at least {SMALLEST}")
    if options.start < 0:
        raise UserError(f"--start {options.start} is negative: frames count from 0")
    if options.frames is not None and options.frames < 2:
        raise UserError(f"--frames {options.frames} is too few: a fit needs at least two frames")
    if options.frames is not None and options.frames > MOST_FRAMES:
        raise UserError(f"--frames {options.frames} is too many: a clip holds at most {MOST_FRAMES}")
    if options.fps is not None and not is_rate(float(options.fps)):
        raise UserError(f"--fps {options.fps:g} is no frame rate: choose one between {SLOWEST:g} and {FASTEST:g}")


def _check_target(options: PrepareOptions) -> None:
    """Nothing that is not a clip is ever overwritten."""
    target, source = options.clip, options.source
    if target.exists() and not target.is_dir():
        raise UserError(f"{target} is a file: name a folder for the clip")
    if (target / "clip.json").is_file() or (target / STAMP).is_file():  # what is no clip is not touched
        refuse_outward_links(target)
    ours = (target / "clip.json").is_file() or bool(read_stamp(target))  # the stamp alone: a run killed while moving in
    others = [path for path in target.iterdir() if not path.name.startswith(site_prefix(target))] if target.is_dir() else []
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


def _chosen_frames(source: FrameSource, options: PrepareOptions) -> list[int]:
    if options.start >= source.frames:
        raise UserError(f"--start {options.start} is past the end: {options.source} has {source.frames} frames")
    wanted_fps = options.fps if source.video else None
    indices = picked_frames(source.frames, source.fps, options.start, options.frames, wanted_fps)
    if len(indices) > MOST_FRAMES:
        raise UserError(f"{options.source} gives more than {MOST_FRAMES} frames: take fewer with --frames, or a lower --fps")
    if options.frames is not None and len(indices) < options.frames:
        raise UserError(
            f"--frames {options.frames} is too many: {options.source} gives {len(indices)} from frame {options.start} on"
        )
    if len(indices) < 2:
        raise UserError(f"{options.source} gives one single frame from frame {options.start} on, a fit needs at least two")
    if len(set(indices)) < 2:
        raise UserError(f"--fps {options.fps:g} repeats one single frame, a fit needs at least two: choose a lower rate")
    return indices


def _digest(source: FrameSource, options: PrepareOptions, masks: MaskFolder | None, indices: list[int]) -> str:
    settings = [_METHOD, options.max_side, options.fps, str(source.fps), indices, None if masks else options.masks]
    settings += [options.cuts] * (options.cuts != "refuse")  # what has no cut is the same clip either way, and older clips stay
    files = [path or "none" for column in masks.files for path in column] if masks else []
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


def _build(
    making: Path,
    source: FrameSource,
    indices: list[int],
    options: PrepareOptions,
    box: Box | None,
    masks: MaskFolder | None,
    earlier: Prepared | None,
) -> tuple[Clip, dict[str, str]]:
    """Write all parts of the clip into the folder `making`; what was repainted in the `earlier` one stays, and is returned."""
    size = fitted_size(source.width, source.height, options.max_side)
    fps = float(options.fps or source.fps)
    origin = Source(
        path=str(options.source.resolve()),
        sha256=source.sha256,
        width=source.width,
        height=source.height,
        start=options.start,
        indices=indices,
        fps=float(source.fps) if source.video else 0.0,
        audio=bool(source.video and source.video.audio),
        colour=source.video.colour if source.video else {},
    )
    clip = Clip(making, options.clip.resolve().name, len(indices), size[0], size[1], fps, [], origin)
    reading = tqdm(source.read(indices), total=len(indices), desc="frames", unit="frame", disable=options.quiet)
    finder = CutFinder() if options.cuts == "refuse" else None
    for number, frame in enumerate(reading):
        image = fit_image(frame, size)
        write_image(clip.frame_path(number), image)
        if finder:
            finder.add(image)
    if finder:
        refuse_cuts(finder.cuts(), indices, options.source)
    kept = earlier.keep(clip, "frames/") if earlier else {}
    if masks is not None:
        clip.layers = [*layer_names(masks.objects), BACKGROUND]
        for number in tqdm(range(clip.frames), desc="masks", unit="frame", disable=options.quiet):
            for layer, mask in zip(clip.objects, masks.read(number, size), strict=True):
                write_image(clip.mask_path(layer, number), mask)
    else:
        clip.layers = [*layer_names(1), BACKGROUND]
        if box is not None:
            found = masks_from_box(
                clip.frame, clip.frames, box.scaled(size[0] / source.width, size[1] / source.height), options.quiet
            )
        else:
            found = masks_from_motion(clip.frame, clip.frames, options.quiet)
        for number, mask in enumerate(found):
            write_image(clip.mask_path(clip.layers[0], number), mask)
    write_flow(making / "flow", clip.frames, clip.frame, quiet=options.quiet)
    if masks is not None:
        _fill_gaps(clip, masks)
    if earlier:
        kept |= earlier.keep(clip, "masks/")
    write_image(making / "masks.png", mask_sheet(clip))
    return clip, kept


def _fill_gaps(clip: Clip, masks: MaskFolder) -> None:
    for number, layer in enumerate(clip.objects):
        if filled := fill_gaps(clip, layer, masks.missing(number)):
            first = ", ".join(map(str, filled[:5])) + (", ..." if len(filled) > 5 else "")
            say(f"{layer}: {len(filled)} of {clip.frames} masks are missing or empty ({first}): carried over from neighbours")


def _move_in(clip: Clip, target: Path, made_from: str, kept: dict[str, str]) -> None:
    """Put the finished parts in the place of the old ones; fits and edits stay, and their own stamps say that they are stale.

    A run killed in between leaves a stamp without clip.json: no clip, but a folder that may be made again.
    """
    target.mkdir(parents=True, exist_ok=True)
    write_stamp(target, "")
    for name in ("clip.json", FILES):
        (target / name).unlink(missing_ok=True)
    for part in _PARTS:
        old = target / part
        remove(old)
        (clip.folder / part).replace(old)
    clip.folder = target
    record(clip, kept)
    clip.save()
    write_stamp(target, made_from)


def _report(clip: Clip, kept: list[str]) -> None:
    size, layers = f"{clip.width}x{clip.height}", ", ".join(clip.layers)
    say(f"{clip.folder}: {clip.frames} frames, {size}, {clip.fps:g} fps, layers {layers}{_kept(kept)}")
    if (clip.source.width, clip.source.height) != (clip.width, clip.height):
        say(f"the source is {clip.source.width}x{clip.source.height}: --max-side sets the size worked at")
    say(f"what was taken for the foreground: {clip.folder / 'masks.png'}")
