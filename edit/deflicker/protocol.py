"""What a way of deflickering is given, and what it has to offer: a stack of frames in, a better stack out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from atlas.maps.views import ViewMaps
from atlas.storage.stack import FrameStack

if TYPE_CHECKING:
    from edit.deflicker.options import DeflickerOptions


@dataclass(frozen=True)
class Guides:
    """What is known of the frames beside themselves, all at the size of their stack (H, W)."""

    source: Callable[[int], np.ndarray]
    """The unedited frame of a number, (H, W, 3) float32 in [0, 1]."""
    maps: ViewMaps | None = None
    """Maps of the fit at the stack's size; None where there is no fit."""
    layers: tuple[str, ...] = ()
    """The layers that were edited, front to back; all of the fit's where whole frames were."""
    applies: Callable[[int], np.ndarray] | None = None
    """Where the edit of a frame applies, (H, W) float32 in [0, 1]; None: everywhere."""
    steady: bool = False
    """Whether a place of the stack is the same place of the frame throughout: a crop that follows a layer is not."""


class Deflicker(ABC):
    """A way of making frames agree, with its settings; one file each."""

    meaning: ClassVar[str]
    """In a few words, as it stands in the command's help."""
    needs_maps: ClassVar[bool] = False
    """Whether it cannot do without a fit."""
    version: ClassVar[int] = 1
    """To be raised when the same input gives another result."""

    @classmethod
    @abstractmethod
    def of(cls, options: DeflickerOptions) -> Deflicker:
        """Make it from the options of the command; what was not given there (None) keeps its default."""

    @property
    def takes_maps(self) -> bool:
        """Whether it makes use of a fit where there is one."""
        return self.needs_maps

    @abstractmethod
    def agree(
        self,
        frames: FrameStack,
        guides: Guides,
        result: FrameStack,
        *,
        device: torch.device | str = "cpu",
        quiet: bool = True,
    ) -> None:
        """Write to `result` (another stack of the same shape) frames that agree better than `frames`.

        Frames are read and written one by one: memory does not grow with their number. The same input gives the same bytes.
        """

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What decides the result beside frames and guides, JSON-ready: its name, its settings."""
