"""PNG files: what their chunks say, and their bytes without what pixels do not depend on."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import BinaryIO

from atlas.errors import UserError
from atlas.storage.picture_files.header import MOST_PARTS, MOST_PROFILE, Header
from atlas.storage.picture_files.orientation import orientation

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 4, 4: 4, 6: 4}  # of PNG's colour types, as they are decoded at most
_GREY, _PALETTE = 0, 3
_MOST_SAID = {b"iCCP": MOST_PROFILE, b"eXIf": 1 << 16, b"tRNS": 1 << 10}
"""Chunks that say how pixels are shown, and the bytes that are read of them."""


def png_header(stream: BinaryIO) -> Header | None:
    """Read a PNG's header and the chunks that say how it is shown; None where it is none."""
    stream.seek(0)
    start = stream.read(33)
    if len(start) < 33 or start[8:16] != b"\0\0\0\rIHDR" or start[25] not in _CHANNELS or start[24] not in (1, 2, 4, 8, 16):
        return None
    width, height = (int.from_bytes(start[at : at + 4], "big") for at in (16, 20))
    depth, kind, said = start[24], start[25], _said(stream)
    turned = orientation(said.get(b"eXIf", b""))
    clear = None
    if kind == _GREY and len(said.get(b"tRNS", b"")) == 2:
        clear = int.from_bytes(said[b"tRNS"], "big") * (1 if depth > 8 else 255 // (2**depth - 1))
    return Header(
        *((height, width) if turned > 4 else (width, height)),
        _CHANNELS[kind] if clear is None else 4,
        depth=2 if depth == 16 else 1,
        palette=kind == _PALETTE,
        orientation=turned,
        profile=_unpacked(said.get(b"iCCP", b"")),
        clear=clear,
    )


def _said(stream: BinaryIO) -> dict[bytes, bytes]:
    """The first chunk of each kind that says how pixels are shown; some programs write them after the pixels."""
    found: dict[bytes, bytes] = {}
    for _ in range(MOST_PARTS):
        start = stream.read(8)
        length, kind = int.from_bytes(start[:4], "big"), start[4:]
        if len(start) < 8 or kind == b"IEND":
            break
        if kind in _MOST_SAID and kind not in found and length <= _MOST_SAID[kind]:
            found[kind] = stream.read(length)
            length = 0
        stream.seek(length + 4, 1)
    return found


def _unpacked(chunk: bytes) -> bytes:
    """Inflate the profile of an iCCP chunk, which follows its name, a zero and the method; empty where it cannot be."""
    _, _, packed = chunk.partition(b"\0")
    unpacker = zlib.decompressobj()
    try:
        profile = unpacker.decompress(packed[1:], MOST_PROFILE)
    except zlib.error:
        return b""
    return profile if unpacker.eof else b""


def png_bytes(path: Path, data: bytes) -> bytes:
    """A PNG's bytes up to its end, its checksums verified: what stands behind its end belongs to no picture.

    OpenCV fills the missing half of a truncated file with grey, and prints to standard error what it finds damaged. Texts,
    profiles and the like are left out: decoders unpack them, to any size, and pixels do not depend on them.
    """
    view, position = memoryview(data), len(SIGNATURE)
    kept = [view[:position]]
    for chunks in range(1, MOST_PARTS + 2):
        end = position + 8 + int.from_bytes(view[position : position + 4], "big")  # length, kind and content, then a checksum
        if position + 12 > len(data) or end + 4 > len(data):
            raise UserError(f"{path} is truncated: copy or export it again")
        if zlib.crc32(view[position + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            raise UserError(f"{path} is damaged inside: copy or export it again")
        kind = bytes(view[position + 4 : position + 8])
        if kind == b"acTL":
            raise UserError(f"{path} is an animated PNG: export one picture of it")
        if kind[0] < ord("a") or kind == b"tRNS":
            kept.append(view[position : end + 4])
        position = end + 4
        if kind == b"IEND":
            return data if len(kept) == chunks + 1 and position == len(data) else b"".join(kept)
    raise UserError(f"{path} is cut into too many pieces: export it again")
