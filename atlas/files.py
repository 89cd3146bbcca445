"""Files on disk: atomic writes, images, JSON, and the stamps that tell whether a stage is up to date."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import cv2
import numpy as np

from atlas.errors import UserError
from atlas.json_text import LARGEST, parsed, read_bounded
from atlas.pictures import WantedSize, picture_bytes

STAMP = "stamp.json"
_OLD = "-old"
_LONGEST_HEADER = 1000  # bytes; NumPy writes 118 for all that is stored here
_ARRAY_HEADER = re.compile(
    rb"\{'descr': '([<>|=]?[A-Za-z]\d{0,4})', 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d{1,15}, ?)*(?:\d{1,15})?)\), \} *\n"
)


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` that becomes `path` when the block ends well, and vanishes otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    temporary.chmod(0o644)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """An empty folder beside `path` that replaces `path` as a whole when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for left_over in path.parent.glob(f".{glob.escape(path.name)}-making-*"):  # of a killed run
        if left_over.name.endswith(_OLD) and not left_over.is_symlink() and not os.path.lexists(path):
            left_over.replace(path)  # killed between the two renamings below: nothing is lost
        else:
            _discard(left_over)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-making-", dir=path.parent))
    temporary.chmod(0o755)
    try:
        yield temporary
        # Set aside by renaming, not deleted file by file: a run killed half-way must not leave half of what was there.
        old = temporary.with_name(temporary.name + _OLD)
        if os.path.lexists(path):  # also a link, wherever it leads: it is replaced, and what it leads to stays
            path.replace(old)
        temporary.replace(path)
        _discard(old)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _discard(path: Path) -> None:
    """Remove a folder as far as that is possible, or a link to one: never what the link leads to."""
    if path.is_symlink():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)


class GrowingArray:
    """A .npy file whose rows are written in order; unlike a memory map, it fails with a message when the disk is full.

    In a `with` block it is closed at the end, and after an error too: Windows deletes no folder with an open file in it.
    """

    def __init__(self, path: Path, dtype: Any, shape: tuple[int, ...]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.dtype, self.shape = np.dtype(dtype), shape
        self._left = shape[0]
        self._stream = path.open("wb")
        header = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._stream, header)

    def __enter__(self) -> GrowingArray:
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    def append(self, row: np.ndarray) -> None:
        """Write the next row, of shape `shape[1:]`."""
        if row.shape != self.shape[1:] or not self._left:
            raise ValueError(f"row of shape {row.shape} does not fit an array of shape {self.shape}")
        self._left -= 1
        self._stream.write(np.ascontiguousarray(row, self.dtype).data)

    def close(self) -> None:
        """Flush to the disk; ValueError where rows are missing."""
        self._stream.close()
        if self._left:
            raise ValueError(f"{self._left} rows of {self.shape[0]} were not written")

    def abandon(self) -> None:
        """Close the file as it is, after an error; what closing it raises in turn (the disk is full) is not news."""
        with contextlib.suppress(OSError):
            self._stream.close()


@contextlib.contextmanager
def growing_arrays(*specified: tuple[Path, Any, tuple[int, ...]]) -> Iterator[list[GrowingArray]]:
    """A `GrowingArray` for each (path, dtype, shape); all are closed when the block ends, however it does."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(GrowingArray(*one)) for one in specified]


class StoredArray:
    """A .npy file read row by row or at picked places; unlike with a memory map, what has been read does not stay in memory.

    Raises ValueError or EOFError for a file that is none or is cut off, FileNotFoundError where there is none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.exists() and not path.is_file():  # opening a pipe would wait for who writes to it
            raise ValueError(f"{path} is no file")
        with path.open("rb") as stream:
            self.dtype, in_columns, self.shape = _array_header(path, stream)
            self._start = stream.tell()
        if in_columns or self.dtype.kind not in "biuf" or not self.shape:
            raise ValueError(f"{path} is not stored row by row")
        self._row = math.prod(self.shape[1:])
        if path.stat().st_size < self._start + self.shape[0] * self._row * self.dtype.itemsize:
            raise EOFError(f"{path} is cut off")

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        """One row by its number, or whatever else NumPy's indexing picks; always a copy."""
        if not isinstance(index, int | np.integer):
            # The map lives for this call alone, and with it the pages that it brought in.
            return np.array(np.memmap(self.path, self.dtype, "r", self._start, self.shape)[index])
        number = int(index) + len(self) * (index < 0)
        if not 0 <= number < len(self):
            raise IndexError(f"{self.path} has no row {index}")
        start = self._start + number * self._row * self.dtype.itemsize
        return np.fromfile(self.path, self.dtype, self._row, offset=start).reshape(self.shape[1:])


def _array_header(path: Path, stream: BinaryIO) -> tuple[np.dtype, bool, tuple[int, ...]]:
    """Type, whether columns come first, and shape. NumPy reads the header as Python: here it is only what NumPy writes."""
    length_bytes = {(1, 0): 2, (2, 0): 4}.get(np.lib.format.read_magic(stream), 0)
    length = int.from_bytes(stream.read(length_bytes), "little")
    header = _ARRAY_HEADER.fullmatch(stream.read(length)) if 0 < length <= _LONGEST_HEADER else None
    if header is None:
        raise ValueError(f"{path} has no header of NumPy's")
    try:
        dtype = np.dtype(header[1].decode("ascii"))
    except TypeError:
        raise ValueError(f"{path} holds numbers of an unknown type") from None
    return dtype, header[2] == b"True", tuple(int(side) for side in header[3].split(b",") if side.strip())


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n"
    with atomic_file(path) as temporary:
        # Names of files that are no UTF-8 hold what UTF-8 cannot write: as escapes they come back as they were.
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def read_json(path: Path, *, finite: bool = True, largest: int = LARGEST) -> Any:
    """Read a JSON file; UserError names the file where it is missing, broken, no file at all, or refused (`atlas.json_text`).

    finite=False takes NaN and infinity, for files in which an unknown figure is one.
    """
    try:
        return parsed(read_bounded(path, largest), finite=finite)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path} is missing: run the stage that makes it") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder, not a file: delete it and run its stage again") from None
    except ValueError as problem:  # what is wrong with JSON or its encoding, and a NUL in the path, are ValueErrors
        raise UserError(f"{path} is not valid JSON, it is damaged ({problem}): delete it and run its stage again") from None


def write_image(path: Path, image: np.ndarray) -> None:
    """Write a PNG (or JPEG) atomically.

    image: (H, W), (H, W, 3) RGB or (H, W, 4) RGBA; uint8 or uint16 as it is, floats as 8 bit from [0, 1].
    """
    if image.dtype.kind == "f":
        image = to_uint8(image)
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(path.suffix, image, [cv2.IMWRITE_PNG_COMPRESSION, 3])
    if not done:
        raise UserError(f"{path} cannot be written: choose a .png name")
    with atomic_file(path) as temporary:
        temporary.write_bytes(data.tobytes())


def read_image(path: Path, *, mode: str = "keep", size: WantedSize | None = None) -> np.ndarray:
    """Read a PNG or JPEG file as it is stored: (H, W, C) with C = 1, 3 (RGB) or 4 (RGBA), uint8 or uint16.

    mode: "keep"; "rgb" or "rgba" convert (grey is repeated, a missing alpha is opaque). size: the only one that will do.
    Raises UserError for a file that is missing, truncated or no image, and, before it is decoded, for one of another size
    or too large (`atlas.pictures`).
    """
    data, header = picture_bytes(path, size)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    if image is None or image.shape[:2] != header.size:
        raise UserError(f"{path} is not a readable image: export it again as PNG or JPEG")
    if image.ndim == 2:
        image = image[:, :, None]
    if image.shape[2] >= 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB if image.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)
    if mode != "keep":
        image = with_channels(image, 4 if mode == "rgba" else 3)
    return np.ascontiguousarray(image)


def with_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """(H, W, 1|3|4) as 3 or 4 channels: grey is repeated, alpha dropped or made opaque."""
    colour = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image[:, :, :3]
    if channels == 3:
        return colour
    opaque = np.full_like(image[:, :, :1], np.iinfo(image.dtype).max)
    return np.concatenate([colour, image[:, :, 3:] if image.shape[2] == 4 else opaque], axis=2)


def to_float(image: np.ndarray) -> np.ndarray:
    """uint8 or uint16 pixels as float32 in [0, 1]."""
    return image.astype(np.float32) / np.iinfo(image.dtype).max


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Floats in [0, 1] (clamped) as uint8, rounded to nearest."""
    return (np.clip(image, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def to_uint16(image: np.ndarray) -> np.ndarray:
    """Floats in [0, 1] (clamped) as uint16, rounded to nearest."""
    return (np.clip(image, 0.0, 1.0) * 65535.0 + 0.5).astype(np.uint16)


def set_aside(path: Path, root: Path) -> Path:
    """Move a file or folder below `root`/replaced/, under a name that nothing has there yet; returns where it is now."""
    first = root / "replaced" / path.relative_to(root)
    target, number = first, 1
    while target.exists():  # what was painted earlier stays too
        number += 1
        target = first.with_name(f"{first.stem}-{number}{first.suffix}")
    target.parent.mkdir(parents=True, exist_ok=True)
    return path.replace(target)


def digest(*parts: Any) -> str:
    """SHA-256 of paths (a file's bytes; a folder's names and bytes) and of JSON-like values, in order."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            total.update(b"\0path\0")  # a file that moves from one folder to the next must show
            for name, file in _files_below(part):
                total.update(name.encode("utf-8", "surrogateescape") + b"\0" + _digest_file(file))
        else:
            total.update(json.dumps(part, sort_keys=True, default=str).encode() + b"\0")
    return total.hexdigest()


def _files_below(path: Path) -> Iterable[tuple[str, Path]]:
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
        return [(file.relative_to(path).as_posix(), file) for file in files]
    return [("", path)] if path.is_file() else []


def _digest_file(path: Path) -> bytes:
    total = hashlib.sha256()  # hashlib.file_digest needs Python 3.11
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            total.update(block)
    return total.digest()


def read_stamp(folder: Path) -> dict[str, Any]:
    """What the output in `folder` was made from ({} where nothing is stamped)."""
    try:
        stamp = read_json(folder / STAMP)
    except UserError:
        return {}
    return stamp if isinstance(stamp, dict) else {}


def is_up_to_date(folder: Path, made_from: str, stage: str = "made_from") -> bool:
    """Whether `folder` carries the stamp of exactly these inputs (a `digest`) for `stage`."""
    return read_stamp(folder).get(stage) == made_from


def write_stamp(folder: Path, made_from: str, stage: str = "made_from") -> None:
    """Record, as a stage's last act, what its output in `folder` was made from."""
    write_json(folder / STAMP, read_stamp(folder) | {stage: made_from})
