"""Colour profiles (ICC): pictures of Display P3, Adobe RGB, grey or a printing press, brought to sRGB.

Little CMS, which Pillow carries, does the work. Through Pillow it takes colours of 8 bits only, so those of 16 bits go through
the curves and the matrix that such profiles consist of (ICC.1:2022, 10.6 and 10.18).
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from atlas.storage.picture_files.tone_curve import tone_curve

_STEPS = 9
_SAME = 2  # levels of 256: what differs less is sRGB by another name, and stays as it is to the bit
_ROWS = 128
_SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
_CURVES = {"RGB": (b"rTRC", b"gTRC", b"bTRC"), "L": (b"kTRC",)}
Convert = Callable[[np.ndarray], np.ndarray]


def in_srgb(
    image: np.ndarray,  # (H, W, 1|3|4) uint8 or uint16
    profile: bytes,
) -> np.ndarray:  # the same
    """Convert a picture's colours to sRGB by its ICC profile; alpha stays.

    It stays as it is where the profile is damaged or one of another kind of picture, which is what viewers do.
    """
    grey = image.shape[2] == 1
    mode, convert = _conversion(profile)
    if convert is None or mode != ("L" if grey else "RGB"):
        return image
    colours = np.ascontiguousarray(image[..., : 1 if grey else 3])
    if image.dtype == np.uint8:
        converted = convert(colours)
    else:
        deep = _deep_conversion(profile)
        converted = deep(colours) if deep else convert((colours >> 8).astype(np.uint8)).astype(np.uint16) * 257
    return np.concatenate([converted, image[..., 3:]], -1)


def inks_in_srgb(data: bytes, profile: bytes) -> np.ndarray | None:  # (H, W, 3) uint8
    """Decode a JPEG of four inks (CMYK) by its profile; None where it is none, or the profile is not one of inks."""
    from PIL import Image

    mode, convert = _conversion(profile)
    if mode != "CMYK" or convert is None:
        return None
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
        return convert(np.asarray(image)) if image.mode == "CMYK" else None


@lru_cache(8)
def _conversion(profile: bytes) -> tuple[str, Convert | None]:
    """The kind of picture that a profile is for, and the conversion of 8 bits; None where there is nothing to do, or it cannot
    be done."""
    from PIL import Image, ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = _SPACES.get(source.profile.xcolor_space.strip(), "")
        transform = mode and ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        return "", None
    if not transform:
        return "", None

    def convert(colours: np.ndarray) -> np.ndarray:  # (H, W, 1|3|4) uint8
        given = Image.fromarray(colours[..., 0] if mode == "L" else colours, mode)
        made = np.asarray(ImageCms.applyTransform(given, transform))
        return made[..., 1:2] if mode == "L" else made

    return mode, None if mode != "CMYK" and _changes_nothing(convert, 1 if mode == "L" else 3) else convert


def _changes_nothing(convert: Convert, channels: int) -> bool:
    steps = np.linspace(0, 255, _STEPS if channels == 3 else 256).round().astype(np.uint8)
    colours = np.stack(np.meshgrid(*[steps] * channels), -1).reshape(1, -1, channels)
    return int(np.abs(convert(colours).astype(int) - colours).max()) <= _SAME


@lru_cache(4)
def _deep_conversion(profile: bytes) -> Convert | None:
    """The conversion of 16 bits by curves and matrix; None where the profile consists of tables."""
    from PIL import ImageCms

    description = ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile
    mode = _SPACES[description.xcolor_space.strip()]
    curves = [tone_curve(profile, name) for name in _CURVES[mode]]
    known = [curve for curve in curves if curve is not None]
    if len(known) < len(curves) or b"A2B0" in profile[128:1024]:
        return None
    matrix = np.ones((1, 1))
    if mode == "RGB":
        srgb = ImageCms.createProfile("sRGB")
        if not all((description.red_colorant, description.green_colorant, description.blue_colorant)):
            return None
        matrix = np.linalg.solve(_columns(srgb), _columns(description))

    def convert(colours: np.ndarray) -> np.ndarray:  # (H, W, 1|3) uint16
        result = np.empty_like(colours)
        for start in range(0, len(colours), _ROWS):  # floats take several times the memory of the picture
            part = colours[start : start + _ROWS]
            linear = np.stack([curve[part[..., channel]] for channel, curve in enumerate(known)], -1)
            result[start : start + _ROWS] = _encoded(linear @ matrix.T.astype(np.float32))
        return result

    return convert


def _columns(description: object) -> np.ndarray:
    """Red, green and blue as XYZ, a column each."""
    return np.array([getattr(description, f"{name}_colorant")[0] for name in ("red", "green", "blue")]).T


def _encoded(linear: np.ndarray) -> np.ndarray:
    """Light, 1 = white, as uint16 on the curve of sRGB (IEC 61966-2-1)."""
    linear = np.clip(linear, 0, 1)
    curved = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** np.float32(1 / 2.4) - 0.055)
    return (curved * 65535 + 0.5).astype(np.uint16)
