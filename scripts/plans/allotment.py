"""Allotment: what each task is given of a machine, and on which device it computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scripts.plans.options import STAGES, options_of
from scripts.plans.plan import Resources

_DEVICE = "--device="


@dataclass(frozen=True)
class Allotment:
    """What each task of a plan is given."""

    cores: int = 1
    memory_mb: int = Resources().memory_mb
    device: str = ""
    """Where tasks compute that are not told: one for all, as a stage that is tried again on a node of another kind would begin
    anew, and its result not be the same. Empty: each takes what it finds."""
    gpus: float = 0.0
    """GPUs, or a fraction of one, of a task that computes on them."""

    def pinned(self, stage: str, command: Sequence[str]) -> list[str]:
        """Words that name the device to a stage that has one, and was told none.

        Preparing computes on the CPU, but for the networks that find some kinds of masks.
        """
        if not self.device or not _has_device(stage) or _told(command):
            return []
        return [_DEVICE + ("cpu" if stage == "prepare" else self.device)]

    def resources(self, stage: str, command: Sequence[str]) -> Resources:
        """What a stage's command takes."""
        device = _told([*command, *self.pinned(stage, command)])
        return Resources(self.cores, self.gpus if device == "cuda" else 0.0, self.memory_mb)


def _has_device(stage: str) -> bool:
    return stage in STAGES and "device" in options_of(stage)


def _told(command: Sequence[str]) -> str:
    """The device that a command names; empty: none, or the one that it finds."""
    named = [word.removeprefix(_DEVICE) for word in command if word.startswith(_DEVICE)]
    return "" if not named or named[-1] == "auto" else named[-1]
