"""The denoising loop over all frames: one scheduler for all latents at once, estimates that agree in between, a state kept.

    out = predictions of all frames;   out <- agreement(out)  at chosen steps;   z <- step(out, t, z)

Latents and predictions, (F, C, h, w) float32, are all that is held of the frames: 66 kB each at 512 x 512.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from edit.diffusion.denoise import extra_arguments, first_step
from edit.sampling.clean import clean, moved
from edit.sampling.state import LoopState, SchedulerState

Predict = Callable[[Tensor, int], Tensor]
"""(F, C, h, w) latents at a step -> (F, C, h, w) guided predictions."""
Agree = Callable[[Tensor, int], Tensor]
"""(F, C, h, w) clean estimates at a step -> (F, C, h, w) what agreement changes of them."""


@dataclass
class Begin:
    """What denoising all frames starts from."""

    noise: Tensor
    """(F, C, h, w) standard normal."""
    generators: list[torch.Generator]
    """One for each frame: for schedulers that draw noise in every step."""
    known: Tensor | None = None
    """(F, C, h, w) latents of what frames start from; None: from noise alone."""
    strength: float = 1.0
    """Share of the schedule that these go through: 0 keeps them, 1 forgets them."""


@torch.no_grad()
def denoise_frames(
    scheduler: Any,
    begin: Begin,
    predict: Predict,
    *,
    steps: int,
    agree: Agree | None = None,
    agree_at: Callable[[int], set[int]] = lambda times: set(),
    state: LoopState | None = None,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> Tensor:  # (F, C, h, w)
    """Denoise the latents of all frames in `steps` of the scheduler, which stays on the CPU with them.

    agree_at: of how many times the schedule has -> those at which estimates are made to agree. state: where each step is kept;
    what a killed run kept is taken up. on_step: told before the first and after each step how many are done, of how many.
    """
    scheduler.set_timesteps(steps, device="cpu")
    times = scheduler.timesteps
    known = begin.known if begin.strength < 1 else None
    first = 0 if known is None else first_step(steps, begin.strength, len(times), scheduler.order)
    if known is not None and first >= len(times):
        return known
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)
    memory = SchedulerState(scheduler)
    kept = None if state is None else state.load(memory, begin.generators)
    if kept is not None:
        done, latents = kept
    else:
        done = first
        start = times[first : first + 1]
        latents = begin.noise * scheduler.init_noise_sigma if known is None else scheduler.add_noise(known, begin.noise, start)
    chosen, extra = agree_at(len(times)), extra_arguments(scheduler, begin.generators)
    on_step(done - first, len(times) - first)
    for index in range(done, len(times)):
        prediction = predict(latents, index)
        if agree is not None and index in chosen:
            estimate = clean(scheduler, prediction, latents, index)
            if estimate is not None:
                prediction = moved(scheduler, prediction, agree(estimate, index), index)
        latents = scheduler.step(prediction, times[index], latents, **extra, return_dict=False)[0]
        latents = latents.contiguous()  # as they are read again: networks round otherwise for other layouts
        if state is not None:
            state.save(index + 1, latents, memory, begin.generators)
        on_step(index + 1 - first, len(times) - first)
    return latents
