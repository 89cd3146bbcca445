"""Making an image where memory may run out and half precision may overflow."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from atlas.errors import UserError
from edit.diffusion.model import StableDiffusion
from edit.request.prompting import DiffusionOptions

_FULL = ("out of memory", "can't allocate memory", "not enough memory")  # as torch says it on GPUs and CPUs


def made_carefully(
    model: StableDiffusion, make: Callable[[], Tensor], options: DiffusionOptions, what: str, notes: list[str]
) -> np.ndarray:  # (H, W, 3) float32
    """The decoded image of the latent that `make` makes; made again in float32, and said, where it is not a number.

    `make` must be repeatable: it draws its noise anew from the seed. UserError where memory does not suffice, or where
    float32 gives no number either.
    """
    with within_memory(model, options, what):
        image = model.decode(make())
        if image is None and model.dtype != torch.float32:
            if options.offload != "none":
                raise overflow(model, what)
            notes.append(f"{what} overflowed in half precision and was made again in float32")
            with model.in_float32():
                image = model.decode(make())
    if image is None:
        raise UserError(f"the model gives no numbers for {what}, in float32 either: its weights are damaged or do not fit")
    return image


def overflow(model: StableDiffusion, what: str) -> UserError:
    """What to say where the model's precision gave no number."""
    if model.dtype == torch.float32:
        return UserError(f"the model gives no numbers for {what}, in float32: its weights are damaged or do not fit")
    precision = str(model.dtype).removeprefix("torch.")
    return UserError(f"{what} overflowed in {precision}: use --dtype float32" + " or bfloat16" * (precision == "float16"))


@contextlib.contextmanager
def within_memory(model: StableDiffusion, options: DiffusionOptions, what: str, less: Sequence[str] = ()) -> Iterator[None]:
    """UserError where memory runs out in the block, with options that need less, those of `less` first; what is offloaded
    goes back to main memory after it."""
    try:
        yield
    except (RuntimeError, MemoryError) as problem:
        known = isinstance(problem, (torch.cuda.OutOfMemoryError, MemoryError))
        if not known and not any(words in str(problem).lower() for words in _FULL):
            raise
        advice = ", ".join([*less, _advice(options, model.device)])
        raise UserError(f"out of {_where(model)} memory while making {what}: try {advice}") from None
    finally:
        model.finish()


def _where(model: StableDiffusion) -> str:
    gc.collect()
    if model.device.type == "cuda":
        torch.cuda.empty_cache()
    return "main" if model.device.type == "cpu" else "GPU"


def _advice(options: DiffusionOptions, device: torch.device) -> str:
    """Options that lower what is needed and were not given yet, gentlest first."""
    left = []
    if not options.vae_tiling:
        left.append("--vae-tiling")
    if options.offload == "none" and device.type != "cpu":
        left.append("--offload model")
    elif options.offload == "model":
        left.append("--offload sequential")
    left.append("a smaller --resolution")
    return ", ".join(left)
