"""A fit of the published Layered Neural Atlases in progress: its training, and its state on disk.

Each mapping first learns uv = scale * (x, y); then everything learns together. Every step depends on the seed, its
number and what the steps before it left, so that a killed run goes on from its last save and ends with the same bytes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atlas.errors import UserError
from atlas.maps.maps import Maps
from atlas.metrics.definitions import ssim
from atlas.model.checkpoint import save_nla_model
from atlas.model.nla import NlaModel
from atlas.model.nla_config import NlaConfig
from atlas.nla.outputs import SIZES, write_nla_atlases, write_nla_maps
from atlas.nla.training import PixelData, nla_loss, pretraining_loss
from atlas.quality.job import FitJob
from atlas.storage.run_state import Resumable, Unit, optimiser_tensors, restore_optimiser
from atlas.system.cost import Pace
from atlas.system.progress import Bar

CHUNK = 25
"""Steps between two saves of the state."""
_PHASES = ("pretrain foreground", "pretrain background", "train")
_TRAIN = 2
_PRETRAINING = 0.05
"""Share of a budget of seconds that each mapping's pretraining may take; published, it takes longer than whole budgets."""
_WRITING = 0.4
"""Share of a budget that evaluating all pixels of all frames may take; above it, fewer are, and the rest interpolated."""
_FRAME_COST = 2.0
"""What preview and metrics of a frame cost, in evaluations of its SSIM."""


def _shortest(act: Callable[[], object]) -> float:
    """Seconds that something takes, the best of three: the first time also pays for what is set up once."""
    took = []
    for _ in range(3):
        start = time.perf_counter()
        act()
        took.append(time.perf_counter() - start)
    return min(took)


class NlaRun(Resumable):
    """A published fit in progress: a unit of work for each phase, and its state on disk. `begin` comes first, then `finish`."""

    model: NlaModel
    optimiser: torch.optim.Adam
    data: PixelData

    def __init__(self, job: FitJob, config: NlaConfig) -> None:
        super().__init__(job.folder, job.made_from)
        self.clip, self.config, self.device, self.quiet = job.clip, config, job.device, job.quiet
        self.seconds, self.began = job.seconds, job.began
        self.done, self.stride = 0, 1
        self.log: list[dict[str, Any]] = []
        self.pace = Pace()
        """Of the steps in which everything learns together."""
        self.limits = [math.inf] * len(_PHASES)
        """When each phase must have ended."""

    @property
    def phase(self) -> int:
        """Number of the present phase; `done` counts its steps."""
        return self.finished_units

    def begin(self) -> None:
        """Take up a state of the same clip and plan, or decode the clip into the folder.

        UserError where the clip has not one foreground.
        """
        if len(self.clip.objects) != 1:
            raise UserError(
                f"{self.clip.folder} has {len(self.clip.objects)} objects, --preset nla knows one foreground: "
                "use --preset standard"
            )
        self.model = NlaModel(self.config, torch.Generator().manual_seed(self.config.seed)).to(self.device)
        self.optimiser = self._optimiser(0)
        super().begin()
        self.data = PixelData(self.clip, self.folder)

    def units(self) -> list[Unit]:
        """The phases."""
        return [Unit(name, partial(self._learn, phase)) for phase, name in enumerate(_PHASES)]

    def finish(self) -> None:
        """Make all steps that are left, saving every `CHUNK`."""
        if self.seconds is not None:
            self.limits = self._limits(self.seconds)
        self.do_units()

    def hand_over(self, folder: Path) -> None:
        """Write the finished model below `folder`: checkpoint, maps and atlases."""
        save_nla_model(folder / "checkpoint.safetensors", self.model)
        write_nla_maps(self.model, self.clip, folder, stride=self.stride, quiet=self.quiet)
        maps = Maps(folder)
        sizes = SIZES if self.seconds is None else SIZES[:1]
        write_nla_atlases(self.model, maps, folder, self.config.seed, sizes)

    def frame(self, t: int) -> np.ndarray:  # (H, W, 3) uint8
        """Frame `t` of the clip, as it was decoded for the run."""
        return self.data.colours[t]

    def left_out(self) -> str:
        """Nothing: every lesson is given, if short."""
        return ""

    def least(self) -> str:
        """What there is no fit without, in words, where this one is made of little else; "" where it did more."""
        made = max((entry["iteration"] for entry in self.log if entry["kind"] == _PHASES[_TRAIN]), default=0)
        return "" if made > CHUNK else "a few steps of each lesson, all frames' maps and pictures"

    # Steps

    def _total(self) -> int:
        return self.config.iters_num if self.phase == _TRAIN else self.config.pretrain_iter_number * self.clip.frames

    def _learn(self, phase: int) -> None:
        """All steps of a phase, with an optimiser of its own."""
        self._steps(self.limits[phase])
        self.done = 0
        if phase + 1 < len(_PHASES):
            self.optimiser = self._optimiser(phase + 1)

    def _steps(self, limit: float) -> None:
        """The steps of the present phase: at least one, and no further one that would end after `limit`."""
        total, first, took = self._total(), self.done, 0.0
        pace = self.pace if self.phase == _TRAIN else Pace()
        progress = Bar(total=total, initial=self.done, desc=_PHASES[self.phase], unit="step", quiet=self.quiet)
        with progress:
            while self.done < total and (self.done == first or time.perf_counter() + took < limit):
                start = time.perf_counter()
                with pace.timed(1, self.config.samples_batch):
                    loss = self._loss(self.done)
                    self.optimiser.zero_grad(set_to_none=True)
                    loss.backward()
                    self.optimiser.step()
                self.done += 1
                if self.done % CHUNK == 0 or self.done == total:
                    self._check()
                    self.log.append({"kind": _PHASES[self.phase], "iteration": self.done, "loss": loss.item()})
                    self.save()
                progress.update()
                took = time.perf_counter() - start
        if self.done % CHUNK and self.done < total:  # a budget ended between two saves
            self._check()
            self.log.append({"kind": _PHASES[self.phase], "iteration": self.done, "loss": loss.item()})

    def _loss(self, index: int) -> Tensor:
        """The loss of step `index` of the present phase; UserError where it is not a number."""
        rng = np.random.default_rng([self.config.seed, self.phase, index])
        if self.phase == _TRAIN:
            loss = nla_loss(self.model, self.data.batch(self.config.samples_batch, rng, self.device), index)
        else:
            loss = pretraining_loss(self.model, self.phase, index % self.clip.frames, rng, self.device)
        if not math.isfinite(loss.item()):
            raise UserError(
                f"the fit of {self.clip.folder} turned to NaN at iteration {index}: the last good checkpoint is kept; "
                "try another --seed or --preset preview"
            )
        return loss

    @torch.no_grad()
    def _check(self) -> None:
        """UserError where the next step would find no number: a state that the last one ruined must not be kept."""
        self._loss(self.done)

    def _optimiser(self, phase: int) -> torch.optim.Adam:
        """A fresh Adam for what learns in a phase."""
        learning: Iterable[Tensor] = (self.model if phase == _TRAIN else self.model.mapping(phase)).parameters()
        return torch.optim.Adam(learning, lr=self.config.learning_rate, fused=self.device.type != "mps")

    # The budget

    def _limits(self, seconds: float) -> list[float]:
        """When each phase must have ended, of a budget of so many seconds."""
        size = (-(-self.clip.height // 3), -(-self.clip.width // 3))
        frame = 9 * _shortest(lambda: self.model.frame_maps(0, torch.empty(1, *size, device=self.device)))
        pictures = self.clip.frames * _FRAME_COST * _shortest(lambda: ssim(self.data.colours[0], self.data.colours[-1]))
        maps = self.clip.frames * frame
        self.stride = next((s for s in (1, 2, 3) if maps / s**2 < _WRITING * seconds), 4)
        writing = maps / self.stride**2 + 2 * frame + pictures
        early = [time.perf_counter() + share * seconds for share in (_PRETRAINING, 2 * _PRETRAINING)]
        return [*early, self.began + seconds - writing]

    # The state on disk

    def write_inputs(self) -> None:
        """Decode frames and masks."""
        PixelData.write(self.clip, self.folder, quiet=self.quiet)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The place in the phases, the networks and their optimiser."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        description = {"phase": self.finished_units, "done": self.done, "log": self.log}
        return tensors | optimiser_tensors(self.optimiser), description

    def restore(self, tensors: dict[str, Tensor], description: dict[str, Any]) -> None:
        """Take up what `state` gave."""
        self.finished_units, self.done, self.log = description["phase"], description["done"], description["log"]
        self.model.load_state_dict({name[6:]: value for name, value in tensors.items() if name.startswith("model.")})
        if self.finished_units < len(_PHASES):
            self.optimiser = self._optimiser(self.finished_units)
            restore_optimiser(self.optimiser, tensors)
