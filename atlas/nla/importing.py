"""A folder of Layered Neural Atlases, StableVideo or Text2LIVE as a prepared clip with a finished fit."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tyro
from tqdm import tqdm

from atlas.clip.clip import BACKGROUND, Clip, Source, checked_name
from atlas.clip.flow import write_flow
from atlas.errors import UserError
from atlas.maps.maps import Maps
from atlas.masks.folder import MaskFolder, open_masks
from atlas.masks.overview import mask_sheet
from atlas.model.checkpoint import save_nla_model
from atlas.model.nla import NlaModel
from atlas.model.nla_config import MOST_FRAMES
from atlas.nla.files import better_frame_count, read_config, read_networks
from atlas.nla.outputs import SIZES, write_nla_atlases, write_nla_maps
from atlas.quality.finish import VERSION, write_fit
from atlas.quality.pictures import write_pictures
from atlas.storage.atomic import atomic_folder
from atlas.storage.bounds import FASTEST, SLOWEST, is_rate
from atlas.storage.images import to_float, to_uint8, write_image
from atlas.storage.links import refuse_outward_links
from atlas.storage.stamps import digest, is_up_to_date, read_json, write_stamp
from atlas.system.command import CommonOptions
from atlas.system.cost import measured
from atlas.system.device import Device, choose_device
from atlas.video.source import FrameSource, list_images, open_source

_METHOD = 1
"""Counts up when the same inputs give another clip than before."""
_OBJECT = "foreground"


@dataclass(kw_only=True)
class ImportOptions(CommonOptions):
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

    def finish(self) -> None:
        """Nothing is left to do."""

    def hand_over(self, folder: Path) -> None:
        """Write the model below `folder`: checkpoint, maps, atlases and pictures; and the masks that the clip lacks."""
        save_nla_model(folder / "checkpoint.safetensors", self.model)
        write_nla_maps(self.model, self.clip, folder, quiet=self.quiet)
        maps = Maps(folder)
        for t in self.unmasked:
            inside = maps.opacity(_OBJECT, t) > 0.5
            write_image(self.clip.mask_path(_OBJECT, t), np.where(inside, np.uint8(255), np.uint8(0)))
        write_nla_atlases(self.model, maps, folder, 0, self.sizes)
        write_pictures(self.clip, self.clip.frame, maps, folder)


def import_nla(options: ImportOptions) -> str:
    """Import a model; returns lines for the user.

    Everything is checked first, and built beside the clip's folder, which it becomes at the end. UserError where the
    config, the checkpoint, the frames or the masks will not do; nothing has been written then.
    """
    device = choose_device(options.device)
    checked_name(options.name, "fit")
    _check_numbers(options)
    config_path, checkpoint = options.folder / "config.json", options.folder / "checkpoint"
    config = read_config(config_path)
    model = read_networks(checkpoint, config)
    if options.frames is not None and not options.frames.is_dir():
        raise UserError(f"--frames {options.frames} is not a folder of frames")
    source = open_source(options.frames or _frames_folder(options.folder, config_path), options.fps)
    _check_target(options.clip, source.path)
    told = []
    count, trained = source.frames, options.frame_count or config.maximum_number_of_frames
    if count > trained:
        told.append(
            f"{source.path} holds {count} frames, the networks were trained on {trained}: the first {trained} are taken"
        )
        count = trained
    size = (config.resx, config.resy)
    if count < trained and options.frame_count is None:
        chosen = sorted({round(i * (count - 1) / 4) for i in range(5)})
        read = ((t, _resized(frame, size)) for t, frame in zip(chosen, source.read(chosen), strict=True))
        if better_frame_count(model, read, count):
            told.append(f"time is taken as normalised by the {count} frames there are: they fit better so than by {trained}")
            trained = count
        else:
            told.append(f"time is normalised by {trained} frames, of which there are {count}: see --frame-count if edits slide")
    model.config = config = replace(config, maximum_number_of_frames=trained)
    indices = list(range(count))
    masks = _masks(options, source, indices)
    clip_made_from = _digest(source, options, masks, indices, size)
    plan = {"version": VERSION, **config.to_dict(), "imported": True, "seconds": None, "device": device.type}
    sizes = SIZES if options.atlas_size is None else (options.atlas_size,)
    made_from = digest(_METHOD, plan, clip_made_from, checkpoint, sizes)
    known = _known_clip(options.clip, clip_made_from)
    if known and is_up_to_date(known.fit_folder(options.name), made_from):
        return f"{known.fit_folder(options.name)} is up to date"
    if known:
        _refuse_other_fit(known.fit_folder(options.name))
        if masks is None:
            told.append(f"{options.clip} keeps its masks, which are those of the checkpoint that it was made with")
    model.to(device)
    with measured(options.clip, f"import {options.name}") as cost:
        if known:
            run = _Imported(model, known, [], sizes, options.quiet)
            metrics, _ = write_fit(run, known, known.fit_folder(options.name), plan, made_from, quiet=options.quiet)
        else:
            with atomic_folder(options.clip) as making:
                clip = _build(making, source, indices, options, masks, size)
                unmasked = [t for t in indices if masks is None or any(files[t] is None for files in masks.files)]
                run = _Imported(model, clip, unmasked, sizes, options.quiet)
                metrics, _ = write_fit(run, clip, clip.fit_folder(options.name), plan, made_from, quiet=options.quiet)
                write_image(making / "masks.png", mask_sheet(clip))
                clip.save()
                write_stamp(making, clip_made_from)
        cost.update(frames=count, width=size[0], height=size[1], device=device.type)
    told.append(
        f"{options.clip}: {count} frames, {size[0]}x{size[1]}, fit {options.name}: {metrics['whole']['psnr']:.2f} dB; "
        f"look at {options.clip / 'fits' / options.name / 'sheet.png'}"
    )
    return "\n".join(told)


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
    if not target.exists() or not any(target.iterdir()):
        return None
    refuse_outward_links(target)
    if not is_up_to_date(target, made_from):
        what = "another clip" if (target / "clip.json").is_file() else "other files"
        raise UserError(f"{target} holds {what}: name a new or empty folder")
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


def _digest(
    source: FrameSource,
    options: ImportOptions,
    masks: MaskFolder | None,
    indices: list[int],
    size: tuple[int, int],
) -> str:
    """Of what makes the clip. Not of the networks, though masks may come from them: the clip of one takes another's fit."""
    files = [path or "none" for column in masks.files for path in column] if masks else []
    return digest(_METHOD, source.sha256, options.fps, len(indices), size, *files)


def _resized(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A frame at the size that was trained at, (H, W, 3) uint8: resized as in training, without averaging."""
    return to_uint8(cv2.resize(to_float(frame), size, interpolation=cv2.INTER_LINEAR))


def _build(
    making: Path,
    source: FrameSource,
    indices: list[int],
    options: ImportOptions,
    masks: MaskFolder | None,
    size: tuple[int, int],
) -> Clip:
    """Write frames, masks as far as there are any, and flow of the clip into the folder `making`."""
    origin = Source(
        path=str(source.path.resolve()), sha256=source.sha256, width=source.width, height=source.height, indices=indices
    )
    layers = [_OBJECT, BACKGROUND]
    clip = Clip(making, options.clip.resolve().name, len(indices), *size, float(options.fps or source.fps), layers, origin)
    reading = tqdm(source.read(indices), total=len(indices), desc="frames", unit="frame", disable=options.quiet)
    for t, frame in enumerate(reading):
        write_image(clip.frame_path(t), _resized(frame, size))
        if masks is not None:
            # All that was masked in training is the one foreground.
            write_image(clip.mask_path(_OBJECT, t), np.max(masks.read(t, size), axis=0))
    write_flow(making / "flow", clip.frames, clip.frame, quiet=options.quiet)
    return clip
