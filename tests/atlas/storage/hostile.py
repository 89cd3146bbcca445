"""Makers of files that are made to harm, and what is asked of their refusal."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from atlas.errors import UserError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
ROOT = Path(__file__).resolve().parents[3]


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *, depth: int = 8, kind: int = 0, pixels: bytes = b"", beside: bytes = b"") -> bytes:
    """A PNG whose checksums are right, whatever its pixels are."""
    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return SIGNATURE + chunk(b"IHDR", head) + beside + chunk(b"IDAT", pixels) + chunk(b"IEND")


def zeros(count: int) -> bytes:
    """So many zeros, deflated, a thousandth as long."""
    packer = zlib.compressobj(9)
    parts = [packer.compress(bytes(1 << 20)) for _ in range(count >> 20)] + [packer.compress(bytes(count & 0xFFFFF))]
    return b"".join([*parts, packer.flush()])


def jpeg(image: np.ndarray, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", **options)
    return stream.getvalue()


def with_size(data: bytes, width: int, height: int) -> bytes:
    """A JPEG that says another size."""
    at = next(i for i in range(len(data)) if data[i] == 0xFF and data[i + 1] in (0xC0, 0xC2))
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


def photo(*channels: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (20, 30, *channels), np.uint8)


def short(value: object) -> str | None:
    """How a test is called that is given a file's content: not by all of it."""
    return f"{len(value)} bytes" if isinstance(value, bytes) else None


def refusal(act: Callable[[], object], name: str) -> str:
    """The one line that refuses the file."""
    began = time.perf_counter()
    with pytest.raises(UserError) as caught:
        act()
    assert time.perf_counter() - began < 10
    assert "\n" not in str(caught.value) and name in str(caught.value) and len(str(caught.value)) < 500
    return str(caught.value)


MOST = """
def most():  # MB; what getrusage says of a young process is that of the one that started it
    if sys.platform == "linux":
        return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) / 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
"""


def decoding_costs(data: bytes, tmp_path: Path) -> int:
    """MB that a process takes beyond its modules to read a picture, or to refuse it."""
    resource = pytest.importorskip("resource")
    assert resource is not None
    (tmp_path / "a.png").write_bytes(data)
    program = (
        "import resource, sys; from pathlib import Path\n"
        "from atlas.errors import UserError; from atlas.storage.images import read_image\n" + MOST + "before = most()\n"
        "try: read_image(Path(sys.argv[1]), mode='rgba')\n"
        "except UserError as problem: print(problem, file=sys.stderr)\n"
        "print(round(most() - before))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "a.png")], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)
