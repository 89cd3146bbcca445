"""What every kind of fit is given to do, and what it must be able to do."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch

from atlas.clip.clip import Clip
from atlas.quality.finish import Finished
from atlas.system.cost import Pace


@dataclass(frozen=True)
class FitJob:
    """A clip to be fitted, where, and in what time."""

    clip: Clip
    folder: Path
    """Where the run keeps its state, and the files that it reads."""
    made_from: str
    """Digest of the clip and of the whole plan."""
    device: torch.device
    seconds: float | None = None
    """Of a budget for everything; None: as long as the plan takes."""
    began: float = field(default_factory=time.perf_counter)
    """When the budget began to run, by `time.perf_counter`."""
    quiet: bool = False


class Run(Finished, Protocol):
    """A fit in progress."""

    pace: Pace
    """Of its gradient steps."""

    def begin(self) -> None:
        """Read what it starts from: its state on disk, or the clip. UserError where the clip will not do."""

    def finish(self) -> None:
        """Do all work that is left."""

    def left_out(self) -> str:
        """What a budget left no time for, of what the plan has, in words; "" where nothing was."""

    def least(self) -> str:
        """What there is no fit without, in words, where a budget allowed nothing else; "" where this one did more."""
