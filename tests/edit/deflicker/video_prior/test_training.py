"""Training: it approaches the edit, ends when neighbours say so, is the same each time, and two looks part."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from edit.deflicker.video_prior import training
from edit.deflicker.video_prior.judging import disagreement
from edit.deflicker.video_prior.training import Training, train
from tests.edit.deflicker.video_prior.conftest import MakeFootage, recoloured

pytestmark = pytest.mark.slow
QUICK = Training(epochs=6, width=4, learning_rate=1e-3, irt=False, sigma=2.0, seed=0)


def squared_error(prior: training.Prior, source: np.ndarray, edited: np.ndarray) -> float:
    return float(np.mean([np.square(prior.predict(s) - e).mean() for s, e in zip(source, edited, strict=True)]))


def curved(source: np.ndarray) -> np.ndarray:
    """An edit that no linear map of colours makes."""
    return np.clip(np.abs(2 * recoloured(source) - 0.5), 0, 1)


def test_it_approaches_the_edit(make_footage: MakeFootage, source: np.ndarray) -> None:
    footage, edited = make_footage(curved(source), longest=96), curved(source)
    few, many = (train(footage, replace(QUICK, epochs=epochs, sigma=None)) for epochs in (1, 12))
    assert squared_error(many, source, edited) < 0.85 * squared_error(few, source, edited)


def test_the_same_seed_gives_the_same_weights(make_footage: MakeFootage, source: np.ndarray) -> None:
    footage = make_footage(curved(source))
    one, same = (train(footage, replace(QUICK, epochs=2)).state_dict() for _ in range(2))
    other = train(footage, replace(QUICK, epochs=2, seed=1)).state_dict()
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["network.last.weight"], other["network.last.weight"])


def test_it_ends_when_neighbours_say_so(make_footage: MakeFootage, source: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a course of distances that falls and rises again, the lowest is kept, and what comes after is soon given up."""
    course = [5.0, 4.0, 3.0, 3.5] + [4.0] * 90
    kept: list[torch.Tensor] = []

    def judged(prior: training.Prior, *_: object) -> float:
        kept.append(prior.network.last.weight.detach().clone())
        return course[len(kept) - 1]

    monkeypatch.setattr(training, "disagreement", judged)
    best = train(make_footage(curved(source), longest=32), replace(QUICK, epochs=90))
    assert len(kept) == 3 + training.PATIENCE
    assert torch.equal(best.network.last.weight, kept[2])


def test_two_looks(make_footage: MakeFootage, source: np.ndarray) -> None:
    """Frames are tinted red or blue at random: the main look is the first frame's throughout, where one output has the mean."""
    red, blue = (np.clip(source * np.array(tint, np.float32), 0, 1) for tint in ((1.0, 0.3, 0.3), (0.3, 0.3, 1.0)))
    edited = np.where(np.array([0, 1, 0, 1, 1, 0])[:, None, None, None] == 0, red, blue)
    footage = make_footage(edited)
    small = [footage.source[i] for i in range(6)]
    tint = np.array([s * np.array([1.0, 0.3, 0.3], np.float32) for s in small])
    one, two = (train(footage, replace(QUICK, epochs=10, irt=irt, learning_rate=2e-3)) for irt in (False, True))
    assert squared_error(two, np.array(small), tint) < 0.3 * squared_error(one, np.array(small), tint)


def test_neighbours_agree_better_after_training(make_footage: MakeFootage, source: np.ndarray) -> None:
    footage = make_footage(curved(source))
    early, late = (train(footage, replace(QUICK, epochs=epochs)) for epochs in (1, 10))
    assert disagreement(late, footage, QUICK.sigma) < disagreement(early, footage, QUICK.sigma)
