"""Batches of frames: one conditioning for several, as the networks take them, [without the prompt x B, with it x B]."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from edit.diffusion.model import Conditioning


def stacked(parts: Sequence[Conditioning]) -> Conditioning:
    """Stack the conditionings of single frames, which share their guidance, into that of a batch."""
    first = parts[0]
    if len(parts) == 1:
        return first
    halves = 2 if first.guided else 1
    added = first.added and {name: _batched([part.added[name] for part in parts], halves) for name in first.added}  # type: ignore[index]
    image = first.image and [
        _batched(list(entries), halves) for entries in zip(*(part.image or () for part in parts), strict=True)
    ]
    if isinstance(first.controls, list):
        controls: Any = [_batched(list(entries), halves) for entries in zip(*(part.controls for part in parts), strict=True)]
    else:
        controls = _batched([part.controls for part in parts], halves)
    text = _batched([part.text for part in parts], halves)
    return replace(first, text=text, controls=controls, added=added, image=image)


def _batched(tensors: Sequence[Tensor], halves: int) -> Tensor:  # each (halves, ...) -> (halves * B, ...)
    return torch.stack([tensor.unflatten(0, (halves, -1)) for tensor in tensors], 1).flatten(0, 2)


def in_batches(frames: Sequence[int], size: int, do: Callable[[Sequence[int]], Tensor]) -> Tensor:  # (F, C, h, w)
    """Do something for frames, `size` of them at a time, and join what comes out."""
    return torch.cat([do(frames[start : start + size]) for start in range(0, len(frames), size)])
