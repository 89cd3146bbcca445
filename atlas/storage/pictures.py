"""Picture files from outside: what their headers say, asked before anything is decoded, and bytes that are safe to decode.

A few kilobytes may describe a picture that takes gigabytes, so size, depth and length are bounded first. Nothing but PNG and
JPEG goes to a decoder: it would take any of a dozen formats whatever the file's name says.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from atlas.errors import UserError
from atlas.storage.bounds import LARGEST_SIDE
from atlas.storage.picture_files import jpeg, png
from atlas.storage.picture_files.header import Header
from atlas.storage.picture_files.jpeg import jpeg_bytes, jpeg_header
from atlas.storage.picture_files.png import png_bytes, png_header

MOST_BYTES = 200_000_000
"""Of a decoded picture, grey counting as three channels: 66 megapixels of 8-bit RGB, 33 (7680x4320) of 16-bit RGB."""
_MOST_WORK = 2 * MOST_BYTES  # what decoding holds at once: OpenCV copies its result, and JPEG in several scans is kept whole
_MORE_THAN_PIXELS = 16_000_000  # bytes that a picture may take beside its pixels, as they would be stored uncompressed


@dataclass(frozen=True)
class WantedSize:
    """The one size that a picture may have, and how an error says so: `<path> is 3x2, <whose> 6x4: <advice>`."""

    height: int
    width: int
    whose: str
    advice: str

    def check(self, path: Path, header: Header) -> None:
        """UserError where the picture has another size."""
        if header.size != (self.height, self.width):
            raise UserError(f"{path} is {header.width}x{header.height}, {self.whose} {self.width}x{self.height}: {self.advice}")


def picture_header(path: Path, size: WantedSize | None = None) -> Header:
    """The header of a PNG or JPEG file, without its pixels; UserError as from `picture_bytes`, but for damage further on."""
    with _opened(path) as stream:
        return _checked_header(path, stream, size)


def picture_bytes(path: Path, size: WantedSize | None = None) -> tuple[bytes, Header]:
    """A PNG's or JPEG's bytes, as far as its pixels depend on them, and its header. What stands behind its end is left out.

    UserError, before the file is read, where it is neither, is of another size than `size` or too large for any use; and
    where it is truncated, damaged or takes unreasonably long to decode.
    """
    with _opened(path) as stream:
        header = _checked_header(path, stream, size)
        stream.seek(0)
        most = header.decoded * 5 // 4 + _MORE_THAN_PIXELS
        data = stream.read(most)
        longer = bool(stream.read(1))
    try:
        return (jpeg_bytes(path, data, header, _MOST_WORK) if header.jpeg else png_bytes(path, data)), header
    except UserError:
        if longer:  # it has an end beyond that, or none
            shape = f"{path} is {header.width}x{header.height}"
            raise UserError(f"{shape} and its file far larger than that needs: export it again") from None
        raise


def _opened(path: Path) -> BinaryIO:
    try:
        if path.is_dir():  # Windows calls reading one a matter of permission
            raise UserError(f"{path} is a folder: name an image")
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for who writes to it
            raise UserError(f"{path} is no ordinary file: name an image")
        return path.open("rb")
    except FileNotFoundError:
        raise UserError(f"{path} is missing: check the path") from None


def _checked_header(path: Path, stream: BinaryIO, size: WantedSize | None) -> Header:
    start = stream.read(8)
    header = png_header(stream) if start == png.SIGNATURE else jpeg_header(stream) if start[:3] == jpeg.SIGNATURE else None
    if header is None or 0 in (header.width, header.height):
        raise UserError(f"{path} is not a readable image: export it again as PNG or JPEG")
    if size is not None:
        size.check(path, header)
    shape = f"{path} is {header.width}x{header.height}"
    if max(header.width, header.height) > LARGEST_SIDE:
        raise UserError(f"{shape}: pictures are read up to {LARGEST_SIDE} pixels a side, make it smaller")
    if header.decoded > MOST_BYTES:
        megabytes = [round(number / 1e6) for number in (header.decoded, MOST_BYTES)]
        raise UserError(
            f"{shape}, {megabytes[0]} MB once decoded, and pictures are read up to {megabytes[1]} MB: make it smaller"
        )
    return header
