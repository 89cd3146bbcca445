"""Rendering an edit frame by frame: `Rendering` opens and checks it and streams its frames, `RenderSettings` say how.

`render` writes these frames and `evaluate` measures them. The pixels themselves are made in `atlas.maps.compositing`, the
textures that these look up in `atlas.rendering.edited`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from atlas.clip.clip import Clip
from atlas.clip.edits import Edit
from atlas.errors import AGGREGATE, EDIT, UserError
from atlas.maps.compositing import DeltaTexture, FrameMaps, add_deltas, composite_frame, fit_textures, layers_alone
from atlas.maps.maps import Maps, fit_identity, open_maps
from atlas.rendering.edited import EditedLayer, Light, Transfer, delta_textures, full_changes, own_textures, read_edited_layers
from atlas.rendering.full_size import evaluated_from, maps_at_size
from atlas.storage.images import to_16_bit, to_uint8, to_uint16
from atlas.storage.stamps import digest, read_stamp
from atlas.system.device import Device, choose_device
from atlas.system.parallel import WORKERS, in_order, one_thread
from atlas.video.source import FrameSource, fit_image, has_content, open_source


@dataclass(frozen=True, kw_only=True)
class RenderSettings:
    """How an edit is rendered: the render command's options, without where it is written."""

    mode: Literal["delta", "full"] = "delta"
    """delta: add to the frames what the edit changed; full: composite the layers alone."""
    transfer: Transfer = "local"
    """With delta, how the edit carries over to the residual of the fit: multiplied by a local gain, or left as it is."""
    light: Light = "auto"
    """With delta, whether the fit's light is applied to what the edit adds."""
    size: Literal["fit", "source"] = "fit"
    """Size of the frames: as prepared, or as the source has them."""
    device: Device = "auto"
    """Where to compute."""
    deep: bool = False
    """Render 16 bits for each channel."""
    alone: bool = False
    """Render the edited layers alone, with transparency."""
    quiet: bool = True
    """Show no progress of what must be made first (maps at the source's size)."""


@dataclass
class Rendering:
    """An edit of a clip with all that its frames are made of. `open` checks it; `frames` streams it."""

    clip: Clip
    edit: Edit
    maps: Maps
    layers: dict[str, EditedLayer]
    settings: RenderSettings
    device: torch.device
    """What `settings.device` came to."""
    source: FrameSource | None = None
    """Where frames come from when they are rendered at the source's size; None at the fit's."""
    seconds: float = 0.0
    """Spent so far on reading and rendering frames, on all cores at once; what is done with them then is not counted."""

    @classmethod
    def open(cls, folder: Path, name: str, settings: RenderSettings = RenderSettings()) -> Rendering:
        """Open edit `name` of the clip in `folder`; every reason why it cannot be rendered is a UserError, before any work."""
        check_light(settings.mode, settings.light)
        device = choose_device(settings.device)
        clip = Clip.open(folder)
        edit = Edit.open(clip, name)
        maps = open_maps(clip, edit.fit)
        stamps = read_stamp(edit.folder)
        for layer in edit.layers:
            maps.check_layer(layer)
            if stamps.get(f"fit {layer}", identity := fit_identity(clip, maps, layer)) != identity:
                raise UserError(
                    f"the fit {edit.fit!r} has changed since {edit.folder} was made on it: run {EDIT} and {AGGREGATE} again"
                )
            if not edit.atlas_path(layer).is_file():
                raise UserError(
                    f"{edit.folder} has no edited atlas of {layer}: run {AGGREGATE} {clip.folder} --edit {name} first"
                )
        layers = read_edited_layers(edit, maps)
        if not layers:
            raise UserError(f"{edit.folder} has no edited atlas: run {EDIT} and {AGGREGATE} first")
        # With 16 bits the source is worth reading at the same size too: prepared frames have 8.
        resized = (clip.source.width, clip.source.height) != (clip.width, clip.height)
        source = open_checked_source(clip) if settings.size == "source" and (settings.deep or resized) else None
        return cls(clip, edit, maps, layers, settings, device, source)

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
        beside = [path(layer) for layer in self.layers for path in (self.edit.keep_path, self.edit.lighting_path)]
        files += [path for path in beside if path.is_file()]
        stamps = [read_stamp(self.clip.folder), read_stamp(self.maps.folder)]
        evaluated = evaluated_from(self.maps) if self.source else ""
        originals = [self.maps.atlas_path(layer) for layer in self.maps.layers]
        how = [settings.mode, settings.transfer, settings.light, self.width, self.height, settings.deep, settings.alone]
        return digest(stamps, evaluated, list(self.layers), *files, *originals, *how)

    def frames(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Render (source frame, rendered frame) one after the other: memory does not grow with length.

        (H, W, 3), or for layers alone (H, W, 4) as the second; uint8, or uint16 where `deep`.
        """
        maps = maps_at_size(self.clip, self.maps, self.height, self.width, self.device, quiet=self.settings.quiet)
        started = time.perf_counter()
        render_one = self._alone_frames(maps) if self.settings.alone else self._whole_frames(maps)
        self.seconds += time.perf_counter() - started

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

    def _whole_frames(self, maps: FrameMaps) -> Callable[[int, np.ndarray], np.ndarray]:
        """Make the textures; returns what renders frame `index`: delta rendering, or the layers composited."""
        if self.settings.mode == "delta":
            deltas = self._deltas()
            own = own_textures(self.layers, self.maps, self.device) if self.settings.transfer == "local" else None
            return lambda index, frame: add_deltas(frame, index, maps, deltas, own)
        textures, changes = fit_textures(self.maps, self.device), full_changes(self.layers, self.maps, self.device)
        rounded = to_uint16 if self.settings.deep else to_uint8
        return lambda index, frame: rounded(composite_frame(index, maps, textures, changes))

    def _alone_frames(self, maps: FrameMaps) -> Callable[[int, np.ndarray], np.ndarray]:
        """Make the textures; returns what renders the edited layers of frame `index` on transparent."""
        textures = {layer: own for layer, own in fit_textures(self.maps, self.device).items() if layer in self.layers}
        if self.settings.mode == "delta":
            deltas = self._deltas()
        else:
            changes = full_changes(self.layers, self.maps, self.device)
            deltas = {layer: DeltaTexture(change) for layer, change in changes.items()}
        detail = self.settings.mode == "delta"
        return lambda index, frame: layers_alone(frame, index, maps, textures, deltas, detail=detail)

    def _deltas(self) -> dict[str, DeltaTexture]:
        return delta_textures(self.layers, self.maps, self.settings.transfer, self.device, light=self.settings.light)

    def _work(self) -> Generator[tuple[int, np.ndarray | None], None, None]:
        """Yield frame numbers, with the frames where these are not the clip's own files."""
        if self.source is None:
            yield from ((index, None) for index in range(self.clip.frames))
        else:
            with closing(source_frames(self.clip, self.source, deep=self.settings.deep)) as frames:
                yield from enumerate(frames)


def check_light(mode: str, light: Light) -> None:
    """UserError where a choice of light has no say."""
    if mode == "full" and light != "auto":
        raise UserError(f"--light {light} is for --mode delta: layers that are rendered alone always have their light")


def open_checked_source(clip: Clip) -> FrameSource:
    """Open the source of a clip; UserError where it is gone or is not what the clip was prepared from."""
    path, recorded = Path(clip.source.path), clip.source
    if not os.path.exists(path):  # any text that is no path is none that exists
        raise UserError(f"{path}, the source of {clip.folder}, is gone: bring it back, or leave out --size source")
    # Before anything is decoded: a stranger's clip may name any file of the user's.
    if not has_content(path, recorded.sha256):
        raise UserError(f"{path} has changed since {clip.folder} was prepared: prepare again, or leave out --size source")
    source = open_source(path)
    last = max(recorded.indices, default=recorded.start + clip.frames - 1)
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
