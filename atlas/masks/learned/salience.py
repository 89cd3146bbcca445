"""A network of salient objects, such as ISNet (Qin et al. 2022), as an ONNX file: what stands out in a single picture."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from atlas.errors import UserError, one_line

_SIDE = 1024
"""Pixels of the square that a network sees which takes any size."""
_LARGEST_SIDE = 2048
_LARGEST = 2 << 30  # bytes of a file; published ones have up to 1 GB
_BEYOND = 0.01  # what rounding may leave beyond 0 and 1
EXPECTED = "give a network as ISNet: one picture in (1, 3, height, width, floats), its mask out first"


class SalienceNetwork:
    """Says how salient each pixel of a picture is. Pictures are squeezed into its size, colours as for ISNet: -0.5 to 0.5."""

    def __init__(self, file: Path) -> None:
        """UserError, in one line, where onnxruntime is missing, or the file is none of such a network."""
        check_file(file)
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 4  # what is wrong is said by us
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.file, self._in_logits = file, False
        try:
            # From bytes: weights in further files, whose paths the file would say, are not looked for.
            self._session = onnxruntime.InferenceSession(file.read_bytes(), settings, providers=["CPUExecutionProvider"])
        except MemoryError:
            raise
        except Exception as problem:  # its own kinds, and plain RuntimeError
            raise UserError(f"{file} is no ONNX network that onnxruntime reads: {one_line(problem)}") from None
        self._name, self._size = self._input()
        self._in_logits = self._beyond(self._run(np.full((64, 64, 3), 128, np.uint8)))

    def __call__(self, frame: np.ndarray) -> np.ndarray:  # (H, W, 3) uint8 -> (H, W) float32 in [0, 1]
        """How salient each pixel is. Where the network gives logits, their sigmoid."""
        output = self._run(frame)
        self._in_logits = self._in_logits or self._beyond(output)
        if self._in_logits:
            output = 1 / (1 + np.exp(-np.clip(output, -30, 30)))
        return cv2.resize(np.clip(output, 0, 1), (frame.shape[1], frame.shape[0]), interpolation=cv2.INTER_LINEAR)

    def _input(self) -> tuple[str, tuple[int, int]]:
        inputs = self._session.get_inputs()
        takes = ", ".join(f"{one.name} {one.type} {one.shape}" for one in inputs)[:160]
        if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 4:
            raise UserError(f"{self.file} takes {takes or 'nothing'}: {EXPECTED}")
        batch, channels, *sides = inputs[0].shape
        size = [side if isinstance(side, int) else _SIDE for side in sides]
        if (
            batch not in (1, None)
            and not isinstance(batch, str)
            or channels != 3
            or not all(8 <= s <= _LARGEST_SIDE for s in size)
        ):
            raise UserError(f"{self.file} takes {takes}: {EXPECTED}")
        return inputs[0].name, (size[0], size[1])

    def _run(self, frame: np.ndarray) -> np.ndarray:  # (H, W, 3) uint8 -> (h, w) float32
        height, width = self._size
        small = frame.shape[0] > height or frame.shape[1] > width
        picture = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA if small else cv2.INTER_LINEAR)
        pixels = np.ascontiguousarray((picture.astype(np.float32) / 255 - 0.5).transpose(2, 0, 1)[None])
        try:
            output: Any = self._session.run(None, {self._name: pixels})[0]
        except MemoryError:
            raise
        except Exception as problem:
            raise UserError(f"{self.file} does not run: {one_line(problem)}") from None
        shape = getattr(output, "shape", None)
        mask = np.squeeze(output) if shape else None
        if mask is None or mask.ndim != 2 or min(mask.shape) < 8 or mask.dtype.kind != "f" or mask.size > _LARGEST_SIDE**2:
            raise UserError(f"{self.file} gives {shape} first, no mask: {EXPECTED}")
        if not np.isfinite(mask).all():
            raise UserError(f"{self.file} gives what are no numbers: download it again")
        return mask.astype(np.float32)

    @staticmethod
    def _beyond(output: np.ndarray) -> bool:
        return bool(output.min() < -_BEYOND or output.max() > 1 + _BEYOND)


def check_file(file: Path) -> None:
    """UserError where onnxruntime is missing, or the file cannot be an ONNX network."""
    if importlib.util.find_spec("onnxruntime") is None:
        raise UserError("--masks salient needs onnxruntime, which is not installed: pip install -e .[salient]")
    if not file.is_file():
        raise UserError(f"{file} is missing or no file: name the ONNX file of a network with --salient")
    if file.suffix.lower() != ".onnx":
        raise UserError(f"{file} is no ONNX file (.onnx): name one with --salient")
    if file.stat().st_size > _LARGEST:
        raise UserError(f"{file} is larger than any such network: name another with --salient")
