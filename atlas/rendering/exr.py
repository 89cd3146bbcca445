"""OpenEXR images, by the package of that name: an extra, asked for only where it is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from atlas.errors import UserError
from atlas.storage.atomic import atomic_file


def check_exr(folder: Path) -> None:
    """UserError where OpenEXR is not installed, or cannot write into a folder: it takes names in UTF-8 only."""
    _package()
    try:
        str(folder.absolute()).encode("utf-8")
    except UnicodeEncodeError:
        raise UserError(f"{folder} has a name that is no UTF-8, which OpenEXR cannot write: choose another --output") from None


def write_exr(path: Path, image: np.ndarray) -> None:  # (H, W, 3) float32
    """Write the channels R, G and B of an EXR file, 32 bits each, atomically."""
    package = _package()
    header = {"compression": package.ZIP_COMPRESSION, "type": package.scanlineimage}
    channels = {name: np.ascontiguousarray(image[..., index]) for index, name in enumerate("RGB")}
    with atomic_file(path) as temporary, package.File(header, channels) as file:
        file.write(str(temporary))


def _package() -> Any:
    try:
        import OpenEXR  # noqa: N813

        return OpenEXR if hasattr(OpenEXR, "File") else _refused()
    except ImportError:
        return _refused()


def _refused() -> Any:
    raise UserError("EXR files need the package OpenEXR (3.3 or newer): pip install OpenEXR, or pip install -e .[exr]")
