"""Resumable runs: a state on disk from which a killed run goes on where it was, and ends with the same bytes."""

from __future__ import annotations

import contextlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atlas.errors import FIT, UserError
from atlas.storage.own.others import remove_ours
from atlas.storage.tensors import load_tensors, read_description, save_tensors

_STATE = "state.safetensors"
STATE = re.compile(r"state\.safetensors|(frames|masks|depth-\d+|(forward|backward)_valid)\.npy")
"""Names of the files in the folder of a run: its state, and what the units read."""


@dataclass(frozen=True)
class Unit:
    """A unit of a run's work."""

    name: str
    """What it is called where progress is shown."""
    do: Callable[[], None]


class Resumable(ABC):
    """A run as a list of units of work, whose whole state is saved after each."""

    def __init__(self, folder: Path, made_from: str) -> None:
        self.folder = folder
        """Where the state is kept, and the files that the run reads."""
        self.made_from = made_from
        """Digest of all that decides the run: the state of another one is not taken up."""
        self.finished_units = 0

    @abstractmethod
    def units(self) -> Sequence[Unit]:
        """All units in order; those that are still to come may change with what is done."""

    @abstractmethod
    def write_inputs(self) -> None:
        """Write into the folder what the units read, once, before the first state is saved."""

    @abstractmethod
    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and a JSON description from which `restore` takes the run up again."""

    @abstractmethod
    def restore(self, tensors: dict[str, Tensor], description: dict[str, Any]) -> None:
        """Take up what `state` gave, in this process or an earlier one."""

    def begin(self) -> None:
        """Take up the state in the folder where it is of this very run; start afresh where there is none."""
        known = load_state(self.folder, self.made_from)
        if known is None:
            start_folder(self.folder, self._start)
        else:
            with taking_up(self.folder):
                self.restore(*known)

    def _start(self) -> None:
        self.write_inputs()
        self.save()

    def save(self) -> None:
        """Replace the state in the folder by the present one."""
        save_state(self.folder, self.made_from, *self.state())

    def do_units(self, done: Callable[[Unit], None] = lambda unit: None) -> None:
        """Do all units that are left, saving after each; done: called after each with what was done."""
        while self.finished_units < len(units := self.units()):
            unit = units[self.finished_units]
            unit.do()
            self.finished_units += 1
            self.save()
            done(unit)


def save_state(folder: Path, made_from: str, tensors: dict[str, Tensor], description: dict[str, Any]) -> None:
    """Replace the state in `folder` by this one, of a run that was begun with `made_from`, a digest."""
    save_tensors(folder / _STATE, tensors, description | {"made_from": made_from})


def load_state(folder: Path, made_from: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and description of the state in `folder`; None where there is none of this very run."""
    path = folder / _STATE
    try:
        if not path.is_file() or read_description(path)[1].get("made_from") != made_from:
            return None
        return load_tensors(path)
    except UserError:  # of another version, or damaged: nothing of it can be used
        return None


@contextlib.contextmanager
def taking_up(folder: Path) -> Iterator[None]:
    """UserError where what is done with a state in the block shows that it is not one of this kind of run."""
    try:
        yield
    except torch.cuda.OutOfMemoryError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError):
        raise UserError(f"{folder / _STATE} is damaged: delete it and run {FIT} again") from None


def start_folder(folder: Path, fill: Callable[[], None]) -> None:
    """Make `folder` anew and let `fill` write what the run reads, and its first state; nothing is left where that fails.

    What is somebody's own there stays.
    """
    remove_ours(folder, STATE)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        fill()
    except BaseException:  # a damaged frame, a full disk: without a state there is nothing to go on with
        with contextlib.suppress(OSError):  # the folder of an earlier fit is not empty, and stays
            remove_ours(folder, STATE)
            folder.parent.rmdir()
        raise


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimiser's state as named tensors."""
    return {
        f"optimiser.{i}.{name}": value for i, entry in optimiser.state_dict()["state"].items() for name, value in entry.items()
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Take back what `optimiser_tensors` gave; other tensors are passed over."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimiser."):
            _, index, name = key.split(".", 2)
            state.setdefault(int(index), {})[name] = value
    if state:
        optimiser.load_state_dict(optimiser.state_dict() | {"state": state})
