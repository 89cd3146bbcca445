"""Messages between an engine and its workers: a line of JSON each."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Request:
    """A command that a worker is to run."""

    command: tuple[str, ...]
    """Arguments of Python, as a task has them."""
    log: str
    """File that its standard error, and its standard output where that is no result, is added to."""
    progress: str
    """File for lines of `atlas.system.progress`."""
    result: str | None = None
    """File for its standard output."""
    weights: str = ""
    """What it loads (`scripts.plans.weights`): another command's weights are let go before it begins."""

    def line(self) -> bytes:
        """The message as a line."""
        return _line(asdict(self))

    @classmethod
    def of(cls, line: bytes) -> Request:
        """A message from its line."""
        values = json.loads(line)
        return cls(**values | {"command": tuple(values["command"])})


@dataclass(frozen=True)
class Answer:
    """How a command ended in a worker."""

    status: int
    cpu_seconds: float
    """Of the worker and of what it waited for since its last answer: of the first command with what was loaded for all."""
    peak_mb: float | None
    """Most main memory of the worker itself while it ran it, with what earlier commands left loaded. Elsewhere than on Linux
    it is the most so far."""
    held_mb: float
    """Main memory that it holds now."""
    on_gpu: bool
    """Whether it holds memory of a GPU."""
    goes_on: bool
    """Whether it takes another command; else it ends, and gives all back."""

    def line(self) -> bytes:
        """The message as a line."""
        return _line(asdict(self))

    @classmethod
    def of(cls, line: bytes) -> Answer:
        """A message from its line."""
        return cls(**json.loads(line))


def _line(values: dict[str, object]) -> bytes:
    return json.dumps(values).encode() + b"\n"
