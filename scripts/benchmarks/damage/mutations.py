"""Mutations: a file's bytes altered at random, by what its kind is made of where that is known, else anywhere."""

from __future__ import annotations

import json
import random
import re
import struct
import zlib
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

_ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 7, 0.5, -0.0, 1e-300, 1e308, 10**30, -(2**63), 2**31, float("nan"), float("inf"), "", " ",
    "x" * 3000, "../../../elsewhere", "/elsewhere", "..", "\0", "\x1b[31m", "\ud800", "NaN", "0", [], {}, [[]], [1, 2, 3],
    {"a": {"b": []}},
)  # fmt: skip
_ODD_NUMBERS = (b"\0\0\0\0", b"\0\0\0\1", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\1\0\0", b"\x80\0\0\0", b"\0\0\xff\xff")
_OTHER_KINDS = (b"", b"\0" * 64, b"{}", b"[1]", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"\x93NUMPY\1\0", b"GIF89a",
                b"PK\3\4", b"\0\0\0\x18ftypisom", b"#!/bin/sh\n", "not what you think \u00e9".encode("utf-16"))  # fmt: skip


def mutated(data: bytes, suffix: str, draw: random.Random) -> bytes:
    """Alter a file's bytes; `suffix` (".png", ".json" and so on) says what it is. The same draw gives the same bytes."""
    of_its_kind = _OF_KINDS.get(suffix)
    if of_its_kind is not None and draw.random() < 0.6:
        data = of_its_kind(data, draw)
        if draw.random() < 0.8:
            return data
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        data = draw.choice(_ANYWHERE)(data, draw)
    return data


def mutate_folder(folder: Path, draw: random.Random) -> None:
    """Alter a folder of pictures: files lost, renamed, doubled, exchanged, damaged, and things among them that are none."""
    for _ in range(draw.choice((1, 1, 2, 3))):
        files = sorted(path for path in folder.iterdir() if path.is_file() and not path.is_symlink())
        if files:
            draw.choice(_TO_FOLDERS)(folder, draw.choice(files), draw)


def _cut(data: bytes, draw: random.Random) -> bytes:
    return data[: draw.randrange(len(data) + 1)]


def _flip(data: bytes, draw: random.Random) -> bytes:
    altered = bytearray(data)
    for _ in range(draw.choice((1, 2, 8, 40))):
        if altered:
            altered[_place(len(altered), draw)] ^= 1 << draw.randrange(8)
    return bytes(altered)


def _overwrite(data: bytes, draw: random.Random) -> bytes:
    if len(data) < 4:
        return data
    at = _place(len(data) - 3, draw)
    return data[:at] + draw.choice(_ODD_NUMBERS) + data[at + 4 :]


def _insert(data: bytes, draw: random.Random) -> bytes:
    at = _place(len(data) + 1, draw)
    return data[:at] + draw.randbytes(draw.choice((1, 4, 100, 5000))) + data[at:]


def _take_out(data: bytes, draw: random.Random) -> bytes:
    at, length = _place(len(data) + 1, draw), draw.choice((1, 4, 100, 5000))
    return data[:at] + data[at + length :]


def _double(data: bytes, draw: random.Random) -> bytes:
    at, length = _place(len(data) + 1, draw), draw.choice((4, 100, 5000))
    return data[: at + length] + data[at:]


def _blank(data: bytes, draw: random.Random) -> bytes:
    at, length = _place(len(data) + 1, draw), min(draw.choice((16, 400, 100_000)), len(data))
    return (data[:at] + bytes(length) + data[at + length :])[: len(data)]


def _another(data: bytes, draw: random.Random) -> bytes:
    return draw.choice(_OTHER_KINDS) + (data[draw.randrange(len(data) + 1) :] if draw.random() < 0.5 else b"")


_ANYWHERE = (_cut, _flip, _flip, _overwrite, _overwrite, _insert, _take_out, _double, _blank, _another)


def _place(length: int, draw: random.Random) -> int:
    """A place in a file, half of the time near its beginning, where descriptions stand."""
    return draw.randrange(min(length, 200) if draw.random() < 0.5 else length)


def _json(data: bytes, draw: random.Random) -> bytes:
    """Values, keys and kinds exchanged somewhere in what the text says."""
    try:
        tree = json.loads(data)
    except ValueError:
        return data
    for _ in range(draw.choice((1, 1, 2, 4))):
        tree = _altered(tree, draw)
    return json.dumps(tree).encode()


def _altered(node: Any, draw: random.Random) -> Any:
    if not isinstance(node, dict | list) or not node or draw.random() < 0.15:
        return deepcopy(draw.choice(_ODD))  # what is altered further on must not be the list above
    keys = list(node) if isinstance(node, dict) else range(len(node))
    key, act = draw.choice(keys), draw.random()
    if act < 0.7:
        node[key] = _altered(node[key], draw)
    elif act < 0.85:
        del node[key]
    elif isinstance(node, dict):
        node[draw.choice((key + "x", "", "../" + key, "0"))] = node.pop(key)
    else:
        node.insert(draw.randrange(len(node) + 1), deepcopy(draw.choice((node[key], *_ODD))))
    return node


def _png(data: bytes, draw: random.Random) -> bytes:
    """One chunk's content altered under a checksum that is right, or chunks lost, doubled and exchanged."""
    chunks, at = [], 8
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    if not chunks:
        return data
    number, act = draw.randrange(len(chunks)), draw.random()
    if act < 0.7:
        kind, content = chunks[number]
        chunks[number] = (kind, draw.choice((_flip, _overwrite, _cut, _insert))(content, draw))
    elif act < 0.8:
        del chunks[number]
    else:
        chunks.insert(draw.randrange(len(chunks) + 1), chunks[number])
    packed = (struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks)
    return data[:8] + b"".join(packed)


def _npy(data: bytes, draw: random.Random) -> bytes:
    """The header's text altered, its length put right: other shapes, kinds, orders."""
    length = int.from_bytes(data[8:10], "little")
    header, odd = data[10 : 10 + length].decode("latin1"), draw.random()
    if odd < 0.5:
        header = _one_number(header, draw)
    elif odd < 0.8:
        kinds = ("'O'", "'<f8'", "'<i8'", "'|S5'", "'<U2000000000'", "[('a', '<f4')]", "'<M8[s]'", "None", "'>f2'", "'<c16'")
        header = re.sub(r"'descr': '[^']*'", f"'descr': {draw.choice(kinds)}", header)
    else:
        header = header.replace("False", draw.choice(("True", "7", "__import__('os')", "[" * 500)))
    packed = header.encode("latin1")
    return data[:8] + min(len(packed), 65535).to_bytes(2, "little") + packed[:65535] + data[10 + length :]


def _safetensors(data: bytes, draw: random.Random) -> bytes:
    """The header's JSON altered, its length put right."""
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length]
    header = _json(header, draw) if draw.random() < 0.6 else _one_number(header.decode("latin1"), draw).encode("latin1")
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def _mp4(data: bytes, draw: random.Random) -> bytes:
    """A number overwritten in the boxes that describe the film: sizes, times, counts, offsets."""
    begin = data.find(b"moov")
    if begin < 0:
        return data
    end = begin + int.from_bytes(data[begin - 4 : begin], "big")
    altered = bytearray(data)
    for _ in range(draw.choice((1, 2, 5))):
        at = draw.randrange(begin, min(end, len(data) - 4))
        altered[at : at + 4] = draw.choice((*_ODD_NUMBERS, draw.randbytes(4)))
    return bytes(altered)


def _csv(data: bytes, draw: random.Random) -> bytes:
    """One number, or one comma, exchanged."""
    text = data.decode("latin1")
    return (_one_number(text, draw) if draw.random() < 0.7 else text.replace(",", ";", draw.randrange(4))).encode("latin1")


def _one_number(text: str, draw: random.Random) -> str:
    numbers = list(re.finditer(r"\d+", text))
    if not numbers:
        return text
    chosen = draw.choice(numbers)
    odd = draw.choice(("0", "-1", "1", "3", "1e9", "99999", "4294967296", "9223372036854775807", "1.5", "nan", "9" * 400, ""))
    return text[: chosen.start()] + odd + text[chosen.end() :]


_OF_KINDS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    ".json": _json,
    ".png": _png,
    ".npy": _npy,
    ".safetensors": _safetensors,
    ".mp4": _mp4,
    ".csv": _csv,
}


def _lose(folder: Path, file: Path, draw: random.Random) -> None:
    file.unlink()


def _rename(folder: Path, file: Path, draw: random.Random) -> None:
    names = (
        "x.png",
        "99999.png",
        "00000_obj_1.png",
        "0.PNG",
        "a b.png",
        "-1.png",
        "00001.jpg",
        ".00001.png",
        "1" * 60 + ".png",
    )
    file.replace(folder / draw.choice(names))


def _twin(folder: Path, file: Path, draw: random.Random) -> None:
    names = (f"0{file.name}", f"{file.stem}_2.png", f"{file.stem}.jpg", f"frame_{file.name}", "00007.png")
    (folder / draw.choice(names)).write_bytes(file.read_bytes())


def _damage(folder: Path, file: Path, draw: random.Random) -> None:
    file.write_bytes(mutated(file.read_bytes(), file.suffix, draw))


def _stranger(folder: Path, file: Path, draw: random.Random) -> None:
    (folder / draw.choice(("Thumbs.db", ".DS_Store", "notes.txt", "00001.json", "00002.mp4"))).write_bytes(draw.randbytes(50))


def _folder_in_place(folder: Path, file: Path, draw: random.Random) -> None:
    file.unlink()
    target = draw.choice((file, folder / file.stem, folder / "1"))
    target.mkdir(exist_ok=True)
    (target / "00000.png").write_bytes(draw.randbytes(50))


_TO_FOLDERS = (_lose, _rename, _twin, _damage, _damage, _damage, _stranger, _folder_in_place)
