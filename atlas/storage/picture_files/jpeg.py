"""JPEG files: what stands before their pixels, and where these end."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from atlas.errors import UserError
from atlas.storage.picture_files.header import MOST_PARTS, MOST_PROFILE, Header
from atlas.storage.picture_files.orientation import orientation

SIGNATURE = b"\xff\xd8\xff"
_MOST_SCANS = 64
_MOST_STEPS = 1 << 16  # bytes of a JPEG that are looked at one by one: its markers, of which files have a few dozen
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # markers that say the size
_LENGTHLESS = {0x01, *range(0xD0, 0xD8)}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
_SCAN, _START, _END, _EXIF, _PROFILE = 0xDA, 0xD8, 0xD9, 0xE1, 0xE2
_EXIF_NAME, _PROFILE_NAME = b"Exif\0\0", b"ICC_PROFILE\0"
_NEXT = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
"""A marker among pixels, where FF 00 is a byte FF, and FF D0 to FF D7 say that decoding starts anew."""


def jpeg_header(stream: BinaryIO) -> Header | None:
    """Read what stands before the pixels, found as libjpeg finds it: what stands between two markers is passed over."""
    stream.seek(2)
    previous, header, components, progressive = 0, None, 0, False
    exif, profile = b"", _Profile()
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
        if marker in (_START, _END) or (marker == _SCAN and (header is None or not content)):
            return None
        if marker == _SCAN and header:
            several, turned = progressive or content[0] < components, orientation(exif)
            if turned > 4:
                header = replace(header, width=header.height, height=header.width)
            return replace(header, orientation=turned, profile=profile.whole(), scans_from=start, several_scans=several)
        if marker == _EXIF and not exif and stream.read(len(_EXIF_NAME)) == _EXIF_NAME:
            exif = stream.read(max(length - 2 - len(_EXIF_NAME), 0))
        if marker == _PROFILE:
            profile.add(stream, length - 2)
        if marker in _FRAMES:
            if len(content) < 6 or header is not None:
                return None
            components, progressive = content[5], marker in _PROGRESSIVE
            height, width = int.from_bytes(content[1:3], "big"), int.from_bytes(content[3:5], "big")
            header = Header(width, height, 1 if components == 1 else 3, 1, jpeg=True, inks=components == 4)
        stream.seek(start + max(length, 2))
        previous = 0
    return None


class _Profile:
    """A colour profile that comes in parts, each with its number from 1 on and how many there are."""

    def __init__(self) -> None:
        self._parts: dict[int, bytes] = {}
        self._count = self._size = 0

    def add(self, stream: BinaryIO, length: int) -> None:
        """Read a part, if it is one and not beyond what profiles have."""
        if length < len(_PROFILE_NAME) + 2 or stream.read(len(_PROFILE_NAME)) != _PROFILE_NAME or self._size > MOST_PROFILE:
            return
        start, part = stream.read(2), stream.read(length - len(_PROFILE_NAME) - 2)
        if len(start) == 2:
            self._count = start[1]
            self._parts[start[0]] = part
            self._size += len(part)

    def whole(self) -> bytes:
        """The profile; empty where a part is missing."""
        numbers = range(1, self._count + 1)
        return b"".join(self._parts[number] for number in numbers) if self._parts.keys() == set(numbers) else b""


def jpeg_bytes(path: Path, data: bytes, header: Header, most_work: int) -> bytes:
    """A JPEG's bytes up to its end: a phone's film of the moment, depth maps and thumbnails behind it belong to no picture.

    UserError where it has no end, or decoding its scans would hold more than `most_work` bytes at once.
    """
    scans, end = _scans(path, data, header.scans_from)
    coefficients = header.width * header.height * header.channels * 2
    if header.several_scans and (scans > _MOST_SCANS or 2 * header.decoded + coefficients > most_work):
        raise UserError(
            f"{path} is {header.width}x{header.height} in {scans} scans, which takes too much to decode: export it as a PNG, "
            "or as a JPEG that is not progressive"
        )
    return data if end == len(data) else data[:end]


def _scans(path: Path, data: bytes, scans_from: int) -> tuple[int, int]:
    """Count the scans, and find where the mark that ends the file ends."""
    scans, position = 1, scans_from + int.from_bytes(data[scans_from : scans_from + 2], "big")
    for _ in range(MOST_PARTS):
        found = _NEXT.search(data, position)
        if found is None:
            raise UserError(f"{path} is truncated: copy or export it again")
        position, marker = found.end(), data[found.end() - 1]
        if marker == _END:
            return scans, position
        scans += marker == _SCAN
        if marker not in _LENGTHLESS and marker != _START:
            position += int.from_bytes(data[position : position + 2], "big")
    raise UserError(f"{path} is cut into too many pieces: export it again")
