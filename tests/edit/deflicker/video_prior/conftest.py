"""Footage for the prior's parts: a small clip whose edit is a change of colours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from atlas.sample.scene import Sample
from atlas.storage.images import to_float
from atlas.storage.stack import FrameStack
from edit.deflicker.protocol import Guides
from edit.deflicker.video_prior.footage import Footage, shrunk_footage

MATRIX = np.array([[0.1, 0.2, 0.8], [0.6, 0.3, 0.0], [0.1, 0.5, 0.1], [0.05, 0.0, 0.02]], np.float32)
"""The edit: (r, g, b, 1) @ it."""
MakeFootage = Callable[..., Footage]


@pytest.fixture
def source(sample: Sample) -> np.ndarray:
    """(6, 64, 96, 3) float32."""
    return to_float(sample.frames[:6])


@pytest.fixture
def make_footage(source: np.ndarray, tmp_path: Path) -> Iterator[MakeFootage]:
    """Footage of any edit of the source, at 48 pixels unless told otherwise; deleted with the test."""
    with ExitStack() as stack:

        def make(
            edited: np.ndarray, longest: int = 48, applies: Callable[[int], np.ndarray] | None = None, name: str = "result"
        ) -> Footage:
            frames = stack.enter_context(FrameStack(tmp_path / "frames", edited.shape))
            for index, frame in enumerate(edited):
                frames[index] = frame
            guides = Guides(source=lambda index: source[index], applies=applies)
            return stack.enter_context(shrunk_footage(frames, guides, tmp_path / name, longest))

        yield make


def recoloured(source: np.ndarray) -> np.ndarray:
    """The source in other colours."""
    return source @ MATRIX[:3] + MATRIX[3]
