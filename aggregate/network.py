"""The aggregation network of StableVideo (ICCV 2023), trained for each edit with the renderer in the loop.

    A = x + W2 relu(W1 x),   two 3x3 convolutions 3 -> 64 -> 3 without bias, over the initial aggregate x

W2 starts at zero, so that training starts from the initial aggregate. The loss is the L1 distance between each
keyframe and the atlas rendered into it, weighted by opacity, inside coverage. The same network is applied to the
edited aggregate and to the unedited one (the reference), and the difference of the two, which is what delta
rendering adds to a frame, counts in the loss beside the edited atlas itself. So it learns to undo the blur of
splatting, and keyframes that were not edited leave no difference at all.

Published: SGD 1e-3, momentum 0.9, 500 epochs over all of the atlas. Here: Adam on random windows, which gets
there in a small part of the work, and stops when fixed windows no longer improve.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm import tqdm

from atlas.warp import sample

_MARGIN = 3  # texels at a window's edge whose neighbours are missing
_SECOND = 0.03  # how much slower W2 learns than W1
_BAND = 128  # rows put through the network at a time: memory stays small


@dataclass
class View:
    """The pixels of one keyframe that count: where they are in the atlas, and what is to be seen there."""

    uv: Tensor
    """(P, 2)"""
    edited: Tensor
    """(P, 3) light removed"""
    original: Tensor
    """(P, 3) light removed"""
    weight: Tensor
    """(P,) opacity times where the edit applies"""


@dataclass(kw_only=True)
class Training:
    """How the network is trained."""

    steps: int = 160
    window: int = 96
    """Texels per side of the windows that a step sees."""
    learning_rate: float = 4e-3
    check_every: int = 20
    patience: int = 3
    """Checks without improvement before it stops; each but the last goes back to the best and steps four times smaller."""
    pixels: int = 600_000
    """At most so many keyframe pixels are used (drawn at random)."""


class AggregationNetwork(nn.Module):
    """x + W2 relu(W1 x) over images (N, 3, H, W); the identity until it is trained."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 64, 3, padding=1, bias=False, padding_mode="replicate")
        self.second = nn.Conv2d(64, 3, 3, padding=1, bias=False, padding_mode="replicate")
        with torch.no_grad():
            bound = (6 / (3 * 9)) ** 0.5
            self.first.weight.copy_(torch.rand(self.first.weight.shape, generator=generator) * 2 * bound - bound)
            self.second.weight.zero_()

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 3, H, W)."""
        return images + self.second(torch.relu(self.first(images)))


@dataclass
class Refined:
    """The network's result."""

    edited: Tensor
    """(H, W, 3)"""
    reference: Tensor
    """(H, W, 3)"""
    loss_before: float
    """Loss of the initial aggregate over the keyframes' pixels."""
    loss_after: float
    """Loss of the result: never above loss_before."""
    steps: int


def refine(
    edited: Tensor,  # (H, W, 3) initial aggregate
    reference: Tensor,  # (H, W, 3) the same of the unedited keyframes
    coverage: Tensor,  # (H, W)
    views: Sequence[View],
    *,
    seed: int = 0,
    training: Training | None = None,
    quiet: bool = True,
) -> Refined:
    """Train the network on the views and apply it to both images, inside the box that is covered.

    Runs on the device of `edited`. Where training does not lower the loss, the initial aggregate is returned.
    """
    training = training or Training()
    generator = torch.Generator().manual_seed(seed)
    top, left, bottom, right = _covered_box(coverage)
    if bottom <= top:
        return Refined(edited, reference, 0.0, 0.0, 0)
    pair = torch.stack([edited, reference])[:, top:bottom, left:right].permute(0, 3, 1, 2)
    pair = pair.contiguous(memory_format=torch.channels_last)  # twice as fast on a CPU
    pixels = _Pixels.of(views, coverage.shape, (top, left, bottom, right), training.pixels, generator)
    network = AggregationNetwork(generator).to(edited.device)
    steps = _train(network, pair, pixels, training, generator, quiet)

    with torch.no_grad():
        before = float(_loss(pair, pixels.texel, pixels))
        result = _in_bands(network, pair)
        after = float(_loss(result, pixels.texel, pixels))
    if not after < before:  # NaN too
        return Refined(edited, reference, before, before, steps)
    outcome = []
    for start, part in zip((edited, reference), result, strict=True):
        whole = start.clone()
        whole[top:bottom, left:right] = part.permute(1, 2, 0)
        outcome.append(whole)
    return Refined(outcome[0], outcome[1], before, after, steps)


@dataclass
class _Pixels:
    """All views' pixels together; texel coordinates count from the box's corner, centres at +0.5."""

    texel: Tensor  # (P, 2)
    edited: Tensor
    original: Tensor
    weight: Tensor

    @classmethod
    def of(
        cls, views: Sequence[View], size: torch.Size, box: tuple[int, int, int, int], most: int, generator: torch.Generator
    ) -> _Pixels:
        uv = torch.cat([view.uv for view in views])
        texel = (uv + 1) * (uv.new_tensor([size[1], size[0]]) / 2) - uv.new_tensor([box[1], box[0]])
        found = cls(texel, *(torch.cat([getattr(v, name) for v in views]) for name in ("edited", "original", "weight")))
        if len(texel) <= most:
            return found
        return found[torch.randperm(len(texel), generator=generator)[:most].to(texel.device)]

    def __getitem__(self, index: Tensor) -> _Pixels:
        return _Pixels(self.texel[index], self.edited[index], self.original[index], self.weight[index])


def _train(
    network: AggregationNetwork, pair: Tensor, pixels: _Pixels, training: Training, generator: torch.Generator, quiet: bool
) -> int:
    """Train in place; the network ends with the weights that were best on the fixed windows. Returns the steps made."""
    optimiser = _optimiser(network, training.learning_rate)
    fixed = [_window(pair, pixels, training.window, generator) for _ in range(6)]
    best, best_state, setbacks, step = _checked(network, fixed), _state(network), 0, 0
    bar = tqdm(range(1, training.steps + 1), desc="aggregation network", unit="step", leave=False, disable=quiet)
    for step in bar:
        images, part, texel = _window(pair, pixels, training.window, generator)
        loss = _loss(network(images), texel, part)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        if step % training.check_every == 0:
            now = _checked(network, fixed)
            stalled = not now < best * 0.998  # NaN too
            if now < best:
                best, best_state = now, _state(network)
            bar.set_postfix(loss=f"{best:.4f}")
            if stalled:  # the nearer the start is to the keyframes, the smaller the steps must be
                setbacks += 1
                if setbacks >= training.patience:
                    break
                network.load_state_dict(best_state)
                optimiser = _optimiser(network, training.learning_rate / 4**setbacks)
    network.load_state_dict(best_state)
    return step


def _optimiser(network: AggregationNetwork, rate: float) -> torch.optim.Optimizer:
    # A texel's correction is a sum over 576 entries of W2, so these must step far less than W1's for the same effect.
    groups = [{"params": network.first.parameters(), "lr": rate}, {"params": network.second.parameters(), "lr": rate * _SECOND}]
    return torch.optim.Adam(groups)


def _state(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


@torch.no_grad()
def _checked(network: AggregationNetwork, windows: list[tuple[Tensor, _Pixels, Tensor]]) -> float:
    losses = [_loss(network(images), texel, part) for images, part, texel in windows]
    return float(sum(losses)) / len(losses)


def _window(pair: Tensor, pixels: _Pixels, size: int, generator: torch.Generator) -> tuple[Tensor, _Pixels, Tensor]:
    """A window around a random keyframe pixel: both images there, its pixels, and their place in the window."""
    height, width = pair.shape[2:]
    centre = pixels.texel[int(torch.randint(len(pixels.texel), (), generator=generator))].tolist()
    left = int(min(max(centre[0] - size / 2, 0), max(width - size, 0)))
    top = int(min(max(centre[1] - size / 2, 0), max(height - size, 0)))
    right, bottom = min(left + size, width), min(top + size, height)
    # At the box's own border there is nothing beyond that could be missing.
    low_x, low_y = (edge + _MARGIN if edge > 0 else edge for edge in (left, top))
    high_x, high_y = right - _MARGIN if right < width else right, bottom - _MARGIN if bottom < height else bottom
    x, y = pixels.texel.unbind(-1)
    inside = torch.nonzero((x >= low_x) & (x <= high_x) & (y >= low_y) & (y <= high_y))[:, 0]
    part = pixels[inside]
    images = pair[:, :, top:bottom, left:right].contiguous(memory_format=torch.channels_last)
    return images, part, part.texel - part.texel.new_tensor([left, top])


def _loss(pair: Tensor, texel: Tensor, pixels: _Pixels) -> Tensor:
    """Weighted L1 of the rendered edited atlas, plus that of the rendered difference to the reference.

    pair: (2, 3, H, W), edited and reference; texel: (P, 2) in it.
    """
    edited, reference = pair.permute(0, 2, 3, 1).unbind(0)
    size = texel.new_tensor([pair.shape[3], pair.shape[2]])
    uv = texel * (2 / size) - 1
    rendered, unedited = sample(torch.cat([edited, reference], -1), uv).split(3, dim=-1)
    wrong = (rendered - pixels.edited).abs() + ((rendered - unedited) - (pixels.edited - pixels.original)).abs()
    return (wrong.mean(-1) * pixels.weight).sum() / pixels.weight.sum().clamp(min=1e-6)


def _in_bands(network: AggregationNetwork, pair: Tensor) -> Tensor:
    """The network over a large image, some rows at a time with the neighbours that each needs."""
    height = pair.shape[2]
    parts = []
    for top in range(0, height, _BAND):
        low, high = max(top - 2, 0), min(top + _BAND + 2, height)
        parts.append(network(pair[:, :, low:high])[:, :, top - low : top - low + min(_BAND, height - top)])
    return torch.cat(parts, 2)


def _covered_box(coverage: Tensor) -> tuple[int, int, int, int]:
    """top, left, bottom, right of where coverage is above 0, and 2 texels more."""
    rows, columns = torch.nonzero((coverage > 0).any(1))[:, 0], torch.nonzero((coverage > 0).any(0))[:, 0]
    if not len(rows):
        return 0, 0, 0, 0
    height, width = coverage.shape
    top, left = max(int(rows[0]) - 2, 0), max(int(columns[0]) - 2, 0)
    return top, left, min(int(rows[-1]) + 3, height), min(int(columns[-1]) + 3, width)
