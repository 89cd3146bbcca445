"""Image files (PNG, JPEG) in and out, and conversions between 8 bit, 16 bit and floats."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np

from atlas.errors import UserError
from atlas.storage.atomic import atomic_file
from atlas.storage.picture_files.colour_profile import in_srgb, inks_in_srgb
from atlas.storage.picture_files.header import Header
from atlas.storage.picture_files.orientation import upright
from atlas.storage.pictures import WantedSize, picture_bytes

_ROWS = 128
_PNG = [
    *(cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_SUB),
]
"""Against zlib's level 3, filters chosen row by row: a third of the time or half, files of photographs 13 to 20 % longer."""
_FLOATS = np.arange(256, dtype=np.float32) / np.float32(255)


def write_image(path: Path, image: np.ndarray) -> None:
    """Write a PNG (or JPEG) atomically.

    image: (H, W), (H, W, 3) RGB or (H, W, 4) RGBA; uint8 or uint16 as it is, floats as 8 bit from [0, 1].
    """
    if image.dtype.kind == "f":
        image = to_uint8(image)
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(path.suffix, image, _PNG if path.suffix.lower() == ".png" else [])
    if not done:
        raise UserError(f"{path} cannot be written: choose a .png name")
    with atomic_file(path) as temporary:
        temporary.write_bytes(data.tobytes())


def read_image(path: Path, *, mode: str = "keep", size: WantedSize | None = None) -> np.ndarray:
    """Read a PNG or JPEG file as viewers show it: (H, W, C) with C = 1, 3 (RGB) or 4 (RGBA), uint8 or uint16.

    Its EXIF orientation and its colour profile are applied: it is upright and in sRGB. mode: "keep"; "rgb" or "rgba" convert
    (grey is repeated; "rgb" puts what is transparent over black, "rgba" makes a missing alpha opaque). size: the only one that
    will do. Raises UserError for a file that is missing, truncated or no image, and, before it is decoded, for one of another
    size or too large (`atlas.storage.pictures`).
    """
    data, header = picture_bytes(path, size)
    image = _decoded(path, data, header)
    if header.profile:
        image = in_srgb(image, header.profile)
    image = upright(image, header.orientation)
    if mode != "keep":
        image = with_channels(image, 4) if mode == "rgba" else over_black(image)
    return np.ascontiguousarray(image)


def read_numbers(path: Path, size: WantedSize | None = None) -> tuple[np.ndarray, np.ndarray]:  # (H, W) uint8, (256, 4) uint8
    """Read a palette PNG: the number of each pixel's colour, upright, and the colours, RGBA (those it has not are 0)."""
    from PIL import Image  # for palettes alone; commands that read none start without it

    data, header = picture_bytes(path, size)
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            numbers = np.array(image)
            stored, clear = image.getpalette("RGB") or [], image.info.get("transparency", b"")
    except (OSError, SyntaxError, ValueError):  # as Pillow says that pixels are damaged, chunks are, or the palette is
        raise UserError(f"{path} is not a readable image: export it again as PNG or JPEG") from None
    colours = np.zeros((256, 4), np.uint8)
    count = min(len(stored) // 3, 256)
    colours[:count, :3] = np.reshape(stored[: 3 * count], (-1, 3))
    colours[:count, 3] = 255
    if isinstance(clear, int):  # where one colour is transparent, and wholly
        colours[clear % 256, 3] = 0
    else:
        colours[: len(clear[:count]), 3] = list(clear[:count])
    return np.ascontiguousarray(upright(numbers, header.orientation)), colours


def _decoded(path: Path, data: bytes, header: Header) -> np.ndarray:  # (h, w, C) as it is stored
    if header.inks and header.profile and (colours := inks_in_srgb(data, header.profile)) is not None:
        return colours
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    if image is None or image.shape[:2] != header.stored_size:
        raise UserError(f"{path} is not a readable image: export it again as PNG or JPEG")
    if image.ndim == 2:
        image = image[:, :, None]
    if image.shape[2] >= 3:
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB if image.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)
    if header.clear is None:
        return image
    alpha = np.where(image == header.clear, image.dtype.type(0), np.iinfo(image.dtype).max).astype(image.dtype)
    return np.concatenate([with_channels(image, 3), alpha], -1)


def with_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """(H, W, 1|3|4) as 3 or 4 channels: grey is repeated, alpha dropped or made opaque."""
    colour = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image[:, :, :3]
    if channels == 3:
        return colour
    opaque = np.full_like(image[:, :, :1], np.iinfo(image.dtype).max)
    return np.concatenate([colour, image[:, :, 3:] if image.shape[2] == 4 else opaque], axis=2)


def over_black(image: np.ndarray) -> np.ndarray:
    """Composite transparent pixels over black: (H, W, 1|3|4) uint8 or uint16 as (H, W, 3). What alpha 0 hides does not show."""
    return _over(image, 0)


def over_white(image: np.ndarray) -> np.ndarray:
    """Composite transparent pixels over white, as a page does: (H, W, 1|3|4) uint8 or uint16 as (H, W, 3)."""
    return _over(image, int(np.iinfo(image.dtype).max))


def _over(image: np.ndarray, ground: int) -> np.ndarray:
    if image.shape[2] < 4:
        return with_channels(image, 3)
    top, result = np.iinfo(image.dtype).max, np.empty((*image.shape[:2], 3), image.dtype)
    for start in range(0, len(image), _ROWS):  # the wide numbers take four times the memory of the frame
        part = image[start : start + _ROWS].astype(np.uint32)
        colour, alpha = part[:, :, :3], part[:, :, 3:]
        result[start : start + _ROWS] = (colour * alpha + ground * (top - alpha) + top // 2) // top
    return result


def to_float(image: np.ndarray) -> np.ndarray:
    """uint8 or uint16 pixels as float32 in [0, 1]."""
    if image.dtype == np.uint8 and image.ndim in (2, 3) and image.size:  # looked up, it takes a third of the time
        return cv2.LUT(image, _FLOATS).reshape(image.shape)
    return image.astype(np.float32) / np.iinfo(image.dtype).max


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Floats in [0, 1] (clamped) as uint8, rounded to nearest."""
    return (np.clip(image, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def to_uint16(image: np.ndarray) -> np.ndarray:
    """Floats in [0, 1] (clamped) as uint16, rounded to nearest."""
    return (np.clip(image, 0.0, 1.0) * 65535.0 + 0.5).astype(np.uint16)


def to_8_bit(image: np.ndarray) -> np.ndarray:
    """Convert uint16 pixels to uint8, rounded to nearest (65535 -> 255, 385 -> 1, 386 -> 2); uint8 ones stay as they are."""
    return image if image.dtype == np.uint8 else ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)


def to_16_bit(image: np.ndarray) -> np.ndarray:
    """Convert uint8 pixels to uint16 (255 -> 65535), which `to_8_bit` takes back; uint16 ones stay as they are."""
    return image if image.dtype == np.uint16 else image.astype(np.uint16) * 257
