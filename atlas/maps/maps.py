"""Maps: dense uv, opacity and light of every frame on disk. Editing and rendering read these and no network.

    maps/maps.json               version, layers front to back, frames, width, height, atlas sizes
    maps/<layer>/uv.npy          (T, H, W, 2) uint16, [-1, 1] in steps of 2 / 65535 (0.02 texels of 1024)
    maps/<layer>/opacity.npy     (T, H, W) uint8: what one sees of the layer; the layers sum to 255
    maps/<layer>/light.npy       (T, h, w, 3) float16, a coarse grid of the gain that multiplies the atlas (absent: 1)
    layers/<layer>/atlas.png     (N, N) RGBA, alpha = where the layer was ever seen

All of it stands in the folder of a fit; beside maps/ there may be maps-<W>x<H>/, the same at another size of the frames
(`atlas.rendering.full_size`).
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from atlas.clip.clip import Clip, checked_name, is_name
from atlas.errors import FIT, UserError
from atlas.storage.arrays import GrowingArray, StoredArray
from atlas.storage.images import read_image, to_float, write_image
from atlas.storage.pictures import picture_header
from atlas.storage.stamps import digest, read_stamp, read_versioned, write_json

VERSION = 1
MAPS_FILES = re.compile(r"(maps|stamp)\.json|[^/]+/(uv|opacity|light)\.npy")
"""Names of the files in a folder of maps."""
LARGEST_ATLAS = 4096
"""Texels along an atlas that a fit makes; the sample's true ones grow with its frames."""
_STEPS = 65535.0
_SAMPLE_DENSITY = 3


class Maps:
    """Reads the maps of a fit: opening costs nothing, a frame costs its own pixels, and nothing but it is held in memory.

    name: the folder of the maps inside that of the fit. Raises UserError where the fit has no maps or they are damaged.
    """

    def __init__(self, fit_folder: Path, name: str = "maps") -> None:
        self.folder = Path(fit_folder)
        self.maps_folder = self.folder / name
        path = self.maps_folder / "maps.json"
        if not path.is_file():
            raise UserError(
                f"{self.folder} holds no finished fit: run {FIT} {self.folder.parent.parent} --name {self.folder.name}"
            )
        data = read_versioned(path, VERSION, "a description of maps", f"run {FIT} again")
        try:
            self.layers = [checked_name(layer, "layer") for layer in data["layers"]]
            self.frames, self.height, self.width = int(data["frames"]), int(data["height"]), int(data["width"])
            if not 0 < len(set(self.layers)) == len(self.layers):
                raise ValueError("no layers, or one twice")
        except (KeyError, TypeError, ValueError, OverflowError, UserError):
            raise UserError(f"{path} is damaged: run {FIT} again") from None
        shape = (self.frames, self.height, self.width)
        self._uv = {layer: self._open(layer, "uv", np.uint16, (*shape, 2)) for layer in self.layers}
        self._opacity = {layer: self._open(layer, "opacity", np.uint8, shape) for layer in self.layers}
        self._light = {layer: self._open_light(layer) for layer in self.layers}
        self.atlas = lru_cache(maxsize=None)(self._atlas)

    def _open(self, layer: str, name: str, dtype: type, shape: tuple[int, ...]) -> StoredArray:
        path = self.maps_folder / layer / f"{name}.npy"
        try:
            array = StoredArray(path)
        except (FileNotFoundError, ValueError, EOFError):
            raise UserError(f"{path} is missing or damaged: run {FIT} again") from None
        if array.shape != shape or array.dtype != dtype:
            stored, wanted = f"{array.dtype} of shape {array.shape}", f"{np.dtype(dtype)} of {shape}"
            raise UserError(f"{path} has shape or type of something else ({stored}, not {wanted}): run {FIT} again")
        return array

    def _open_light(self, layer: str) -> StoredArray | None:
        path = self.maps_folder / layer / "light.npy"
        if not path.is_file():
            return None
        try:
            light = StoredArray(path)
        except (ValueError, EOFError):
            raise UserError(f"{path} is damaged: run {FIT} again") from None
        sides = light.shape[1:3]
        coarse = len(light.shape) == 4 and 0 < sides[0] <= self.height and 0 < sides[1] <= self.width
        if not coarse or light.shape[0] != self.frames or light.shape[3] != 3 or light.dtype.kind != "f":
            raise UserError(f"{path} has shape {light.shape}: run {FIT} again")
        return light

    def check_layer(self, layer: str) -> None:
        """UserError where the fit has no such layer."""
        if layer not in self.layers:
            raise UserError(f"{self.folder} has no layer {layer!r}: choose one of {', '.join(self.layers)}")

    def uv(self, layer: str, frame: int, stride: int = 1) -> np.ndarray:
        """Atlas coordinates of each pixel, (H, W, 2) float32 in [-1, 1]; of each `stride`-th row and column."""
        uv = self._uv[layer][frame][::stride, ::stride].astype(np.float32)
        uv *= np.float32(2 / _STEPS)
        uv -= 1
        return uv

    def opacity(self, layer: str, frame: int, stride: int = 1) -> np.ndarray:
        """What one sees of the layer, (H, W) float32 in [0, 1], exactly 0 where it is not; strided as `uv`."""
        opacity = self._opacity[layer][frame][::stride, ::stride].astype(np.float32)
        opacity /= 255
        return opacity

    def light(self, layer: str, frame: int) -> np.ndarray:
        """Gain that turns atlas colours into frame colours, (H, W, 3) float32. UserError where it is damaged there."""
        light = self._light[layer]
        if light is None:
            return np.ones((self.height, self.width, 3), np.float32)
        grid = light[frame].astype(np.float32)
        if not np.isfinite(grid).all():  # the other maps are whole numbers
            raise UserError(f"{light.path} holds values that are no numbers, in frame {frame}: run {FIT} again")
        return cv2.resize(grid, (self.width, self.height), interpolation=cv2.INTER_LINEAR)

    def has_light(self, layer: str) -> bool:
        """Whether the fit models the layer's light."""
        return self._light[layer] is not None

    def atlas_path(self, layer: str) -> Path:
        """The layer's atlas image."""
        return self.folder / "layers" / layer / "atlas.png"

    def _atlas(self, layer: str) -> np.ndarray:
        """The layer's atlas, (N, N, 4) float32: colour, and where it was ever seen. Read once."""
        path = self.atlas_path(layer)
        side, most = max(picture_header(path).size), max(LARGEST_ATLAS, _SAMPLE_DENSITY * max(self.height, self.width))
        if side > most:
            raise UserError(f"{path} is {side} pixels long, an atlas of these frames has at most {most}: run {FIT} again")
        return to_float(read_image(path, mode="rgba"))

    def atlas_size(self, layer: str) -> tuple[int, int]:
        """(H, W) of the layer's atlas."""
        return self.atlas(layer).shape[:2]


class MapsWriter:
    """Writes maps frame by frame into `folder`/`name` (`folder` being that of a fit, or one that becomes it).

    In a `with` block they are whole at its end; after an error the files are closed as they are.
    """

    def __init__(self, folder: Path, layers: list[str], frames: int, height: int, width: int, name: str = "maps") -> None:
        self.folder, self.layers = Path(folder) / name, layers
        self.frames, self.height, self.width = frames, height, width
        self._uv, self._opacity = {}, {}
        for layer in layers:
            self._uv[layer] = self._create(layer, "uv", np.uint16, (frames, height, width, 2))
            self._opacity[layer] = self._create(layer, "opacity", np.uint8, (frames, height, width))

    def _create(self, layer: str, name: str, dtype: type, shape: tuple[int, ...]) -> GrowingArray:
        return GrowingArray(self.folder / layer / f"{name}.npy", dtype, shape)

    def __enter__(self) -> MapsWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None:
                self.close()
        finally:
            for array in self._arrays():
                array.abandon()

    def _arrays(self) -> list[GrowingArray]:
        return [*self._uv.values(), *self._opacity.values()]

    def append_frame(
        self,
        uv: dict[str, np.ndarray],  # layer -> (H, W, 2) in [-1, 1]
        opacity: dict[str, np.ndarray],  # layer -> (H, W) visible opacity, summing to 1 over the layers
    ) -> None:
        """Write the next frame of all layers. The last layer takes what rounding leaves, so that the sum stays 255."""
        left = np.full((self.height, self.width), 255, np.int16)
        for layer in self.layers:
            self._uv[layer].append(np.clip((uv[layer] + 1) * (_STEPS / 2) + 0.5, 0, _STEPS).astype(np.uint16))
            share = left if layer == self.layers[-1] else np.clip(opacity[layer] * 255 + 0.5, 0, left).astype(np.int16)
            self._opacity[layer].append(share.astype(np.uint8))
            left = left - share

    def close(self) -> None:
        """Write maps.json: only now are the maps whole."""
        for array in self._arrays():
            array.close()
        description = {"version": VERSION, "layers": self.layers, "frames": self.frames}
        write_json(self.folder / "maps.json", description | {"height": self.height, "width": self.width})


def write_light(fit_folder: Path, layer: str, light: np.ndarray) -> None:
    """Write a layer's light, (T, h, w, 3), of any coarse size, beside its maps."""
    np.save(fit_folder / "maps" / layer / "light.npy", light.astype(np.float16))


def write_atlas(fit_folder: Path, layer: str, atlas: np.ndarray) -> None:
    """Write a layer's atlas, (N, N, 4) float: colour, alpha = where it was ever seen."""
    write_image(fit_folder / "layers" / layer / "atlas.png", atlas)


def fit_names(clip: Clip) -> list[str]:
    """Names of the clip's finished fits, sorted."""
    names = (path.parents[1].name for path in (clip.folder / "fits").glob("*/maps/maps.json"))
    return sorted(name for name in names if is_name(name))  # half-made ones are hidden


def open_maps(clip: Clip, fit: str, layer: str | None = None) -> Maps:
    """Open the maps of a fit, which must have `layer`; UserError where it is missing, unfinished or of another clip."""
    folder = clip.fit_folder(fit)
    if not folder.is_dir():
        known = ", ".join(fit_names(clip))
        raise UserError(
            f"{clip.folder} has no fit {fit!r} (its fits: {known or 'none yet'}): run {FIT} {clip.folder} --name {fit}"
        )
    maps = Maps(folder)
    if (maps.frames, maps.height, maps.width) != (clip.frames, clip.height, clip.width):
        raise UserError(
            f"{folder} was fitted to {maps.frames} frames of {maps.width}x{maps.height}, the clip has {clip.frames} of "
            f"{clip.width}x{clip.height}: run {FIT} {clip.folder} --name {fit} again"
        )
    if maps.layers != clip.layers:
        raise UserError(
            f"{folder} was fitted to the layers {', '.join(maps.layers)}, the clip has {', '.join(clip.layers)}: "
            f"run {FIT} {clip.folder} --name {fit} again"
        )
    if layer is not None:
        maps.check_layer(layer)
    return maps


def fit_identity(clip: Clip, maps: Maps, layer: str) -> str:
    """Digest the fit (and the clip below it): what every edit of the fit depends on."""
    return digest(read_stamp(clip.folder), read_stamp(maps.folder), maps.folder / "maps" / "maps.json", maps.atlas_path(layer))
