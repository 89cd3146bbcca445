"""What a strategy is asked for, what it may look at, and what it has to say of itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from edit.diffusion.denoise import Start, own_generator

DependsOn = Literal["all", "last", "first", "none"]


@dataclass
class Propagated:
    """What earlier keyframes show of the layer in this view, at the model's size."""

    image: np.ndarray
    """(H, W, 3) float32, carried on smoothly where nothing is known."""
    coverage: np.ndarray
    """(H, W) how well it is known, [0, 1]."""
    opacity: np.ndarray
    """(H, W) of the layer: what is known matters only where the layer is."""


@dataclass
class View:
    """A keyframe that is about to be edited, as a strategy sees it."""

    index: int
    seed: int
    position: int
    """How many keyframes were edited before this one."""
    shape: tuple[int, int, int]
    """(C, h, w) of its latent."""
    first_shape: tuple[int, int, int]
    """(C, h, w) of the first keyframe's latent."""
    strength: float
    hold: float
    encode: Callable[[np.ndarray, torch.Generator], Tensor]
    """An (H, W, 3) image of any size as a latent of this keyframe."""
    previous: Callable[[], np.ndarray]
    """The keyframe that was edited just before, as the model made it, (H, W, 3)."""
    propagated: Callable[[], Propagated]
    """What the keyframes edited before this one show in its view."""

    @property
    def is_first(self) -> bool:
        """Whether no keyframe was edited before it."""
        return self.position == 0

    def generator(self) -> torch.Generator:
        """This keyframe's own."""
        return own_generator(self.seed, self.index, is_first=self.is_first)


class Strategy(ABC):
    """A way of keeping keyframes alike."""

    depends_on: ClassVar[DependsOn]
    """Which keyframes edited earlier decide what this makes of one: all of them, the last one, the first one's size, or none.
    What is cached is made again when they change: a wrong default would show an old picture, so there is none."""

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        if vars(cls).get("depends_on") not in get_args(DependsOn):  # nor does one that is derived from another inherit it
            raise TypeError(f"the strategy {cls.__name__} has to say what it depends on: {', '.join(get_args(DependsOn))}")

    @abstractmethod
    def start(self, view: View) -> Start:
        """What the denoising of this keyframe starts from."""
