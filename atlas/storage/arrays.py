"""Arrays in .npy files, written row by row and read where they are indexed."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

_LONGEST_HEADER = 1000  # bytes; NumPy writes 118 for all that is stored here
_ARRAY_HEADER = re.compile(
    rb"\{'descr': '([<>|=]?[A-Za-z]\d{0,4})', 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d{1,15}, ?)*(?:\d{1,15})?)\), \} *\n"
)


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
