"""Picture files from outside: what their headers say, asked before anything is decoded, and bytes that are safe to decode.

A few kilobytes may describe a picture that takes gigabytes, so size, depth and length are bounded first. Nothing but PNG and
JPEG goes to a decoder: it would take any of a dozen formats whatever the file's name says.
"""

from __future__ import annotations

import os
import stat
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from atlas.errors import UserError
from atlas.storage.bounds import LARGEST_SIDE

MOST_BYTES = 200_000_000
"""Of a decoded picture, grey counting as three channels: 66 megapixels of 8-bit RGB, 33 (7680x4320) of 16-bit RGB."""
_MOST_WORK = 2 * MOST_BYTES  # what decoding holds at once: OpenCV copies its result, and JPEG in several scans is kept whole
_MORE_THAN_PIXELS = 16_000_000  # bytes that a file may have beside its pixels, as they would be stored uncompressed
_MOST_CHUNKS = 1 << 18
_MOST_SCANS = 64
_MOST_STEPS = 1 << 16  # bytes of a JPEG that are looked at one by one: its markers, of which files have a few dozen
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_CHANNELS = {0: 1, 2: 3, 3: 4, 4: 4, 6: 4}  # of PNG's colour types, as they are decoded at most
_PALETTE = 3
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # JPEG markers that say the size
_LENGTHLESS = {0x01, *range(0xD0, 0xD8)}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
_SCAN = 0xDA


@dataclass(frozen=True)
class Header:
    """What a picture's file says of it."""

    width: int
    height: int
    channels: int
    depth: int
    """Bytes of a number."""
    palette: bool = False
    """It stores numbers of colours."""
    jpeg: bool = False
    scans_from: int = 0
    """Of a JPEG whose pixels come in several scans, the first byte of the first one's; 0 of all others."""

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.height, self.width

    @property
    def decoded(self) -> int:
        """Bytes of the picture in memory; grey counts as three channels, which it becomes in most uses."""
        return self.width * self.height * max(self.channels, 3) * self.depth


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
    """A PNG's or JPEG's bytes, as far as its pixels depend on them, and its header.

    UserError, before the file is read, where it is neither, is of another size than `size` or too large for any use; and
    where it is truncated, damaged or takes unreasonably long to decode.
    """
    with _opened(path) as stream:
        header = _checked_header(path, stream, size)
        stream.seek(0)
        data = stream.read()
    return (_jpeg(path, data, header) if header.jpeg else _png(path, data)), header


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
    start = stream.read(33)  # a PNG's signature and first chunk
    header = _png_header(start) if start.startswith(_PNG) else _jpeg_header(stream) if start.startswith(_JPEG) else None
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
    if os.fstat(stream.fileno()).st_size > header.decoded * 5 // 4 + _MORE_THAN_PIXELS:
        raise UserError(f"{shape} and its file far larger than that needs: export it again")
    return header


def _png_header(start: bytes) -> Header | None:
    if len(start) < 33 or start[8:16] != b"\0\0\0\rIHDR" or start[25] not in _CHANNELS or start[24] not in (1, 2, 4, 8, 16):
        return None
    width, height = (int.from_bytes(start[at : at + 4], "big") for at in (16, 20))
    return Header(width, height, _CHANNELS[start[25]], 2 if start[24] == 16 else 1, start[25] == _PALETTE)


def _jpeg_header(stream: BinaryIO) -> Header | None:
    """The size before the pixels, found as libjpeg finds it: what stands between two markers is passed over."""
    stream.seek(2)
    previous, header, components, progressive = 0, None, 0, False
    for _ in range(_MOST_STEPS):
        byte = stream.read(1)
        if not byte:
            return None
        marker, previous = (byte[0] if previous == 0xFF else 0), byte[0]
        if marker in (0, 0xFF) or marker in _LENGTHLESS:
            continue
        start = stream.tell()
        length = int.from_bytes(stream.read(2), "big")
        content = stream.read(6) if marker in _FRAMES or marker == _SCAN else b""
        if marker in (0xD8, 0xD9) or (marker == _SCAN and (header is None or not content)):
            return None
        if marker == _SCAN:
            several = progressive or content[0] < components
            return replace(header, scans_from=start) if header and several else header
        if marker in _FRAMES:
            if len(content) < 6 or header is not None:
                return None
            components, progressive = content[5], marker in _PROGRESSIVE
            height, width = int.from_bytes(content[1:3], "big"), int.from_bytes(content[3:5], "big")
            header = Header(width, height, 1 if components == 1 else 3, 1, jpeg=True)
        stream.seek(start + max(length, 2))
        previous = 0
    return None


def _jpeg(path: Path, data: bytes, header: Header) -> bytes:
    if b"\xff\xd9" not in data[-4096:]:
        raise UserError(f"{path} is truncated: copy or export it again")
    if not header.scans_from:
        return data
    scans = 1 + data.count(b"\xff\xda", header.scans_from)  # among pixels this pair of bytes stands for nothing else
    coefficients = header.width * header.height * header.channels * 2
    if scans > _MOST_SCANS or 2 * header.decoded + coefficients > _MOST_WORK:
        raise UserError(
            f"{path} is {header.width}x{header.height} in {scans} scans, which takes too much to decode: export it as a PNG, "
            "or as a JPEG that is not progressive"
        )
    return data


def _png(path: Path, data: bytes) -> bytes:
    """OpenCV fills the missing half of a truncated file with grey, and prints to standard error what it finds damaged.

    Texts, profiles and the like are left out: decoders unpack them, to any size, and pixels do not depend on them.
    """
    if b"IEND" not in data[-64:]:
        raise UserError(f"{path} is truncated: copy or export it again")
    view, position = memoryview(data), len(_PNG)
    kept = [view[:position]]
    chunks = 0
    while position + 12 <= len(data):  # a chunk: length, then kind and content, then their checksum
        end = position + 8 + int.from_bytes(view[position : position + 4], "big")
        if zlib.crc32(view[position + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            raise UserError(f"{path} is damaged inside: copy or export it again")
        kind = bytes(view[position + 4 : position + 8])
        chunks += 1
        if kind == b"acTL":
            raise UserError(f"{path} is an animated PNG: export one picture of it")
        if chunks > _MOST_CHUNKS:
            raise UserError(f"{path} is cut into too many pieces: export it again")
        if kind[0] < ord("a") or kind == b"tRNS":
            kept.append(view[position : end + 4])
        position = end + 4
    return data if len(kept) == chunks + 1 else b"".join(kept)
