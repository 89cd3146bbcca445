"""Patches: what other frames show where the source looks alike, found by PatchMatch and blended. Needs no fit.

After FastBlend (2023), without the defects of its released code: images are rounded and not cut off, and stay floats
between the steps; offsets keep to their own axes; the accurate mode joins all frames of a window.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch

from atlas.errors import UserError
from atlas.geometry.patch_match import Search
from atlas.storage.stack import FrameStack
from atlas.system.progress import Progress
from edit.deflicker.blending import table_means, window_means
from edit.deflicker.protocol import Deflicker, Guides
from edit.deflicker.remapping import Matching, Remapping, Start

if TYPE_CHECKING:
    from edit.deflicker.options import DeflickerOptions

Mode = Literal["balanced", "fast", "accurate"]
_NEARBY = Search(sizes=(3, 3), levels=1, searches=1)
"""For a start that is right within a pixel or two. Sizes 7 and 5 with three searches take nearly twice the time, the start
included, and come within 0.1 dB (12 frames of the sample and of `blackswan`, flow +-2)."""


@dataclass(frozen=True)
class PatchDeflicker(Deflicker):
    """Deflickering by PatchMatch: each frame becomes the mean of itself and of its neighbours, remapped patch by patch."""

    meaning: ClassVar[str] = "patches of the other frames that look alike in the source, averaged; no fit needed"

    window: int = 2
    """Frames before and after each that it is blended with. From 2 to 4 clouds of flicker lost 1 dB more and all disturbances
    together 1.3 dB, at twice the time; a clean edit fell from 38.1 to 36.1 dB (sample, 32 frames of 240x136, start flow)."""
    mode: Mode = "balanced"
    """`balanced` remaps every frame of the window: 2 window n fields; `fast` about n log n; `accurate` seeks them together."""
    start: Start | None = None
    """Where the search begins: at the same place, along the source's flow, at the same texel. None: atlas if there is a fit."""
    search: Search | None = None
    """How patches are searched. None: as published from the same place, a short search on one level from flow or atlas."""
    trust: float | None = 0.05
    """How far a remap of the source may be off, summed over colours, to weigh exp(-1/2). None: as published, all alike."""
    seed: int = 0

    @classmethod
    def of(cls, options: DeflickerOptions) -> PatchDeflicker:
        """Make it from the options of the command."""
        given = {name: getattr(options, name) for name in ("window", "mode", "start", "seed")}
        return cls(**{name: value for name, value in given.items() if value is not None})

    @property
    def takes_maps(self) -> bool:
        """Whether the search may begin at the same texel."""
        return self.start in (None, "atlas")

    def agree(
        self,
        frames: FrameStack,
        guides: Guides,
        result: FrameStack,
        *,
        device: torch.device | str = "cpu",
        quiet: bool = True,
    ) -> None:
        """Write the blended frames to `result`; where the edit does not apply they are as they were.

        Tables of the fast mode lie beside the result meanwhile. UserError where the start is the atlas and there is no fit.
        """
        if self.start == "atlas" and guides.maps is None:
            raise UserError("--start atlas needs a fit: choose --start flow, or fit the clip first")
        remap = Remapping(self._matching(guides), guides, torch.device(device)).remap
        ones = np.ones(frames.shape[1:3], np.float32)

        def image(number: int) -> np.ndarray:
            weight = ones if guides.applies is None else guides.applies(number)
            return np.dstack([frames[number], weight])

        if self.mode == "fast":
            table = result.path.with_suffix(".table")
            means = table_means(image, len(frames), remap, self.window, table, quiet=quiet)
        else:
            means = window_means(image, len(frames), remap, self.window)
        with closing(means):
            for number, mean in enumerate(Progress(means, desc="patches", unit="frame", total=len(frames), quiet=quiet)):
                applies = image(number)[..., -1:] > 0
                result[number] = np.where(applies, mean[..., :-1], frames[number])

    def identity(self) -> dict[str, Any]:
        """Its name and its settings, JSON-ready."""
        return {"name": "patches", "version": self.version} | asdict(self)

    def _matching(self, guides: Guides) -> Matching:
        start = self.start or ("atlas" if guides.maps is not None else "flow")
        search = self.search or (Search() if start == "identity" else _NEARBY)
        return Matching(start, search, self.trust, joint=self.mode == "accurate", seed=self.seed)
