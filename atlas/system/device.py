"""The torch device behind a --device option."""

from __future__ import annotations

import torch

from atlas.errors import UserError


def choose_device(name: str) -> torch.device:
    """The device for "auto", "cpu", "cuda" or "mps"; auto is CUDA where it is present, else the CPU.

    Apple's GPU is taken where it is asked for only: nobody has measured it yet. UserError where a device is not there.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = "cuda" if there["cuda"] else "cpu"
    if not there.get(name, False):
        raise UserError(f"--device {name}: torch finds no such device here; use --device cpu")
    return torch.device(name)
