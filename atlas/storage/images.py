"""Image files (PNG, JPEG) in and out, and conversions between 8 bit, 16 bit and floats."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from atlas.errors import UserError
from atlas.storage.atomic import atomic_file
from atlas.storage.pictures import WantedSize, picture_bytes


def write_image(path: Path, image: np.ndarray) -> None:
    """Write a PNG (or JPEG) atomically.

    image: (H, W), (H, W, 3) RGB or (H, W, 4) RGBA; uint8 or uint16 as it is, floats as 8 bit from [0, 1].
    """
    if image.dtype.kind == "f":
        image = to_uint8(image)
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR)
    how = [cv2.IMWRITE_PNG_COMPRESSION, 3] if path.suffix.lower() == ".png" else []
    done, data = cv2.imencode(path.suffix, image, how)
    if not done:
        raise UserError(f"{path} cannot be written: choose a .png name")
    with atomic_file(path) as temporary:
        temporary.write_bytes(data.tobytes())


def read_image(path: Path, *, mode: str = "keep", size: WantedSize | None = None) -> np.ndarray:
    """Read a PNG or JPEG file as it is stored: (H, W, C) with C = 1, 3 (RGB) or 4 (RGBA), uint8 or uint16.

    mode: "keep"; "rgb" or "rgba" convert (grey is repeated, a missing alpha is opaque). size: the only one that will do.
    Raises UserError for a file that is missing, truncated or no image, and, before it is decoded, for one of another size
    or too large (`atlas.storage.pictures`).
    """
    data, header = picture_bytes(path, size)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    if image is None or image.shape[:2] != header.size:
        raise UserError(f"{path} is not a readable image: export it again as PNG or JPEG")
    if image.ndim == 2:
        image = image[:, :, None]
    if image.shape[2] >= 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB if image.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)
    if mode != "keep":
        image = with_channels(image, 4 if mode == "rgba" else 3)
    return np.ascontiguousarray(image)


def with_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """(H, W, 1|3|4) as 3 or 4 channels: grey is repeated, alpha dropped or made opaque."""
    colour = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image[:, :, :3]
    if channels == 3:
        return colour
    opaque = np.full_like(image[:, :, :1], np.iinfo(image.dtype).max)
    return np.concatenate([colour, image[:, :, 3:] if image.shape[2] == 4 else opaque], axis=2)


def to_float(image: np.ndarray) -> np.ndarray:
    """uint8 or uint16 pixels as float32 in [0, 1]."""
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
