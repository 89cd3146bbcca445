"""Mattes: a hard selection is held to, soft outlines and keyframes that were edited as a whole have none."""

from __future__ import annotations

import numpy as np
import torch

from atlas.recolour.matte import Matte, MatteEvidence

RANDOM = np.random.default_rng(0)
OPACITY = np.concatenate([np.zeros(4000), np.round(RANDOM.uniform(0, 1, 8000) * 255) / 255, np.ones(8000)])
MASK = np.concatenate([np.zeros(4000), np.round(np.clip(OPACITY[4000:12000] + RANDOM.normal(0, 0.15, 8000), 0, 1) * 255) / 255,
                       np.ones(8000)])  # fmt: skip
EXPECTED = RANDOM.normal(0, 0.3, (len(OPACITY), 3))


def learned(change: np.ndarray) -> Matte | None:
    evidence = MatteEvidence()
    for part in np.array_split(np.arange(len(OPACITY)), 3):
        evidence.add(change[part], EXPECTED[part], OPACITY[part], MASK[part])
    return evidence.matte()


def test_a_hard_selection_is_held_to() -> None:
    inside = MASK > 0.5
    matte = learned(inside[:, None] * EXPECTED)
    assert matte is not None
    found = matte.at(torch.from_numpy(OPACITY[None].astype(np.float32)), torch.from_numpy(MASK[None].astype(np.float32)))
    visible = OPACITY > 0.02
    assert np.abs(found.numpy()[0] - inside)[visible].mean() < 0.02
    assert not found.numpy()[0][OPACITY == 0].any()


def test_soft_outlines_are_the_layers_own() -> None:
    assert learned(OPACITY[:, None] * EXPECTED) is None


def test_what_was_edited_as_a_whole_has_none() -> None:
    assert learned(EXPECTED) is None


def test_no_change_and_no_evidence() -> None:
    assert learned(np.zeros_like(EXPECTED)) is None
    assert MatteEvidence().matte() is None
