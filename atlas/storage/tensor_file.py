"""The header of a .safetensors file: names, types and shapes of its tensors, before any of them is read."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from atlas.storage.json_text import parsed

_LONGEST = 8_000_000  # bytes of a header: those of the largest published models have a few hundred thousand
_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}  # fmt: skip
Described = dict[str, tuple[str, tuple[int, ...]]]
"""Of each tensor its type, as the format names it, and its shape."""


def tensor_header(path: Path) -> tuple[Described, dict[str, str]]:
    """What the file says of its tensors, and the texts beside them.

    ValueError where it is none, or its tensors do not lie one after the other in all that follows; OSError where it cannot be
    read.
    """
    if path.exists() and not path.is_file():  # opening a pipe would wait for who writes to it
        raise ValueError("it is no file")
    with path.open("rb") as stream:
        left = os.fstat(stream.fileno()).st_size - 8
        length = int.from_bytes(stream.read(8), "little")
        if not 0 < length <= min(left, _LONGEST):
            raise ValueError("its header is cut off or far too long")
        text = stream.read(length)
    header = parsed(text)
    texts = header.pop("__metadata__", None) or {} if isinstance(header, dict) else None
    if not isinstance(texts, dict) or not all(isinstance(value, str) for value in texts.values()):
        raise ValueError("its header is no description of tensors")
    described = {name: _described(entry) for name, entry in header.items()}
    if sum(math.prod(shape) * _BYTES[kind] for kind, shape in described.values()) > left - length:
        raise ValueError("it is cut off")
    _check_places(header, described, left - length)
    return described, texts


def _check_places(header: dict[str, Any], described: Described, size: int) -> None:
    """ValueError where the tensors do not fill `size` bytes one after the other, as the format wants it."""
    places = []
    for name, (kind, shape) in described.items():
        place = header[name].get("data_offsets")
        if not (isinstance(place, list) and len(place) == 2 and all(type(offset) is int for offset in place)):
            raise ValueError("its header does not say where a tensor lies")
        if place[1] - place[0] != math.prod(shape) * _BYTES[kind]:
            raise ValueError("its header gives a tensor another length than its shape")
        places.append(place)
    at = 0
    for begin, end in sorted(places):
        if begin != at:
            raise ValueError("its tensors overlap, or leave gaps")
        at = end
    if at != size:
        raise ValueError("it is longer than its tensors")


def _described(entry: Any) -> tuple[str, tuple[int, ...]]:
    kind, shape = (entry.get("dtype"), entry.get("shape")) if isinstance(entry, dict) else (None, None)
    if not isinstance(kind, str) or kind not in _BYTES or not isinstance(shape, list) or len(shape) > 16:
        raise ValueError("its header describes a tensor of a kind that is not read")
    if not all(type(side) is int and 0 <= side < 1 << 40 for side in shape):
        raise ValueError("its header describes a tensor of no shape")
    return kind, tuple(shape)
