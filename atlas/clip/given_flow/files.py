"""Optical flow files from outside: `.flo` (Middlebury), `.npy`, and 16-bit PNG as KITTI has it. Sizes are checked first."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from atlas.errors import UserError
from atlas.storage.arrays import StoredArray
from atlas.storage.images import read_image
from atlas.storage.pictures import picture_header

FLOW_SUFFIXES = (".flo", ".npy", ".png")
_MAGIC = b"PIEH"  # 202021.25, little-endian
_UNKNOWN = 1e9
"""Beyond it a number in a .flo file means that the flow there is not known."""
_STEPS, _ZERO = 64.0, 1 << 15
"""Of a pixel in KITTI's numbers, and what stands for no motion."""

Size = tuple[int, int]
"""Width and height."""


def read_flow(path: Path, sizes: tuple[Size, ...]) -> np.ndarray:
    """Read optical flow: (H, W, 2) float32 pixels, x first, NaN where it is not known.

    sizes: those that will do, the first of which is named otherwise. An array is (H, W, 2), (2, H, W), or either with a 1 in
    front. UserError where the file is missing, damaged, of another kind or another size.
    """
    reader = {".flo": _read_flo, ".npy": _read_array, ".png": _read_kitti}.get(path.suffix.lower())
    if reader is None:
        raise UserError(f"{path} is no flow: give .flo, .npy or 16-bit PNG files")
    if not path.is_file():
        raise UserError(f"{path} is {'no ordinary file' if path.exists() else 'missing'}: check the path")
    flow = reader(path, sizes).astype(np.float32)
    return np.where(np.abs(flow) < np.float32(_UNKNOWN), flow, np.float32(np.nan))  # infinities too


def _check_size(path: Path, size: Size, sizes: tuple[Size, ...]) -> None:
    if size not in sizes:
        wanted = sizes[0]
        raise UserError(
            f"{path} is {size[0]}x{size[1]}, the source {wanted[0]}x{wanted[1]}: compute the flow at the source's size"
        )


def _read_flo(path: Path, sizes: tuple[Size, ...]) -> np.ndarray:
    with path.open("rb") as stream:
        header = stream.read(12)
        if len(header) < 12 or header[:4] != _MAGIC:
            raise UserError(f"{path} is no .flo file: it does not begin with PIEH and a size")
        width, height = struct.unpack("<ii", header[4:])
        _check_size(path, (width, height), sizes)
        data = stream.read(8 * width * height)
    if len(data) < 8 * width * height:
        raise UserError(f"{path} is cut off: write it again")
    return np.frombuffer(data, "<f4").reshape(height, width, 2)


def _read_array(path: Path, sizes: tuple[Size, ...]) -> np.ndarray:
    try:
        stored = StoredArray(path)
        shape = stored.shape[1:] if len(stored.shape) == 4 and stored.shape[0] == 1 else stored.shape
        first = len(shape) == 3 and shape[0] == 2 and shape[2] != 2
        if len(shape) != 3 or stored.dtype.kind != "f" or (shape[0] if first else shape[2]) != 2:
            raise UserError(f"{path} is {stored.dtype} of shape {stored.shape}: flow is floats of shape (H, W, 2) or (2, H, W)")
        height, width = shape[1:] if first else shape[:2]
        _check_size(path, (width, height), sizes)
        values = stored[:].reshape(shape)
    except (ValueError, EOFError) as problem:
        raise UserError(f"{path} is not readable ({problem}): save it with np.save(path, np.ascontiguousarray(flow))") from None
    return np.moveaxis(values, 0, -1) if first else values


def _read_kitti(path: Path, sizes: tuple[Size, ...]) -> np.ndarray:
    header = picture_header(path)
    _check_size(path, (header.width, header.height), sizes)
    image = read_image(path)
    if image.dtype != np.uint16 or image.shape[2] != 3:
        raise UserError(
            f"{path} is no 16-bit RGB picture: flow in PNG has x, y and validity in 16 bits each, as KITTI writes it"
        )
    flow = (image[..., :2].astype(np.float32) - _ZERO) / _STEPS
    return np.where(image[..., 2:] > 0, flow, np.nan)
