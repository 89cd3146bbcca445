"""The aggregation network of StableVideo (ICCV 2023), trained for each edit with the renderer in the loop.

    A = x + W2 relu(W1 x),   two 3x3 convolutions 3 -> 64 -> 3 without bias, over the initial aggregate x

W2 starts at zero, so that training starts from the initial aggregate. What a keyframe shows is predicted from the
OTHER keyframes' aggregate: one that was allowed to see the keyframe itself would learn to bring back its noise and its
errors. The loss is the L1 distance between the keyframe and that atlas rendered into it, weighted by opacity, inside
what the others cover. The same network is applied to the edited aggregate and to the unedited one (the reference), and
the difference of the two, which is what delta rendering adds to a frame, counts in the loss beside the edited atlas
itself. So it learns to undo the blur of splatting and merging as far as keyframes confirm it, and keyframes that were
not edited leave no difference at all. A single keyframe predicts itself. Of many keyframes, some are learned from; what
the others make together is among what predicts them.

Published: SGD 1e-3, momentum 0.9, 500 epochs over all of the atlas. Here: Adam on random windows with averaged weights,
stopped by pixels that it is not trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import product

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from aggregate.averages import Robust, weighted_mean
from aggregate.stack import Images
from aggregate.windows import Pixels, Source, View, Window, held_out, window_at_random
from atlas.geometry.boxes import bounding_box
from atlas.geometry.warp import sample
from atlas.system.progress import Progress

_MOMENTA = (0.9, 0.999)
_SECOND = 0.03  # how much slower W2 learns than W1
_WORTH = 0.99  # of the start's loss: what gains less has learned the noise that keyframes left out of a mean of their own
_AVERAGED = 20  # steps over which weights are averaged
_NEAR, _OVER = 2, 0.05  # texels round about, and how far a colour may go beyond all of theirs
_TILE = (64, 128)  # texels put through the network at a time: what is between its layers stays in the processor's cache


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
        """(N, 3, H, W) -> (N, 3, H, W). Colours stay near those round about: of one that it never saw it knows nothing."""
        refined = images + self.second(torch.relu(self.first(images)))
        padded = F.pad(images.detach(), (_NEAR,) * 4, mode="replicate")
        high, low = (_extreme(padded, of) for of in (torch.maximum, torch.minimum))
        return torch.minimum(torch.maximum(refined, low - _OVER), high + _OVER)


def _extreme(images: Tensor, of: Callable[[Tensor, Tensor], Tensor]) -> Tensor:  # (N, C, H, W) -> smaller by 2 * _NEAR
    """Find the highest or lowest round about; joined from neighbours, which pooling takes ten times as long for."""
    for dim in (2, 3):
        length = images.shape[dim] - 2 * _NEAR
        images = reduce(of, (images.narrow(dim, start, length) for start in range(2 * _NEAR + 1)))
    return images


class _Adam:
    """Adam (Kingma and Ba 2015) as torch.optim has it, whose first step loads torch's compiler for two seconds."""

    def __init__(self, network: AggregationNetwork, rate: float) -> None:
        # A texel's correction is a sum over 576 entries of W2, so these must step far less than W1's for the same effect.
        self._rates = {network.first.weight: rate, network.second.weight: rate * _SECOND}
        self._means = {weight: torch.zeros_like(weight) for weight in self._rates}
        self._squares = {weight: torch.zeros_like(weight) for weight in self._rates}
        self._steps = 0

    @torch.no_grad()
    def step(self, loss: Tensor) -> None:
        """Compute the gradients of a loss and make a step."""
        self._steps += 1
        gradients = torch.autograd.grad(loss, list(self._rates))
        for (weight, rate), gradient in zip(self._rates.items(), gradients, strict=True):
            mean, square = self._means[weight], self._squares[weight]
            mean.lerp_(gradient, 1 - _MOMENTA[0])
            square.mul_(_MOMENTA[1]).addcmul_(gradient, gradient, value=1 - _MOMENTA[1])
            size = (square.sqrt() / (1 - _MOMENTA[1] ** self._steps) ** 0.5).add_(1e-8)
            weight.addcdiv_(mean, size, value=-rate / (1 - _MOMENTA[0] ** self._steps))


@dataclass
class Refined:
    """The refined atlas: the network's result."""

    edited: Tensor
    """(H, W, 3)"""
    reference: Tensor
    """(H, W, 3)"""
    loss_before: float
    """Loss of the initial aggregate over pixels that were held out."""
    loss_after: float
    """Loss of the result: never above loss_before."""
    steps: int


def refine(
    colours: Images,  # (K, H, W, 6) partial atlases: edited, then unedited
    weights: Images,  # (K, H, W)
    coverage: Tensor,  # (H, W)
    views: Mapping[int, View],  # by the number of its partial atlas: of all of them, or of those to be learned from
    *,
    seed: int = 0,
    training: Training | None = None,
    quiet: bool = True,
) -> Refined:
    """Train the network on the views and apply it to the aggregate of all, inside the box that is covered.

    The start is the mean, or the robust mean where that predicts held-out pixels clearly better; where training does not
    predict them clearly better still, the start is returned.
    """
    training = training or Training()
    generator = torch.Generator().manual_seed(seed)
    box = bounding_box(coverage > 0, 2)
    if box is None:
        return _refined(weighted_mean(colours, weights), 0.0, 0.0, 0)
    learned = sorted(views)
    pixels = Pixels.of([views[number] for number in learned], coverage.shape, box, training.pixels, generator)
    starts = [None, *([Robust.of(colours, weights)] if len(weights) > 2 else [])]
    plain = Source.of(colours, weights, learned, box)
    sources = [plain, *(plain.weighed(colours, weights, learned, robust) for robust in starts[1:])]
    usable = pixels[sources[0].predicted(pixels)]
    held = held_out(sources[0], usable, training.window, generator)
    best = 0
    if held:
        losses = [_checked(None, _images(source, held), held, squared=True) for source in sources]
        best = int(losses[-1] < _WORTH * losses[0])  # 0 too where there is no other choice
    whole = weighted_mean(colours, weights, starts[best])
    if not held:  # no texel was seen twice
        return _refined(whole, 0.0, 0.0, 0)
    network = AggregationNetwork(generator).to(coverage.device)
    steps, before, after = _train(network, sources[best], usable[~usable.held], held, training, generator, quiet)
    if after < _WORTH * before:
        pair = torch.stack(whole[box].split(3, dim=-1)).permute(0, 3, 1, 2)
        with torch.no_grad():
            pair = pair.contiguous(memory_format=torch.channels_last)  # twice as fast on a CPU
            result = _in_tiles(network, pair, coverage[box] > 0)
        whole[box] = torch.cat(result.unbind(0)).permute(1, 2, 0)
        return _refined(whole, before, after, steps)
    return _refined(whole, before, before, steps)


def _refined(whole: Tensor, before: float, after: float, steps: int) -> Refined:
    edited, reference = (part.contiguous() for part in whole.split(3, dim=-1))
    return Refined(edited, reference, before, after, steps)


def _train(
    network: AggregationNetwork,
    source: Source,
    pixels: Pixels,
    held: list[Window],
    training: Training,
    generator: torch.Generator,
    quiet: bool,
) -> tuple[int, float, float]:
    """Train in place; the network ends with the weights that were best on what was held out.

    Returns the steps made, and the loss there before and after.
    """
    images = _images(source, held)
    before = best = _checked(None, images, held)
    if not len(pixels.texel):
        return 0, before, before
    optimiser = _Adam(network, training.learning_rate)
    best_state, average, setbacks, step = _state(network), _state(network), 0, 0
    trial = AggregationNetwork(torch.Generator()).to(pixels.texel.device)
    bar = Progress(range(1, training.steps + 1), desc="aggregation network", unit="step", leave=False, quiet=quiet)
    for step in bar:
        window = window_at_random(source, pixels, training.window, generator)
        optimiser.step(_loss(network(window.images(source)), window))
        for name, value in _state(network).items():
            average[name].lerp_(value, 1 / min(step, _AVERAGED))
        if step % training.check_every == 0:
            trial.load_state_dict(average)
            now = _checked(trial, images, held)
            if step == training.check_every and not now < before:  # NaN too; of none that began so did the result win
                break
            stalled = not now < best * 0.998
            if now < best:
                best, best_state = now, _state(trial)
            bar.note(f"loss {best:.4f}")
            if stalled:  # the nearer the start is to the keyframes, the smaller the steps must be
                setbacks += 1
                if setbacks >= training.patience:
                    break
                network.load_state_dict(best_state)
                average = _state(network)
                optimiser = _Adam(network, training.learning_rate / 4**setbacks)
    network.load_state_dict(best_state)
    return step, before, best


def _state(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _images(source: Source, windows: list[Window]) -> list[Tensor]:
    return [window.images(source) for window in windows]


@torch.no_grad()
def _checked(
    network: AggregationNetwork | None,
    images: list[Tensor],  # (2, 3, H, W) each, what is seen in the windows
    windows: list[Window],
    *,
    squared: bool = False,
) -> float:
    """Compute the mean loss (or the mean of its squares); None is the identity."""
    pairs = zip(images, windows, strict=True)
    losses = [_loss(network(pair) if network else pair, window, squared=squared) for pair, window in pairs]
    return float(sum(losses)) / len(losses)


def _loss(pair: Tensor, window: Window, *, squared: bool = False) -> Tensor:
    """Compute the weighted L1 loss of the rendered edited atlas, plus that of the rendered difference to the reference.

    pair: (2, 3, H, W), edited and reference in the window.
    """
    pixels = window.pixels
    size = pixels.texel.new_tensor([pair.shape[3], pair.shape[2]])
    places = (pixels.texel, pixels.texel_original)
    images = pair.permute(0, 2, 3, 1).unbind(0)
    rendered, unedited = (sample(image, texel * (2 / size) - 1) for image, texel in zip(images, places, strict=True))
    apart = rendered - pixels.edited
    change_apart = (rendered - unedited) - (pixels.edited - pixels.original)
    wrong = apart**2 + change_apart**2 if squared else apart.abs() + change_apart.abs()
    return (wrong.mean(-1) * pixels.weight).sum() / pixels.weight.sum().clamp(min=1e-6)


def _in_tiles(network: AggregationNetwork, pair: Tensor, covered: Tensor) -> Tensor:  # (2, 3, H, W), (H, W) bool
    """Apply the network to a large image, tile by tile with the neighbours that each needs; tiles that nothing covers stay."""
    result, (height, width) = pair.clone(), covered.shape
    for rows, columns in product(_spans(height, _TILE[0]), _spans(width, _TILE[1])):
        if covered[rows, columns].any():
            top, left = max(rows.start - 2, 0), max(columns.start - 2, 0)
            refined = network(pair[:, :, top : rows.stop + 2, left : columns.stop + 2])
            inside = (slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left))
            result[:, :, rows, columns] = refined[:, :, inside[0], inside[1]]
    return result


def _spans(length: int, side: int) -> list[slice]:
    return [slice(start, min(start + side, length)) for start in range(0, length, side)]
