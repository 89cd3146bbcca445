"""Average fusion against its formula, and where it must change nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from edit.sampling.fusion import Fusion, fusion_change

FRAMES, CHANNELS, ROWS, COLUMNS = 5, 4, 6, 7


def estimates(seed: int = 0) -> Tensor:
    return torch.randn(FRAMES, CHANNELS, ROWS, COLUMNS, generator=torch.Generator().manual_seed(seed))


def masks(seed: int = 1) -> Tensor:
    return torch.rand(FRAMES, 1, ROWS, COLUMNS, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_it_is_the_formula(share: float) -> None:
    x, front = estimates(), masks()
    front[:, 0, 2, 3] = 0.995  # 0.025 of background in all: too little
    changed = x + fusion_change(x, front, share)
    for row in range(ROWS):
        for column in range(COLUMNS):
            m = front[:, 0, row, column]
            known = float((1 - m).sum()) > 0.05
            assert known == ((row, column) != (2, 3))
            mean = sum((1 - m[k]) * x[k, :, row, column] for k in range(FRAMES)) / (1 - m).sum()
            for i in range(FRAMES):
                own = x[i, :, row, column]
                background = share * (mean if known else own) + (1 - share) * own
                expected = m[i] * own + (1 - m[i]) * background
                assert (changed[i, :, row, column] - expected).abs().max() < 1e-6


def test_without_background_nothing_changes() -> None:
    assert fusion_change(estimates(), torch.ones(FRAMES, 1, ROWS, COLUMNS)).abs().max() == 0


def test_a_clip_that_is_background_alone_becomes_still() -> None:
    x = estimates()
    changed = x + fusion_change(x, torch.zeros(FRAMES, 1, ROWS, COLUMNS))
    assert (changed - x.mean(0)).abs().max() < 1e-6


def test_a_still_clip_stays_to_the_bit() -> None:
    x = estimates()[:1].expand(FRAMES, -1, -1, -1)
    assert fusion_change(x, masks()).abs().max() == 0


def test_masks_of_pixels_count_by_area() -> None:
    x = estimates()
    pixels = np.zeros((ROWS * 8, COLUMNS * 8), np.float32)
    pixels[:, 28:] = 1  # the middle column of cells is half foreground
    share = torch.tensor([0, 0, 0, 0.5, 1, 1, 1]).expand(FRAMES, 1, ROWS, COLUMNS)
    assert torch.allclose(Fusion(lambda frame: pixels)(x, 3), fusion_change(x, share), atol=1e-6)
    moving = Fusion(lambda frame: np.full((48, 56), frame / 4, np.float32))(x, 0)
    own = torch.arange(FRAMES).view(-1, 1, 1, 1).expand(-1, 1, ROWS, COLUMNS) / 4
    assert torch.allclose(moving, fusion_change(x, own), atol=1e-6)
