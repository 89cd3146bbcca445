"""Judging without the truth: nearer to the truth is better, flicker that was learned is worse, a clean edit is left alone."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from edit.deflicker.video_prior.footage import Footage
from edit.deflicker.video_prior.judging import disagreement, moves
from edit.deflicker.video_prior.network import PriorNetwork
from edit.deflicker.video_prior.predictor import Prior
from tests.edit.deflicker.video_prior.conftest import MATRIX, MakeFootage, recoloured

SIGMA = 2.0


class Known(Prior):
    """A prior whose predictions are given, by the frame of the footage that it is shown."""

    def __init__(self, footage: Footage, predictions: list[np.ndarray]) -> None:
        super().__init__(PriorNetwork(1, 3, torch.Generator()), MATRIX)
        self.footage, self.predictions = footage, predictions

    def predict(self, source: np.ndarray) -> np.ndarray:
        return self.predictions[next(i for i in range(6) if np.array_equal(self.footage.source[i], source))]


def tinted(source: np.ndarray) -> np.ndarray:
    """Each frame with a tint of its own."""
    return recoloured(source) + np.random.default_rng(0).normal(0, 0.06, (6, 1, 1, 3)).astype(np.float32)


def clouded(source: np.ndarray) -> np.ndarray:
    """Each frame with clouds of its own, of many places each: by chance alone they are not alike."""
    rough = np.random.default_rng(0).standard_normal((6, 64, 96, 3)).astype(np.float32)
    return recoloured(source) + np.stack([0.8 * cv2.GaussianBlur(noise, (0, 0), 5.0) for noise in rough])


def test_the_truth_is_best(make_footage: MakeFootage, source: np.ndarray) -> None:
    truth = make_footage(recoloured(source), name="truth")
    true = [truth.edited[i][..., :3] for i in range(6)]
    footage = make_footage(clouded(source))
    own = [footage.edited[i][..., :3] for i in range(6)]

    def judged(share: float) -> float:
        mixed = [t + share * (o - t) for t, o in zip(true, own, strict=True)]
        return disagreement(Known(footage, mixed), footage, SIGMA)

    assert judged(0.0) < judged(0.25) < judged(0.5) < judged(1.0)
    wrong = Known(footage, [t + 0.1 for t in true])
    assert disagreement(wrong, footage, SIGMA) > judged(0.0) + 0.005


def test_edits_move_as_far_as_they_flicker(make_footage: MakeFootage, source: np.ndarray) -> None:
    """The same prediction, off in level and in fine waves: taken over where frames are tinted, left where they are clean."""
    truth = make_footage(recoloured(source), name="truth")
    off = 0.02 + 0.02 * np.sin(np.arange(48) / 4)[None, :, None]
    predicted = [truth.edited[i][..., :3] + (-1) ** i * off for i in range(6)]
    assert moves(Known(truth, predicted), truth, SIGMA).max() < 0.5
    footage = make_footage(tinted(source))
    level, _, narrow = moves(Known(footage, predicted), footage, SIGMA)
    assert level == 1 and narrow < 0.5


def test_neighbours_that_show_nothing(make_footage: MakeFootage, source: np.ndarray) -> None:
    footage = make_footage(recoloured(source), applies=lambda index: np.full((64, 96), index % 2, np.float32))
    for index in range(6):
        footage.around[index] = np.zeros((32, 48, 4), np.float32)
    prior = Known(footage, [footage.source[i] for i in range(6)])
    assert np.isnan(disagreement(prior, footage, SIGMA))
    assert moves(prior, footage, SIGMA).tolist() == [1, 1, 1]


def test_a_network_that_went_astray_is_not_the_best(make_footage: MakeFootage, source: np.ndarray) -> None:
    footage = make_footage(recoloured(source))
    lost = Known(footage, [np.full((32, 48, 3), np.nan, np.float32)] * 6)
    assert disagreement(lost, footage, SIGMA) == np.inf
