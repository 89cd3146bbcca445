"""The --device option, and the torch device behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

from atlas.errors import UserError

Device = Literal["auto", "cpu", "cuda", "mps"]
"""Where to compute, as every --device takes it."""


def choose_device(name: str) -> torch.device:
    """The device for "auto", "cpu", "cuda" or "mps"; auto is CUDA where it is present, else the CPU.

    Apple's GPU is taken where it is asked for only: nobody has measured it yet. UserError where a device is not there.
    """
    import torch  # not with the options: --help is there at once

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = "cuda" if there["cuda"] else "cpu"
    if not there.get(name, False):
        raise UserError(f"--device {name}: torch finds no such device here; use --device cpu")
    return torch.device(name)
