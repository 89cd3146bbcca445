"""Small footage to prepare: a square that moves over a textured ground, and its masks."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from atlas.clip.clip import Clip
from atlas.preparation.stage import PrepareOptions, prepare
from atlas.system.cost import COST

HEIGHT, WIDTH, FRAMES = 48, 64, 6


def view(index: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """A textured ground with a bright square that moves to the right."""
    ground = cv2.GaussianBlur(np.random.default_rng(0).uniform(0, 255, (height, width, 3)).astype(np.float32), (0, 0), 1.5)
    frame = np.clip((ground - 127) * 3 + 100, 0, 180).astype(np.uint8)
    frame[14:34, 10 + 2 * index : 30 + 2 * index] = 120 + (frame[14:34, 10:30] // 2)
    return frame


def mask(index: int) -> np.ndarray:
    image = np.zeros((HEIGHT, WIDTH), np.uint8)
    image[14:34, 10 + 2 * index : 30 + 2 * index] = 255
    return image


def run(source: Path, clip: Path, masks: object = "auto", **options: object) -> Clip:
    return prepare(PrepareOptions(source=source, clip=clip, masks=str(masks), quiet=True, **options))  # type: ignore[arg-type]


def content(folder: Path) -> dict[str, bytes]:
    """All files but the note of what the run cost, which is never the same twice."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != COST)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
