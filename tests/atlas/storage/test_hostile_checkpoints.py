"""Checkpoints of torch that were made to harm: each is refused in one line, quickly, and without taking memory."""

from __future__ import annotations

import os
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from atlas.model.nla_config import published_config
from atlas.nla.files import read_networks
from tests.atlas.storage.hostile import refusal

NLA = published_config({"resx": 32, "resy": 32, "maximum_number_of_frames": 2})


class Bytes:
    """Unpickling it asks for three gigabytes."""

    def __reduce__(self) -> tuple[type, tuple[int]]:
        return bytearray, (3_000_000_000,)


def overlapping(path: Path) -> None:
    """Many entries of one place in the file."""
    torch.save({"a": torch.zeros(250_000)}, path)
    with zipfile.ZipFile(path, "a") as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
        for number in range(100):
            twin = zipfile.ZipInfo(f"{largest.filename}{number}")
            twin.header_offset, twin.file_size, twin.compress_size = largest.header_offset, largest.file_size, largest.file_size
            twin.CRC = largest.CRC
            archive.filelist.append(twin)
        archive._didModify = True  # type: ignore[attr-defined]


def huge(path: Path) -> None:
    torch.save({"a": torch.zeros(3)}, path)
    os.truncate(path, 3 << 30)


def listing(path: Path) -> None:
    """Nothing but a list of two million entries, of which zipfile makes as many objects."""
    entry = struct.pack("<IHHHHHHIIIHHHHHII", 0x02014B50, 20, 20, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0)
    entries = b"".join(entry + b"%07d" % number for number in range(2_000_000))
    large = struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, 2_000_000, 2_000_000, len(entries), 0)
    large += struct.pack("<IIQI", 0x07064B50, 0, len(entries), 1)
    path.write_bytes(entries + large + struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: torch.save(Bytes(), path), "holds more than numbers"),
        (lambda path: torch.save({str(i): [i] for i in range(100_000)}, path), "holds more than networks"),
        (lambda path: torch.save({"a": [torch.ones(1).expand(10**6, 10**6).to_sparse_csr]}, path), "more than numbers"),
        (overlapping, "truncated or no checkpoint"),
        (huge, "truncated or no checkpoint|over 500 MB"),
        (listing, "truncated or no checkpoint"),
    ],
)
def test_checkpoints_of_torch(write: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    write(path)
    began = time.monotonic()
    said = refusal(lambda: read_networks(path, NLA), "checkpoint")
    assert time.monotonic() - began < 5
    assert any(part in said for part in message.split("|")), said
