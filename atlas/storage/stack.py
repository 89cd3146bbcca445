"""Stacks of arrays on the disk: read and written one by one, in any order, so that memory does not grow with a clip."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np

_TOP = 65535.0
Stack = TypeVar("Stack", bound="RowStack")


class RowStack:
    """T arrays of one shape and type in one file, read and written by number.

    In a `with` block the file is deleted at the end. What was never written is 0.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: Any) -> None:
        """shape: of all, (T, ...)."""
        self.path, self.shape, self.dtype = Path(path), shape, np.dtype(dtype)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("wb") as stream:
            stream.truncate(shape[0] * self._bytes)

    @property
    def _bytes(self) -> int:
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> np.ndarray:
        """Read an array."""
        count = math.prod(self.shape[1:])
        return np.fromfile(self.path, self.dtype, count, offset=self._checked(index) * self._bytes).reshape(self.shape[1:])

    def __setitem__(self, index: int, row: np.ndarray) -> None:
        """Write an array, converted to the stack's type."""
        if row.shape != self.shape[1:]:
            raise ValueError(f"an array of shape {row.shape} does not fit a stack of {self.shape}")
        with self.path.open("r+b") as stream:
            stream.seek(self._checked(index) * self._bytes)
            stream.write(row.astype(self.dtype, copy=False).tobytes())

    def _checked(self, index: int) -> int:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.path} has no frame {index}")
        return index

    def __enter__(self: Stack) -> Stack:
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        self.path.unlink(missing_ok=True)


class FrameStack(RowStack):
    """Frames (T, H, W, C) in [0, 1], kept as 16 bit in one file; what is written is rounded, and read again alike each time.

    The file is made anew (`FrameStack(path, shape)`) or opened as it is (`FrameStack.open`); a frame that was never written is
    black.
    """

    shape: tuple[int, int, int, int]

    def __init__(self, path: Path, shape: tuple[int, int, int, int]) -> None:
        super().__init__(path, shape, np.uint16)

    @classmethod
    def open(cls, path: Path, shape: tuple[int, int, int, int]) -> FrameStack | None:
        """Open what an earlier run left; None where there is no file, or one of another size."""
        stack = cls.__new__(cls)
        stack.path, stack.shape, stack.dtype = Path(path), shape, np.dtype(np.uint16)
        if not stack.path.is_file() or stack.path.stat().st_size != shape[0] * stack._bytes:
            return None
        return stack

    def __getitem__(self, index: int) -> np.ndarray:
        """Read a frame, (H, W, C) float32 in [0, 1]."""
        return super().__getitem__(index).astype(np.float32) / np.float32(_TOP)

    def __setitem__(self, index: int, frame: np.ndarray) -> None:
        """Write a frame, (H, W, C) floats; what leaves [0, 1] is clipped."""
        super().__setitem__(index, np.clip(frame, 0, 1) * _TOP + 0.5)
