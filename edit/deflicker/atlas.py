"""Deflickering through the atlas: what all frames show of a texel of the fit's atlases is averaged there."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from atlas.errors import FIT, UserError
from atlas.maps.consensus import ConsensusSettings, Form, through_atlas
from atlas.maps.trust import source_trust
from atlas.storage.stack import FrameStack
from edit.deflicker.protocol import Deflicker, Guides

if TYPE_CHECKING:
    from edit.deflicker.options import DeflickerOptions


@dataclass(frozen=True)
class AtlasDeflicker(Deflicker):
    """Agreement through the atlas (`atlas.maps.consensus`); its fields are its settings."""

    meaning: ClassVar[str] = "what all frames show of a texel of the fit's atlases, averaged there"
    needs_maps: ClassVar[bool] = True

    form: Form = "delta"
    """`delta` keeps each frame's grain and detail, `replace` shows the mean."""
    robust: bool = False
    """Whether the commoner look wins instead of a blend."""
    window: int | None = None
    """Frames before and after that a frame agrees with; None: all."""
    trust: bool = True
    """Whether what averaging would change in the source itself stays each frame's own: it is no flicker."""
    gain: bool = False
    """Whether exposures are matched first. The command does: it takes half as long again, worth it once but not in each step
    of a sampling."""

    @classmethod
    def of(cls, options: DeflickerOptions) -> AtlasDeflicker:
        """Make it from the options of the command."""
        return cls(
            form=options.form or cls.form,
            robust=options.robust,
            window=options.window,
            trust=options.trust != "off",
            gain=options.gain != "off",
        )

    def agree(
        self,
        frames: FrameStack,
        guides: Guides,
        result: FrameStack,
        *,
        device: torch.device | str = "cpu",
        quiet: bool = True,
    ) -> None:
        """Write frames to `result` that agree through the atlases of `guides.layers`; UserError where there is no fit."""
        maps = guides.maps
        if maps is None:
            raise UserError(f"agreement through the atlas needs a fit: run {FIT} first")
        settings = ConsensusSettings(self.form, self.robust, self.window, self.gain)
        layers = guides.layers or maps.layers
        trust = source_trust(maps, guides.source, device, layers=layers, quiet=quiet) if self.trust else None
        through_atlas(
            frames,
            maps,
            layers,
            result,
            settings,
            applies=guides.applies,
            trust=trust,
            device=device,
            quiet=quiet,
        )

    def identity(self) -> dict[str, Any]:
        """Its name, version and settings."""
        return {"name": "atlas", "version": self.version} | asdict(self)
