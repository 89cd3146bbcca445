"""The footage that the tests of prepare share."""

from __future__ import annotations

from pathlib import Path

import pytest

from atlas.storage.images import write_image
from tests.atlas.preparation.shots import FRAMES, mask, view


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    """A folder of frames, its masks beside it."""
    for index in range(FRAMES):
        write_image(tmp_path / "shöts and more" / f"{index:05d}.png", view(index))
        write_image(tmp_path / "masks" / f"{index:05d}.png", mask(index))
    return tmp_path / "shöts and more"
