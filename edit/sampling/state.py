"""The state of a sampling loop between two steps: everything from which a killed run goes on to the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atlas.storage.run_state import load_state, save_state


class SchedulerState:
    """What a scheduler remembers from step to step: all of its variables that differ from right after `set_timesteps`.

    Read off the object itself, so that it holds for any of diffusers' schedulers: histories of predictions, counters, sums.
    """

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler
        self._before = {name: list(value) if isinstance(value, list) else value for name, value in vars(scheduler).items()}

    def read(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Take the variables apart into tensors and JSON."""
        tensors: dict[str, Tensor] = {}
        described: dict[str, Any] = {}
        for name, value in vars(self.scheduler).items():
            if name in self._before and _same(value, self._before[name]):
                continue
            if isinstance(value, list):
                described[name] = [_put(tensors, f"scheduler.{name}.{i}", entry) for i, entry in enumerate(value)]
            else:
                described[name] = _put(tensors, f"scheduler.{name}", value)
        return tensors, described

    def write(self, tensors: dict[str, Tensor], described: dict[str, Any]) -> None:
        """Put back what `read` gave, into a scheduler right after `set_timesteps`."""
        for name, entry in described.items():
            value = [_got(tensors, one) for one in entry] if isinstance(entry, list) else _got(tensors, entry)
            setattr(self.scheduler, name, value)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one is other or (one.shape == other.shape and bool(torch.equal(one, other)))
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return one is other or (type(one) is type(other) and isinstance(one, bool | int | float | str) and bool(one == other))


def _put(tensors: dict[str, Tensor], key: str, value: Any) -> dict[str, Any]:
    if isinstance(value, Tensor):
        tensors[key] = value
        return {"tensor": key}
    return {"value": value.item() if hasattr(value, "item") else value}


def _got(tensors: dict[str, Tensor], entry: dict[str, Any]) -> Any:
    return tensors[entry["tensor"]] if "tensor" in entry else entry["value"]


class LoopState:
    """The state of one loop on the disk, replaced after each step; of another run's it takes nothing."""

    def __init__(self, folder: Path, made_from: str) -> None:
        self.folder, self.made_from = folder, made_from

    def save(self, step: int, latents: Tensor, memory: SchedulerState, generators: Sequence[torch.Generator]) -> None:
        """Keep the latents (F, C, h, w) after `step` steps, the scheduler's memory and the generators."""
        tensors, described = memory.read()
        states = torch.stack([generator.get_state() for generator in generators])
        save_state(
            self.folder,
            self.made_from,
            {"latents": latents, "generators": states} | tensors,
            {"step": step, "scheduler": described},
        )

    def load(self, memory: SchedulerState, generators: Sequence[torch.Generator]) -> tuple[int, Tensor] | None:
        """Take up what was kept: how many steps are done, and the latents; None where there is nothing of this run."""
        known = load_state(self.folder, self.made_from)
        if known is None:
            return None
        tensors, description = known
        memory.write(tensors, description["scheduler"])
        for generator, state in zip(generators, tensors["generators"], strict=True):
            generator.set_state(state.clone())  # which reads the storage from its beginning
        return int(description["step"]), tensors["latents"]
