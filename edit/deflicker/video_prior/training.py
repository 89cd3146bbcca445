"""Training of Deep Video Prior on one clip, until what it predicts agrees best with what neighbouring frames show.

A network that maps frames of the source to frames of the edit learns first what all frames have in common, and their flicker
last (Lei, Xing, Chen, NeurIPS 2020). How long is too long is not said there: see `edit.deflicker.video_prior.judging`.
Published: Adam 1e-4, a frame a step, 25 epochs of which the first four fifths see every second pixel in both directions.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch

from atlas.system.progress import Bar
from edit.deflicker.video_prior.footage import Footage
from edit.deflicker.video_prior.judging import disagreement
from edit.deflicker.video_prior.losses import apart, first_look, reweighted
from edit.deflicker.video_prior.network import PriorNetwork
from edit.deflicker.video_prior.predictor import Prior, as_images, colour_map

PATIENCE = 8
"""Epochs without improvement after which training ends."""
_AVERAGED = 20  # steps over which weights are averaged
_FIRST_LOOK = 5  # one epoch of so many shows the first frame alone, where there are two looks


@dataclass(frozen=True, kw_only=True)
class Training:
    """How the prior is trained."""

    epochs: int
    """All frames are shown so often at most."""
    width: int
    """Channels of the network's finest level."""
    learning_rate: float
    irt: bool
    """Two outputs, a main and a minor look, of which each pixel teaches the nearer one (iteratively reweighted training)."""
    sigma: float | None
    """Pixels of the blur through which predictions are judged; None: as they are."""
    seed: int


def train(footage: Footage, settings: Training, *, device: torch.device | str = "cpu", quiet: bool = True) -> Prior:
    """Train a prior on the footage; returns that of the epoch that agreed best with what neighbouring frames show.

    Its weights are means over the last steps: single ones lean towards the frames that were shown last.
    """
    order = np.random.default_rng(settings.seed)
    network = PriorNetwork(settings.width, 6 if settings.irt else 3, torch.Generator().manual_seed(settings.seed))
    prior = Prior(network, colour_map(footage, 1 if settings.irt else len(footage))).to(device)
    steps = _Steps(prior, footage, settings, quiet)
    with steps.bar, torch.backends.cudnn.flags(deterministic=True):
        first = max(settings.epochs // _FIRST_LOOK, 1) if settings.irt else 0
        for _ in range(first * len(footage)):  # so that one look is the main one from then on
            steps.make(0, alone=True)
        best, kept, stale = math.inf, steps.average, 0
        for _ in range(max(settings.epochs - first, 1)):
            for index in order.permutation(len(footage)):
                steps.make(int(index))
            now = disagreement(steps.average, footage, settings.sigma)
            steps.bar.note(f"apart {now**0.5:.4f}")
            stale = stale + 1 if now >= best else 0
            if not stale:  # where neighbours show nothing, the last epoch is as good as any
                best, kept = now, copy.deepcopy(steps.average)
            if stale == PATIENCE:
                break
    return kept


class _Steps:
    """Gradient steps, each on one frame."""

    def __init__(self, prior: Prior, footage: Footage, settings: Training, quiet: bool) -> None:
        self.prior, self.footage, self.settings = prior, footage, settings
        self.average, self.count = copy.deepcopy(prior), 0
        self.optimiser = torch.optim.Adam(prior.parameters(), lr=settings.learning_rate)
        total = settings.epochs * len(footage)
        self.bar = Bar(total=total, desc="prior", unit="frame", quiet=quiet)

    def make(self, index: int, *, alone: bool = False) -> None:
        """Make a step on a frame. alone: it is the only one so far, and both looks learn it."""
        device = self.prior.offset.device
        source = as_images(self.footage.source[index], device)
        edited, weight = as_images(self.footage.edited[index], device).split([3, 1], 1)
        predicted = self.prior(source)
        if alone:
            loss = first_look(predicted, edited, weight)
        elif self.settings.irt:
            loss = reweighted(predicted, source, edited, weight)
        else:
            loss = apart(predicted, edited, weight)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self.count += 1
        for mean, value in zip(self.average.parameters(), self.prior.parameters(), strict=True):
            mean.data.lerp_(value.data, 1 / min(self.count, _AVERAGED))
        self.bar.update()
