"""Tuning: the UNet learns the examples of one clip, as a LoRA or with all its weights. Killed, it goes on where it was.

Short-clip fine-tuning (2022) and the combined tuning of consistency tuning (2024): AdamW, one example a step, drawn from all
alike. ControlNets, autoencoder and text encoder stay as they are, and ControlNets see the examples as they do in use.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from torch import Tensor

from atlas.errors import UserError
from atlas.storage.own.others import remove_ours
from atlas.storage.run_state import STATE, load_state, optimiser_tensors, restore_optimiser, save_state
from atlas.storage.stamps import digest
from atlas.system.progress import Bar
from edit.diffusion.model import StableDiffusion
from edit.tuning.examples import Example
from edit.tuning.lora import new_lora
from edit.tuning.losses import as_output, noised, snr_weight, squared_error, wanted_noise
from edit.tuning.settings import TuneSettings
from edit.tuning.stored import save_lora, save_unet
from edit.tuning.whole import learned_weights

SAVE_AFTER = 120.0
"""Seconds of work that a killed run may lose: the state is saved that often."""
_SHOWN = 100  # steps over which the loss is averaged where it is told


def tune(
    model: StableDiffusion,
    examples: Sequence[Example],
    settings: TuneSettings,
    path: Path,
    *,
    resume: Path,
    quiet: bool,
    notes: list[str],
    save_after: float = SAVE_AFTER,
) -> None:
    """Tune the UNet on examples and write what it learned to `path`, atomically; the model itself is as before afterwards.

    path: a .safetensors file for a LoRA, a folder for all weights; its name must hold a digest of the model and whatever else
    decides the result beside examples and settings. resume: folder for the state, which a killed run takes up; it ends with
    the same bytes, on a CPU, and the folder is gone. notes: gets a line with the loss. UserError where the loss is no number.
    Memory may not suffice: call it in `edit.diffusion.careful.within_memory`.
    """
    settings.check()
    made_from = digest(path.name, asdict(settings), [example.digest() for example in examples])
    precision = model.dtype
    with _learning(model, settings) as weights:
        training = _Training(model, examples, settings, weights, precision)
        known = load_state(resume, made_from)
        if known is not None:
            training.restore(*known)
        with Bar(total=settings.steps, initial=training.done, desc="tune", unit="step", quiet=quiet) as progress:
            saved = monotonic()
            while training.done < settings.steps:
                training.step()
                progress.update()
                if monotonic() - saved >= save_after:
                    save_state(resume, made_from, *training.state())
                    saved = monotonic()
        if settings.rank is None:
            save_unet(model.pipeline.unet, weights, path)
        else:
            save_lora(weights, path)
    remove_ours(resume, STATE)
    notes.append(training.summary())


@contextlib.contextmanager
def _learning(model: StableDiffusion, settings: TuneSettings) -> Iterator[dict[str, torch.nn.Parameter]]:
    """The weights that are learned, by the names under which they are saved."""
    unet = model.pipeline.unet
    unet.to(model.device)  # where it is kept elsewhere between its uses: what the optimiser holds must be there too
    checkpoints = unet.is_gradient_checkpointing
    unet.enable_gradient_checkpointing()  # activations are made again for each block's gradient, not held for all of them
    rank = settings.rank
    try:
        with learned_weights(unet) if rank is None else new_lora(unet, rank, settings.seed) as weights:
            yield weights
    finally:
        if not checkpoints:
            unet.disable_gradient_checkpointing()


class _Training:
    """A model in training: weights, optimiser, random numbers and losses, which together are its state."""

    def __init__(
        self,
        model: StableDiffusion,
        examples: Sequence[Example],
        settings: TuneSettings,
        weights: dict[str, torch.nn.Parameter],
        precision: torch.dtype,  # in which networks compute; weights that are learned are in float32
    ) -> None:
        self.model, self.examples, self.settings, self.weights = model, examples, settings, weights
        self.precision = precision
        # One weight after the other: all at once takes the memory of another copy of them.
        self.optimiser = torch.optim.AdamW(weights.values(), lr=settings.rate, weight_decay=0, foreach=False)
        self.scaler = torch.amp.GradScaler(model.device.type, enabled=self.precision == torch.float16)
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.losses: list[float] = []

    @property
    def done(self) -> int:
        """Steps that were made."""
        return len(self.losses)

    def step(self) -> None:
        """Learn from one example at one timestep, both drawn at random; UserError where the loss is no number."""
        example = self.examples[self._drawn(0, len(self.examples))]
        timestep = self._drawn(*self.settings.timesteps)
        noise = torch.randn(example.source.shape, generator=self.generator)
        loss = example_loss(self.model, example, timestep, noise, self.settings, self.precision)
        value = loss.item()
        if not math.isfinite(value):
            raise UserError(
                f"the loss of tuning is no number any more at step {self.done + 1}: lower --tune-rate "
                f"({self.settings.rate:g}), or use --dtype float32"
            )
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad()
        self.losses.append(value)

    def _drawn(self, low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=self.generator))

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything from which `restore` goes on to the same bytes."""
        tensors: dict[str, Tensor] = {f"weight.{name}": weight for name, weight in self.weights.items()}
        tensors |= optimiser_tensors(self.optimiser) | {"generator": self.generator.get_state()}
        return tensors, {"losses": self.losses, "scaler": self.scaler.state_dict()}

    def restore(self, tensors: dict[str, Tensor], description: dict[str, Any]) -> None:
        """Take up what `state` gave."""
        for name, weight in self.weights.items():
            weight.data.copy_(tensors[f"weight.{name}"])
        restore_optimiser(self.optimiser, tensors)
        self.generator.set_state(tensors["generator"])
        self.scaler.load_state_dict(description["scaler"])
        self.losses = description["losses"]

    def summary(self) -> str:
        """Tell the mean loss at the beginning and at the end."""
        shown = max(1, min(_SHOWN, self.done // 4))
        first, last = (sum(part) / shown for part in (self.losses[:shown], self.losses[-shown:]))
        return (
            f"tuned {self.settings.how} in {self.done} steps on {len(self.examples)} examples: "
            f"loss {first:.4g} over the first {shown}, {last:.4g} over the last"
        )


def example_loss(
    model: StableDiffusion,
    example: Example,
    timestep: int,
    noise: Tensor,  # as the example's latents
    settings: TuneSettings,
    precision: torch.dtype,  # in which the networks compute
) -> Tensor:  # ()
    """Compute the loss of one example at one timestep of the schedule, as `edit.tuning.losses` has it."""
    device, scheduler = model.device, model.scheduler
    share, prediction = float(scheduler.alphas_cumprod[timestep]), str(scheduler.config.prediction_type)
    clean = example.source if example.target is None else example.target
    leads_there = wanted_noise(noise, example.source, example.target, share)
    latent, time = noised(example.source, noise, share).to(device), torch.tensor(timestep, device=device)
    with torch.autocast(device.type, precision, enabled=precision != torch.float32):
        output = model.output(example.conditioning.to(device=device), latent, time)
    mask, front = (None if part is None else part.to(device) for part in (example.mask, example.foreground))
    error = squared_error(output, as_output(leads_there, clean, share, prediction).to(device), mask, front, settings.parts)
    weighted = example.target is not None and settings.weight == "snr"
    return error * snr_weight(share, prediction) if weighted else error
