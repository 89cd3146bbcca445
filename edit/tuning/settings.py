"""Settings of fine-tuning: how many steps of which rate, which timesteps, and which weights of the UNet are learned."""

from __future__ import annotations

import importlib.util
import math
import re
from dataclasses import dataclass
from typing import Literal

from atlas.errors import UserError
from edit.request.prompting import DiffusionOptions

TIMESTEPS = 1000
"""Of every Stable Diffusion's training."""
_EARLIEST = {"snr": 0, "plain": 20}  # unweighted, the first steps would count a thousand times as much as later ones
_LARGEST_RANK = 1024


@dataclass(frozen=True)
class TuneSettings:
    """How a model is tuned on the frames of one clip."""

    steps: int = 1000
    rate: float = 1e-4
    """Learning rate of AdamW."""
    late: int = 500
    """Timesteps are drawn below this: 500 is the half of the schedule that sampling ends with, 1000 all of it."""
    how: str = "lora:16"
    """`lora:RANK`, or `full` for all weights of the UNet."""
    weight: Literal["snr", "plain"] = "snr"
    """How the loss of pairs is weighted over timesteps: min-SNR, or not at all, and then from timestep 20 on."""
    parts: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Weights of the whole picture, its foreground and its background, for examples that know their foreground."""
    seed: int = 0

    @property
    def rank(self) -> int | None:
        """Rank of the LoRA; None where all weights are tuned. UserError where `how` is neither."""
        if self.how == "full":
            return None
        match = re.fullmatch(r"lora:(\d{1,6})", self.how, re.ASCII)
        if match is None or not 1 <= int(match[1]) <= _LARGEST_RANK:
            raise UserError(f"--tune-with {self.how!r} is not understood: write lora:16 (a rank up to {_LARGEST_RANK}) or full")
        return int(match[1])

    @property
    def timesteps(self) -> tuple[int, int]:
        """The first timestep that may be drawn, and the first that may not."""
        return _EARLIEST[self.weight], self.late

    def file_name(self, key: str) -> str:
        """Name what tuning leaves: a file for a LoRA, a folder for all weights. key: a digest of all that decides them."""
        return f"tuned-{key}" if self.rank is None else f"tuned-{key}.safetensors"

    def check(self) -> None:
        """UserError for what no model could be tuned with."""
        _ = self.rank
        first = self.timesteps[0]
        for name, value, low, high in (
            ("steps", self.steps, 1, 1_000_000),
            ("rate", self.rate, 1e-9, 1.0),
            ("late", self.late, first + 1, TIMESTEPS),
        ):
            if not (math.isfinite(value) and low <= value <= high):
                raise UserError(f"--tune-{name} {value:g} is out of range: choose from {low:g} to {high:g}")

    def check_with(self, options: DiffusionOptions) -> None:
        """UserError where the model's options, or what is installed, leave no weights that could be tuned."""
        if options.offload == "sequential":
            raise UserError("--offload sequential keeps no weights that could be tuned: use --offload model, or --tune none")
        if options.compile:
            raise UserError("--compile is for networks that stay as they are: leave it out, or use --tune none")
        if self.rank is not None and importlib.util.find_spec("peft") is None:
            raise UserError(f"--tune-with {self.how} needs peft, which is not installed: pip install -e .[diffusion]")
