"""A folder of Layered Neural Atlases, StableVideo or Text2LIVE as a prepared clip with a finished fit."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import tyro

from atlas.clip.at_work import at_work, making_clip
from atlas.clip.clip import BACKGROUND, Clip, Source, checked_name
from atlas.clip.writer import ClipWriter
from atlas.errors import UserError
from atlas.maps.maps import Maps
from atlas.masks.folder import MaskFolder, open_masks
from atlas.masks.overview import mask_sheet
from atlas.model.checkpoint import save_nla_model
from atlas.model.nla import NlaModel
from atlas.model.nla_config import MOST_FRAMES
from atlas.nla.files import better_frame_count, read_config, read_networks
from atlas.nla.outputs import SIZES, write_nla_atlases, write_nla_maps
from atlas.quality.finish import VERSION, is_whole_fit, write_fit
from atlas.storage.atomic import atomic_folder
from atlas.storage.bounds import FASTEST, SLOWEST, is_rate
from atlas.storage.images import to_float, to_uint8, write_image
from atlas.storage.lease.file import LeaseFile
from atlas.storage.lease.lease import reading, take_along
from atlas.storage.links import refuse_outward_links
from atlas.storage.stamps import digest, is_up_to_date, read_json, write_stamp
from atlas.system.command import StageOptions
from atlas.system.cost import measured
from atlas.system.decoration import decoration
from atlas.system.device import Device, choose_device
from atlas.video.source import FrameSource, list_images, open_source

_METHOD = 1
"""Counts up when the same inputs give another clip than before."""
_OBJECT = "foreground"


@dataclass(kw_only=True)
class ImportOptions(StageOptions):
    """Make a clip with a finished fit of a trained Layered Neural Atlases model, ready to be edited and rendered."""

    folder: tyro.conf.Positional[Path]
    """Folder with config.json and checkpoint, as Layered Neural Atlases, StableVideo and Text2LIVE have it."""
    clip: tyro.conf.Positional[Path]
    """Folder of the clip to make."""
    name: str = "default"
    """Name of the fit; importing another checkpoint of the same frames under another name adds it to the clip,
    whose masks stay as they are."""
    frames: Path | None = None
    """Folder of the frames that were trained on; default: FOLDER/<its name>, as StableVideo has it, FOLDER itself, or
    the one folder of images in it."""
    masks: str = "auto"
    """Folder of masks; `opacity`: where the imported foreground's opacity is above one half; `auto`: the <frames>_maskrcnn
    beside the frames or in FOLDER where there is one, else opacity."""
    frame_count: int | None = None
    """Number of frames that time was normalised by in training; default: the config's, unless there are fewer frames and
    their own number clearly fits better."""
    fps: float | None = None
    """Frames per second (default 24)."""
    atlas_size: int | None = None
    """Texels along each atlas image's side; default: from 1000 to 4000, until the image gives the network's colours."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU if there is one."""


@dataclass
class _Imported:
    """The finished run that `write_fit` writes: nothing is left to do but to evaluate the networks."""

    model: NlaModel
    clip: Clip
    unmasked: list[int]
    """Frames whose mask is to be the opacity's."""
    sizes: Sequence[int]
    """Of the atlases, to choose from."""
    quiet: bool
    log: list[dict[str, Any]] = field(default_factory=list)

    def hand_over(self, folder: Path) -> None:
        """Write the model below `folder`: checkpoint, maps and atlases; and the masks that the clip lacks."""
        save_nla_model(folder / "checkpoint.safetensors", self.model)
        write_nla_maps(self.model, self.clip, folder, quiet=self.quiet)
        maps = Maps(folder)
        for t in self.unmasked:
            inside = maps.opacity(_OBJECT, t) > 0.5
            write_image(self.clip.mask_path(_OBJECT, t), np.where(inside, np.uint8(255), np.uint8(0)))
        write_nla_atlases(self.model, maps, folder, 0, self.sizes)

    def frame(self, t: int) -> np.ndarray:  # (H, W, 3) uint8
        """Frame `t` of the clip."""
        return self.clip.frame(t)


@dataclass
class _Plan:
    """What is imported, read and checked."""

    options: ImportOptions
    device: torch.device
    source: FrameSource
    model: NlaModel
    count: int
    """Frames that are taken."""
    masks: MaskFolder | None
    """None: those of the opacity."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the clip: what was trained at."""
        return self.model.config.resx, self.model.config.resy

    @property
    def atlas_sizes(self) -> Sequence[int]:
        """Texels along the atlases' sides, to choose from."""
        return SIZES if self.options.atlas_size is None else (self.options.atlas_size,)

    @property
    def unmasked(self) -> list[int]:
        """Frames whose mask is to be the opacity's."""
        return list(range(self.count)) if self.masks is None else self.masks.layout.missing

    def config(self) -> dict[str, Any]:
        """What config.json of the fit holds."""
        return {
            "version": VERSION, **self.model.config.to_dict(), "imported": True, "seconds": None, "device": self.device.type,
        }  # fmt: skip

    @cached_property
    def clip_digest(self) -> str:
        """Of what makes the clip. Not of the networks, though masks may come from them: the clip of one takes another's fit."""
        files = self.masks.digest_parts()[1] if self.masks else []
        return digest(_METHOD, self.source.sha256, self.options.fps, self.count, self.size, *files)

    @cached_property
    def fit_digest(self) -> str:
        """Of what makes the fit."""
        return digest(_METHOD, self.config(), self.clip_digest, self.options.folder / "checkpoint", self.atlas_sizes)


def import_nla(options: ImportOptions) -> str:
    """Import a model; returns lines for the user.

    Everything is checked first, and built beside the clip's folder, which it becomes at the end. UserError where the
    config, the checkpoint, the frames or the masks will not do; nothing has been written then.
    """
    plan, lines = _checked(options)
    clip = options.clip
    with reading(clip, inside=True, wait=options.wait):
        known = _known_clip(clip, plan.clip_digest) is not None
    held = at_work(clip, writes=[clip / "fits" / options.name], wait=options.wait)
    with held if known else making_clip(clip, wait=options.wait):
        return _import(plan, lines)


def _import(plan: _Plan, lines: list[str]) -> str:
    """Import into a clip that is held for it."""
    options = plan.options
    known = _known_clip(options.clip, plan.clip_digest)
    if known:
        folder = known.fit_folder(options.name)
        if is_up_to_date(folder, plan.fit_digest) and is_whole_fit(folder):
            return f"{folder} is up to date"
        _refuse_other_fit(folder)
        if plan.masks is None:
            lines.append(f"{options.clip} keeps its masks, which are those of the checkpoint that it was made with")
    plan.model.to(plan.device)
    with measured(options.clip, f"import {options.name}") as cost:
        metrics = _write_fit(plan, known, []) if known else _write_clip(plan)
        cost.update(frames=plan.count, width=plan.size[0], height=plan.size[1], device=plan.device.type)
    lines.append(
        f"{options.clip}: {plan.count} frames, {plan.size[0]}x{plan.size[1]}, fit {options.name}: "
        f"{metrics['whole']['psnr']:.2f} dB; look at {options.clip / 'fits' / options.name / 'sheet.png'}"
    )
    return "\n".join(lines)


def _checked(options: ImportOptions) -> tuple[_Plan, list[str]]:
    """Read and check everything; also lines for the user."""
    device = choose_device(options.device)
    checked_name(options.name, "fit")
    _check_numbers(options)
    config_path = options.folder / "config.json"
    model = read_networks(options.folder / "checkpoint", read_config(config_path))
    if options.frames is not None and not options.frames.is_dir():
        raise UserError(f"--frames {options.frames} is not a folder of frames")
    source = open_source(options.frames or _frames_folder(options.folder, config_path), options.fps)
    _check_target(options.clip, source.path)
    count, trained, lines = _frame_counts(options, source, model)
    model.config = replace(model.config, maximum_number_of_frames=trained)
    return _Plan(options, device, source, model, count, _masks(options, source, list(range(count)))), lines


def _frame_counts(options: ImportOptions, source: FrameSource, model: NlaModel) -> tuple[int, int, list[str]]:
    """How many frames are taken, by how many time is normalised, and what to say of that."""
    count, trained = source.frames, options.frame_count or model.config.maximum_number_of_frames
    if count > trained:
        line = f"{source.path} holds {count} frames, the networks were trained on {trained}: the first {trained} are taken"
        return trained, trained, [line]
    if count == trained or options.frame_count is not None:
        return count, trained, []
    chosen, size = sorted({round(i * (count - 1) / 4) for i in range(5)}), (model.config.resx, model.config.resy)
    frames = ((t, _resized(frame, size)) for t, frame in zip(chosen, source.read(chosen), strict=True))
    if better_frame_count(model, frames, count):
        line = f"time is taken as normalised by the {count} frames there are: they fit better so than by {trained}"
        return count, count, [line]
    line = f"time is normalised by {trained} frames, of which there are {count}: see --frame-count if edits slide"
    return count, trained, [line]


def _check_numbers(options: ImportOptions) -> None:
    if options.frame_count is not None and not 2 <= options.frame_count <= MOST_FRAMES:
        raise UserError(f"--frame-count {options.frame_count}: give a number from 2 to {MOST_FRAMES}")
    if options.atlas_size is not None and not 64 <= options.atlas_size <= 4096:
        raise UserError(f"--atlas-size {options.atlas_size}: give a number from 64 to 4096")
    if options.fps is not None and not is_rate(float(options.fps)):
        raise UserError(f"--fps {options.fps:g} is no frame rate: choose one between {SLOWEST:g} and {FASTEST:g}")


def _check_target(target: Path, frames: Path) -> None:
    """Nothing that was not imported is ever replaced."""
    if target.exists() and not target.is_dir():
        raise UserError(f"{target} is a file: name a folder for the clip")
    if frames.resolve().is_relative_to(target.resolve()):
        raise UserError(f"{frames} lies inside the clip {target}: name another folder for the clip")
    existing = next(parent for parent in (target.absolute(), *target.absolute().parents) if parent.exists())
    if not existing.is_dir():
        raise UserError(f"{existing} is a file: a clip cannot be made below it")
    if not os.access(existing, os.W_OK):
        raise UserError(f"{existing} cannot be written to: choose another folder for the clip")


def _known_clip(target: Path, made_from: str) -> Clip | None:
    """The clip that was imported from the same frames and masks; UserError where the folder holds anything else."""
    lease = LeaseFile.inside(target).path.name
    if not target.exists() or all(path.name.startswith(lease) for path in target.iterdir()):
        return None
    refuse_outward_links(target)
    if not is_up_to_date(target, made_from):
        content = "another clip" if (target / "clip.json").is_file() else "other files"
        raise UserError(f"{target} holds {content}: name a new or empty folder")
    return Clip.open(target)


def _refuse_other_fit(folder: Path) -> None:
    """UserError where the folder holds a fit that was computed here, finished or begun: it may have taken hours."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    config = read_json(folder / "config.json") if (folder / "config.json").is_file() else None
    if not isinstance(config, dict) or not config.get("imported"):
        raise UserError(f"{folder} holds a fit that was not imported: choose another --name")


def _frames_folder(folder: Path, config_path: Path) -> Path:
    """Where the frames of a model lie. Of what the config says only the last part of a path counts, inside `folder`."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: give the one that holds config.json and checkpoint")
    video = folder.resolve().name
    named = read_json(config_path, finite=False).get("data_folder")
    names = [video]
    if isinstance(named, str) and "\0" not in named and len(named) < 200:
        names.append(Path(named).name)
    inside = [sub for sub in sorted(folder.iterdir()) if sub.is_dir() and not sub.name.endswith(("_maskrcnn", "_flow"))]
    with_images = [sub for sub in inside if list_images(sub)]
    # Text2LIVE keeps data/videos/<v> beside data/pretrained_nla_models/<v>.
    places = [folder / name for name in names if name not in ("", "..")] + [folder]
    places += with_images if len(with_images) == 1 else []
    places += [folder.resolve().parent.parent / "videos" / video]
    for place in places:
        if place.is_dir() and list_images(place):
            return place
    raise UserError(f"{folder} holds no frames (looked for {folder / video}): name their folder with --frames")


def _masks(options: ImportOptions, source: FrameSource, indices: list[int]) -> MaskFolder | None:
    """The masks to take, None for the opacity's."""
    if options.masks == "opacity":
        return None
    if options.masks != "auto":
        return open_masks(Path(options.masks), source, indices)
    frames = source.path.resolve()
    places = [frames.with_name(f"{frames.name}_maskrcnn"), options.folder / f"{frames.name}_maskrcnn"]
    places.append(options.folder / f"{options.folder.resolve().name}_maskrcnn")
    place = next((place for place in places if place.is_dir() and list_images(place)), None)
    if place is None:
        return None
    try:
        return open_masks(place, source, indices)
    except UserError as problem:
        raise UserError(f"{problem}; or import without them: --masks opacity") from None


def _resized(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A frame at the size that was trained at, (H, W, 3) uint8: resized as in training, without averaging."""
    return to_uint8(cv2.resize(to_float(frame), size, interpolation=cv2.INTER_LINEAR))


def _write_fit(plan: _Plan, clip: Clip, unmasked: list[int]) -> dict[str, Any]:
    """Write the fit of a clip, and the masks of the frames that are `unmasked`; returns the metrics."""
    run = _Imported(plan.model, clip, unmasked, plan.atlas_sizes, plan.options.quiet)
    folder = clip.fit_folder(plan.options.name)
    return write_fit(run, clip, folder, plan.config(), plan.fit_digest, quiet=plan.options.quiet)[0]


def _write_clip(plan: _Plan) -> dict[str, Any]:
    """Write the clip with its fit, replacing its folder as a whole; returns the fit's metrics."""
    with atomic_folder(plan.options.clip) as making:
        writer = ClipWriter(_described(making, plan), plan.options.quiet)
        writer.write_frames(_resized(frame, plan.size) for frame in plan.source.read(range(plan.count)))
        if plan.masks is not None:
            # All that was masked in training is the one foreground.
            masks = plan.masks.masks(writer.clip, quiet=plan.options.quiet)
            writer.write_masks([np.max(objects, axis=0)] for objects in masks)
        writer.write_flow()
        metrics = _write_fit(plan, writer.clip, plan.unmasked)
        with decoration(str(plan.options.clip / "masks.png")):
            write_image(making / "masks.png", mask_sheet(writer.clip))
        writer.finish()
        write_stamp(making, plan.clip_digest)
        take_along(plan.options.clip, making)
    return metrics


def _described(making: Path, plan: _Plan) -> Clip:
    """The clip to be written."""
    source, options = plan.source, plan.options
    origin = Source(
        path=str(source.path.resolve()),
        sha256=source.sha256,
        width=source.width,
        height=source.height,
        indices=list(range(plan.count)),
    )
    fps, layers = float(options.fps or source.fps), [_OBJECT, BACKGROUND]
    return Clip(making, options.clip.resolve().name, plan.count, *plan.size, fps, layers, origin)
