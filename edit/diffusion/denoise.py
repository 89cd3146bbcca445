"""The denoising loop: from a start to a latent free of noise.

    x_T = noise;   x_i = blend(x_i, noised(known, t_i), weight_i) where known;   x_(i+1) = step(x_i, guided prediction)

weight is 1 until what is known enters the schedule (at `strength`), `hold` from there on. Where everything is known the
steps before that are left out: that is image-to-image, and equals diffusers' pipelines for it number by number.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor


class Denoiser(Protocol):
    """What the loop asks of a model."""

    @property
    def scheduler(self) -> Any:
        """A scheduler of diffusers."""
        ...

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the latents."""
        ...

    def begin(self, first: int) -> None:
        """Told before the first prediction at which step of the scheduler that will be."""
        ...

    def predict(self, latents: Tensor, index: int) -> Tensor:
        """The guided prediction for latents (1, C, h, w) that stand at step `index` of the scheduler."""
        ...


@torch.no_grad()
def denoise(model: Denoiser, start: Start, *, steps: int, on_step: Callable[[], None] | None = None) -> Tensor:
    """Latent (1, C, h, w) after `steps` of the scheduler; `on_step` is called after each that is made.

    The scheduler's numbers stay on the CPU and everything else on the model's device: nothing is copied between steps.
    """
    scheduler = model.scheduler
    scheduler.set_timesteps(steps, device="cpu")
    times = scheduler.timesteps
    noise, known, mask = _placed(start, model)
    enters = 0 if known is None else first_step(steps, start.strength, len(times), scheduler.order)
    first = enters if known is not None and mask is None else 0
    if first >= len(times):
        assert known is not None
        return known
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)
    model.begin(first)
    extra = extra_arguments(scheduler, start.generator)
    latents = noise * scheduler.init_noise_sigma
    for i in range(first, len(times)):
        if known is not None:
            latents = _blended(
                latents, scheduler.add_noise(known, noise, times[i : i + 1]), mask, _weight(i, enters, start.hold)
            )
        latents = scheduler.step(model.predict(latents, i), times[i], latents, **extra, return_dict=False)[0]
        if on_step is not None:
            on_step()
    return latents if known is None else _blended(latents, known, mask, _weight(len(times), enters, start.hold))


def _placed(start: Start, model: Denoiser) -> tuple[Tensor, Tensor | None, Tensor | None]:
    noise = start.noise.to(model.device, model.dtype)
    if start.known is None or start.strength >= 1:  # forgotten altogether
        return noise, None, None
    return noise, start.known.to(model.device, model.dtype), None if start.mask is None else start.mask.to(model.device)


def first_step(steps: int, strength: float, times: int, order: int) -> int:
    """The one of `times` at which what is known enters: `int` as diffusers rounds it. PNDM has one time more than steps."""
    left = min(int(steps * strength), steps)
    return (steps - left) * order if left else times


def _weight(index: int, enters: int, hold: float) -> float:
    return 1.0 if index <= enters else hold


def _blended(latents: Tensor, target: Tensor, mask: Tensor | None, weight: float) -> Tensor:
    if weight == 0:
        return latents
    drawn = target if weight == 1 else torch.lerp(latents, target, weight)
    return drawn if mask is None else torch.where(mask, drawn, latents)


def extra_arguments(scheduler: Any, generator: torch.Generator | list[torch.Generator]) -> dict[str, Any]:
    """What the scheduler's `step` takes beside the prediction: no further noise where it can, else what the generator draws."""
    known = inspect.signature(scheduler.step).parameters
    arguments = {"eta": 0.0, "generator": generator}
    return {name: value for name, value in arguments.items() if name in known}


@dataclass
class Start:
    """What denoising starts from."""

    noise: Tensor
    """(1, C, h, w) standard normal: the start of what is not known."""
    generator: torch.Generator
    """For schedulers that draw noise in every step."""
    known: Tensor | None = None
    """(1, C, h, w) latent, free of noise, of what is known."""
    mask: Tensor | None = None
    """(1, 1, h, w) bool, where it is known; None where all of it is."""
    strength: float = 1.0
    """Share of the schedule that what is known goes through: 0 keeps it, 1 forgets it."""
    hold: float = 0.0
    """Share by which each of these steps draws back what is known."""


def own_generator(seed: int, index: int, *, is_first: bool) -> torch.Generator:
    """The generator of a frame: the first one's is the seed's, as of the pipelines of diffusers; on the CPU, so that every
    device draws the same numbers."""
    own = seed if is_first else ((seed + 1) * 1_000_003 + index) % 2**63  # all that torch takes
    return torch.Generator().manual_seed(own)


def draw(shape: tuple[int, int, int], generator: torch.Generator) -> Tensor:  # (1, C, h, w)
    """Standard normal noise."""
    return torch.randn((1, *shape), generator=generator)
