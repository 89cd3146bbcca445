"""A stack of frames on the disk: read and written one by one, in any order, so that memory does not grow with a clip."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np

_TOP = 65535.0


class FrameStack:
    """Frames (T, H, W, C) in [0, 1], kept as 16 bit in one file; what is written is rounded, and read again alike each time.

    The file is made anew (`FrameStack(path, shape)`) or opened as it is (`FrameStack.open`); in a `with` block it is deleted
    at the end. A frame that was never written is black.
    """

    def __init__(self, path: Path, shape: tuple[int, int, int, int]) -> None:
        self.path, self.shape = Path(path), shape
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("wb") as stream:
            stream.truncate(shape[0] * self._bytes)

    @classmethod
    def open(cls, path: Path, shape: tuple[int, int, int, int]) -> FrameStack | None:
        """Open what an earlier run left; None where there is no file, or one of another size."""
        stack = cls.__new__(cls)
        stack.path, stack.shape = Path(path), shape
        if not stack.path.is_file() or stack.path.stat().st_size != shape[0] * stack._bytes:
            return None
        return stack

    @property
    def _bytes(self) -> int:
        height, width, channels = self.shape[1:]
        return 2 * height * width * channels

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> np.ndarray:
        """Read a frame, (H, W, C) float32 in [0, 1]."""
        stored = np.fromfile(self.path, np.uint16, self._bytes // 2, offset=self._checked(index) * self._bytes)
        return stored.reshape(self.shape[1:]).astype(np.float32) / np.float32(_TOP)

    def __setitem__(self, index: int, frame: np.ndarray) -> None:
        """Write a frame, (H, W, C) floats; what leaves [0, 1] is clipped."""
        if frame.shape != self.shape[1:]:
            raise ValueError(f"a frame of shape {frame.shape} does not fit a stack of {self.shape}")
        stored = (np.clip(frame, 0, 1) * _TOP + 0.5).astype(np.uint16)
        with self.path.open("r+b") as stream:
            stream.seek(self._checked(index) * self._bytes)
            stream.write(stored.tobytes())

    def _checked(self, index: int) -> int:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.path} has no frame {index}")
        return index

    def __enter__(self) -> FrameStack:
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        self.path.unlink(missing_ok=True)
