"""Rendering an edit frame by frame: `Rendering` opens and checks it and streams its frames, `RenderSettings` say how.

`render` writes these frames and `evaluate` measures them. The pixels themselves are made in `atlas.maps.compositing` and
`atlas.maps.lay_over`, the textures that these look up in `atlas.rendering.edited`.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from atlas.clip.clip import WHOLE_FRAME, Clip
from atlas.clip.edits import Edit
from atlas.errors import AGGREGATE, EDIT, UserError
from atlas.maps.maps import Maps, fit_identity, open_maps
from atlas.recolour.reach import Reach
from atlas.rendering.edited import EditedLayer, read_edited_layers
from atlas.rendering.edited_frames import EditedFrames
from atlas.rendering.full_size import evaluated_from, maps_at_size
from atlas.rendering.renderers import Renderer, layers_renderer, whole_renderer
from atlas.rendering.settings import RenderSettings, check_light, chosen_mode
from atlas.storage.images import to_8_bit, to_16_bit, to_float
from atlas.storage.stamps import digest, read_stamp
from atlas.system.device import choose_device
from atlas.system.parallel import WORKERS, in_order, one_thread
from atlas.system.terminal import say
from atlas.video.source import FrameSource, fit_image, has_content, open_source


@dataclass
class Rendering:
    """An edit of a clip with all that its frames are made of. `open` checks it; `frames` streams it."""

    clip: Clip
    edit: Edit
    maps: Maps | None
    """None for an edit of whole frames, which needs no fit."""
    layers: dict[str, EditedLayer]
    """The layers that are rendered by their edited atlas."""
    settings: RenderSettings
    """Its mode is the one that was chosen."""
    device: torch.device
    """What `settings.device` came to."""
    laid: EditedFrames | None = None
    """In the mode `frames`, the layers that are laid over as they were edited."""
    source: FrameSource | None = None
    """Where frames come from when they are rendered at the source's size; None at the fit's."""
    deeper: FrameSource | None = None
    """At the fit's size, where 16 bits come from that the prepared frames have not."""
    seconds: float = 0.0
    """Spent so far on reading and rendering frames, on all cores at once; what is done with them then is not counted."""

    @classmethod
    def open(cls, folder: Path, name: str, settings: RenderSettings | None = None) -> Rendering:
        """Open edit `name` of the clip in `folder`; every reason why it cannot be rendered is a UserError, before any work."""
        settings = settings or RenderSettings()
        check_light(settings.mode, settings.light)
        device = choose_device(settings.device)
        clip = Clip.open(folder)
        edit = Edit.open(clip, name)
        settings = replace(settings, mode=chosen_mode(edit, settings.mode))
        maps = None if WHOLE_FRAME in edit.layers else open_maps(clip, edit.fit)
        laid = EditedFrames.open(clip, edit, maps, device) if settings.mode == "frames" else None
        layers = {} if maps is None else _opened_layers(clip, edit, maps, laid)
        # With 16 bits the source is worth reading at the same size too: prepared frames have 8.
        resized = (clip.source.width, clip.source.height) != (clip.width, clip.height)
        source = open_checked_source(clip) if settings.size == "source" and (settings.deep or resized) else None
        deeper = _depth_of(clip) if settings.deep and clip.source.deep and source is None else None
        return cls(clip, edit, maps, layers, settings, device, laid, source, deeper)

    @property
    def height(self) -> int:
        """Height of the rendered frames."""
        return self.source.height if self.source else self.clip.height

    @property
    def width(self) -> int:
        """Width of the rendered frames."""
        return self.source.width if self.source else self.clip.width

    def made_from(self) -> str:
        """Digest everything that decides the rendered frames."""
        settings = self.settings
        files = [path for layer in self.layers for path in (self.edit.atlas_path(layer), self.edit.reference_path(layer))]
        kinds = (self.edit.keep_path, self.edit.lighting_path, self.edit.change_path)
        beside = [path(layer) for layer in self.layers for path in kinds]
        files += [path for path in beside if path.is_file()]
        stamps, evaluated, originals = [read_stamp(self.clip.folder)], "", []
        if self.maps:
            stamps.append(read_stamp(self.maps.folder))
            evaluated = evaluated_from(self.maps) if self.source else ""
            originals = [self.maps.atlas_path(layer) for layer in self.maps.layers]
        how = [settings.mode, settings.transfer, settings.light, self.width, self.height, settings.deep, settings.alone]
        how += [self.deeper is not None]
        laid = [self.laid.layers, *self.laid.paths()] if self.laid else []
        return digest(stamps, evaluated, list(self.layers), *files, *originals, *how, *laid)

    def reached(self) -> list[Reach]:
        """Find how far the edit of each layer reaches that was made by keyframes; a painted atlas has none."""
        reached = []
        for layer, pair in self.layers.items():
            if self.maps is not None and not self.edit.is_painted(layer):
                coverage = to_float(pair.edited[..., 3])
                reached.append(Reach.of(self.maps, layer, coverage, pair.change))
        return reached

    def frames(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Render (source frame, rendered frame) one after the other: memory does not grow with length.

        (H, W, 3), or for layers alone (H, W, 4) as the second; uint8, or uint16 where `deep`.
        """
        render_one = self._renderer()

        def one(item: tuple[int, np.ndarray | None]) -> tuple[np.ndarray, np.ndarray, float]:
            began = time.perf_counter()
            index, frame = item
            if frame is None:  # decoded here, not by whoever hands out the work
                frame = self.clip.frame(index)
            if self.settings.deep:
                frame = to_16_bit(frame)
            return frame, render_one(index, frame), time.perf_counter() - began

        with one_thread(), closing(self._work()) as work:
            for frame, result, seconds in in_order(one, work):
                self.seconds += seconds / WORKERS
                yield frame, result

    def _renderer(self) -> Renderer:
        """Make what renders each frame."""
        if self.maps is None:
            assert self.laid is not None
            return whole_renderer(self.settings, self.laid)
        sized = maps_at_size(self.clip, self.maps, self.height, self.width, self.device, quiet=self.settings.quiet)
        started = time.perf_counter()
        made = layers_renderer(self.settings, self.clip, self.maps, sized, self.layers, self.laid, self.device)
        self.seconds += time.perf_counter() - started
        return made

    def _work(self) -> Generator[tuple[int, np.ndarray | None], None, None]:
        """Yield frame numbers, with the frames where these are not the clip's own files."""
        source = self.source or self.deeper
        if source is None:
            yield from ((index, None) for index in range(self.clip.frames))
            return
        with closing(source_frames(self.clip, source, deep=self.settings.deep)) as frames:
            for index, frame in enumerate(frames):
                yield index, deepened(self.clip.frame(index), frame) if self.deeper else frame


def _opened_layers(clip: Clip, edit: Edit, maps: Maps, laid: EditedFrames | None) -> dict[str, EditedLayer]:
    """Read the edited atlases of the layers that are not laid over; UserError where one is missing or of another fit."""
    stamps, on_frames = read_stamp(edit.folder), laid.layers if laid else []
    for layer in edit.layers:
        if layer in on_frames:
            continue
        if stamps.get(f"fit {layer}", identity := fit_identity(clip, maps, layer)) != identity:
            raise UserError(
                f"the fit {edit.fit!r} has changed since {edit.folder} was made on it: run {EDIT} and {AGGREGATE} again"
            )
        if edit.is_half_merged(layer):
            raise UserError(
                f"{edit.folder / 'atlas'}: merging {layer} was broken off: run {AGGREGATE} {clip.folder} --edit {edit.name}"
            )
        if not edit.atlas_path(layer).is_file():
            raise UserError(
                f"{edit.folder} has no edited atlas of {layer}: run {AGGREGATE} {clip.folder} --edit {edit.name} first"
            )
    layers = read_edited_layers(edit, maps, without=on_frames)
    if not layers and not on_frames:
        raise UserError(f"{edit.folder} has no edited atlas: run {EDIT} and {AGGREGATE} first")
    return layers


def _depth_of(clip: Clip) -> FrameSource | None:
    """Open the source of a clip for its depth; None, and a line on standard error, where it is not to be had."""
    try:
        return open_checked_source(clip)
    except UserError:
        path = clip.source.path
        say(f"{path!r} is gone or has changed since {clip.folder} was prepared: frames have the 8 bits of its own", sys.stderr)
        return None


def deepened(
    prepared: np.ndarray,  # (h, w, 3) uint8
    frame: np.ndarray,  # (H, W, 3) of the source
) -> np.ndarray:  # (h, w, 3) uint16
    """Give a prepared frame the depth of the source's, shrunk as it was; what was repainted since stays as it is painted."""
    deep = to_16_bit(fit_image(frame, (prepared.shape[1], prepared.shape[0]), deep=True))
    return np.where(to_8_bit(deep) == prepared, deep, to_16_bit(prepared))


def open_checked_source(clip: Clip) -> FrameSource:
    """Open the source of a clip; UserError where it is gone or is not what the clip was prepared from."""
    path, recorded = Path(clip.source.path), clip.source
    if not os.path.exists(path):  # any text that is no path is none that exists
        raise UserError(f"{path}, the source of {clip.folder}, is gone: bring it back, or leave out --size source")
    # Before anything is decoded: a stranger's clip may name any file of the user's.
    if not has_content(path, recorded.sha256):
        raise UserError(f"{path} has changed since {clip.folder} was prepared: prepare again, or leave out --size source")
    last = max(recorded.indices, default=recorded.start + clip.frames - 1)
    source = open_source(path, most=last + 1)
    if source.conversion and source.conversion.said and source.colour != recorded.colour:
        raise UserError(f"{path} {source.conversion.said} now, {clip.folder} was prepared without that: prepare again")
    if (source.width, source.height) != (recorded.width, recorded.height) or last >= source.frames:
        raise UserError(
            f"{clip.folder / 'clip.json'} describes {path} as {recorded.width}x{recorded.height} with a frame {last}, it has"
            f" {source.frames} of {source.width}x{source.height}: prepare again, or leave out --size source"
        )
    return source


def source_frames(clip: Clip, source: FrameSource, *, deep: bool = False) -> Generator[np.ndarray, None, None]:
    """Read the clip's frames at the source's size, (H, W, 3) uint8; deep: uint16 where the source is."""
    indices = clip.source.indices or range(clip.source.start, clip.source.start + clip.frames)
    for frame in source.read(indices):
        yield frame if deep else fit_image(frame, (source.width, source.height))
