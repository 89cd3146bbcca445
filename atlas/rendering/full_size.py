"""Rendering at the source's full size: the fit's fields are evaluated there once, as maps of that size.

They are kept beside the fit's own maps, in maps-<W>x<H>/, until the fit changes.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import torch

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.maps.compositing import FrameMaps, ScaledMaps
from atlas.maps.maps import MAPS_FILES, Maps, MapsWriter
from atlas.masks.clip_depth import depth_reader
from atlas.masks.depth import unpack_depth
from atlas.model.checkpoint import FrameModel, open_model
from atlas.model.layered import LayeredAtlas
from atlas.model.nla import BACKGROUND, FOREGROUND
from atlas.storage.atomic import atomic_folder
from atlas.storage.lease.lease import writing
from atlas.storage.stamps import digest, is_up_to_date, read_json, read_stamp, write_stamp
from atlas.system.parallel import in_order, one_thread
from atlas.system.progress import Progress
from atlas.system.terminal import say

_VERSION = 1  # raise it when the same fit gives other maps: those on disk are then made again
_BYTES = 5  # per pixel and layer: uv and opacity
STAIRS = 0.8
"""Pixels of the clip's own size over which outlines are smoothed (sigma): those of a mask are stairs of that size."""


def maps_at_size(clip: Clip, maps: Maps, height: int, width: int, device: torch.device, *, quiet: bool = False) -> FrameMaps:
    """Evaluate the maps of a fit for frames of `height` x `width`, or read them where they were kept on disk.

    Where the fit has no checkpoint of this version, or the disk has no room, its own maps are interpolated, and a line
    on standard error says so.
    """
    if (height, width) == (maps.height, maps.width):
        return maps
    try:
        return _evaluated(clip, maps, height, width, device, quiet=quiet)
    except UserError as problem:
        say(f"maps of {maps.folder} are interpolated to {width}x{height}, not evaluated there: {problem}", sys.stderr)
        return ScaledMaps(maps, height, width)


def evaluated_from(maps: Maps) -> str:
    """Digest everything in the fit that decides `maps_at_size`."""
    files = [maps.folder / name for name in ("config.json", "checkpoint.safetensors")]
    return digest(_VERSION, read_stamp(maps.folder), *[path for path in files if path.is_file()])


def _evaluated(clip: Clip, maps: Maps, height: int, width: int, device: torch.device, *, quiet: bool) -> Maps:
    name, made_from = f"maps-{width}x{height}", evaluated_from(maps)
    folder = maps.folder / name

    def are_there() -> bool:
        return is_up_to_date(folder, made_from) and _are_whole(maps, name)

    if not are_there():  # asked first: a clip that may only be read is not written to
        with writing(folder, wait=True):  # who makes them makes them for us too
            if not are_there():
                _evaluate(clip, maps, folder, made_from, device, quiet=quiet)
    return Maps(maps.folder, name)


def _are_whole(maps: Maps, name: str) -> bool:
    try:
        Maps(maps.folder, name)
    except UserError:
        return False
    return True


def _evaluate(clip: Clip, maps: Maps, folder: Path, made_from: str, device: torch.device, *, quiet: bool) -> None:
    """Write the maps of a fit at the size that a folder is named by; UserError where it cannot be done."""
    width, height = map(int, folder.name.removeprefix("maps-").split("x"))
    model = open_model(maps.folder)
    _check_model(model, maps)
    if isinstance(model, torch.nn.Module):
        model.to(device)
    needed, free = _BYTES * len(maps.layers) * maps.frames * height * width, shutil.disk_usage(maps.folder).free
    if needed > 0.9 * free:
        raise UserError(f"they would take {needed / 1e9:.1f} GB of the {free / 1e9:.1f} GB that are free on the disk")
    with atomic_folder(folder, MAPS_FILES) as making:
        with MapsWriter(making.parent, maps.layers, maps.frames, height, width, making.name) as writer:
            follow = bool(read_json(maps.folder / "config.json").get("follow_edges"))
            with one_thread():
                read = depth_reader(clip, follow=follow)
                depths = in_order(lambda t: read(t, None), range(maps.frames))
                for t, packed in enumerate(Progress(depths, f"maps {width}x{height}", maps.frames, unit="frame", quiet=quiet)):
                    own = unpack_depth(np.array(packed, np.int8).reshape(len(packed), clip.height, clip.width))
                    depth = torch.from_numpy(enlarged_depth(own, height, width)).to(device)
                    uv, opacity = (part.cpu().numpy() for part in model.frame_maps(t, depth))
                    writer.append_frame(dict(zip(maps.layers, uv, strict=True)), dict(zip(maps.layers, opacity, strict=True)))
            for layer in maps.layers:  # a coarse grid that any size is interpolated from
                if maps.has_light(layer):
                    shutil.copy(maps.maps_folder / layer / "light.npy", making / layer / "light.npy")
        write_stamp(making, made_from)


def _check_model(model: FrameModel, maps: Maps) -> None:
    """UserError where a checkpoint is not that of the maps beside it: somebody may have put another in its place."""
    if isinstance(model, LayeredAtlas):
        same = model.shape.layers == tuple(maps.layers) and model.shape.frames == maps.frames
    else:
        same = len(maps.layers) == len((FOREGROUND, BACKGROUND))
    if not same:
        raise UserError(f"{maps.folder / 'checkpoint.safetensors'} is of other layers or frames than the maps beside it")


def enlarged_depth(
    depth: np.ndarray,  # (objects, h, w) signed distance into each object's mask, in pixels of the clip's own size
    height: int,
    width: int,
) -> np.ndarray:  # (objects, H, W) float32, still in those pixels
    """Resize mask depth smoothly, so that an enlarged outline is a line and not the stairs of a small mask."""
    result = np.zeros((len(depth), height, width), np.float32)
    for one, large in zip(depth, result, strict=True):
        if width > depth.shape[2]:
            one = cv2.GaussianBlur(one, (0, 0), STAIRS)
        large[:] = cv2.resize(one, (width, height), interpolation=cv2.INTER_CUBIC)
    return result
