"""Frames made to agree through the atlas: what all of them say of a texel is averaged there, light divided out and put back.

    P_i, W_i = what frame i says of the atlas, and how surely        mean = sum_i W_i P_i / sum_i W_i
    delta:     y_i = x_i + sum over layers of opacity * light * (mean - P_i)(uv)
    replace:   y_i = x_i + sum over layers of opacity * (light * mean(uv) - x_i)

In delta form what resampling loses is lost by both terms and cancels: grain and detail stay, and where a frame says what the
mean says nothing changes. At outlines and at the frame's border, where a frame does not know its texels, and where it is not
trusted, it takes on the change of what lies beside. Relatives: SyncTweedies (Kim et al. 2024) averages views in a canonical
space; All-In-One Deflicker (Lei et al. 2023) fits an atlas to the flickering video itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from atlas.maps.views import ViewMaps
from atlas.maps.votes.sheet import PerFrame, Pixels, Sheet
from atlas.maps.votes.votes import Mean, Votes
from atlas.storage.stack import FrameStack
from atlas.system.progress import Progress

Form = Literal["delta", "replace"]
_ROUNDS = 2  # of reweighting
DENSITY: dict[Form, float] = {"delta": 0.9, "replace": 1.35}
"""Texels across a pixel. Finer, a frame's own view has holes, which the mean of many has not; coarser, flicker of fine detail
stays in the frames, or the mean is blurred. Measured on the sample and on blackswan, 0.7 to 1.6."""


@dataclass(frozen=True)
class ConsensusSettings:
    """How frames agree."""

    form: Form = "delta"
    """Add what the mean differs by from the frame's own view of the atlas; or show the mean itself."""
    robust: bool = False
    """Whether the commoner of several looks wins, instead of their blend. The plain mean where all agree."""
    window: int | None = None
    """How many frames before and after it a frame agrees with; None: all of the clip."""
    gain: bool = False
    """Whether each frame's exposure is matched to the mean first: a gain for each colour and layer."""


def through_atlas(
    frames: FrameStack,  # T of (H, W, 3)
    maps: ViewMaps,
    layers: Sequence[str],
    result: FrameStack,
    settings: ConsensusSettings = ConsensusSettings(),
    *,
    applies: PerFrame | None = None,
    trust: PerFrame | None = None,
    device: torch.device | str = "cpu",
    quiet: bool = True,
) -> None:
    """Average frames in the atlases of `layers`, and write to `result` frames that agree on what all show of a texel.

    applies: where a frame's edit applies, (H, W) in [0, 1]: elsewhere it says nothing and stays; None: everywhere. trust: how
    far a frame shows what the maps say, (H, W) in [0, 1] (`atlas.maps.trust`); None: wholly. Frames are read one by
    one, twice or more; memory is that of an atlas for each layer, whatever the clip's length.
    """
    sheets = [Sheet(maps, layer, DENSITY[settings.form], applies, device) for layer in layers]
    means = zip(*(_means(Votes(frames, sheet, quiet=quiet), settings) for sheet in sheets), strict=True)
    for index, of_layers in enumerate(Progress(means, "agree", len(frames), unit="frame", quiet=quiet)):
        given = frames[index]
        changed, sure = given.copy(), trust(index) if trust else None
        for sheet, mean in zip(sheets, of_layers, strict=True):
            if pixels := sheet.pixels(index):
                pixels.add_to(changed, change_of(pixels, given, mean, settings.form, sure))
        result[index] = changed


def _means(votes: Votes, settings: ConsensusSettings) -> Iterator[Mean]:
    if settings.gain:
        votes.match_exposures()
    for _ in range(_ROUNDS if settings.robust else 0):
        votes.weigh_odd_looks_down()
    return votes.means(settings.window)


def change_of(
    pixels: Pixels,
    frame: np.ndarray,  # (H, W, 3)
    mean: Mean,
    form: Form = "delta",
    trust: np.ndarray | None = None,  # (H, W)
) -> Tensor:  # (M, 3)
    """Measure what the mean changes of a layer's pixels, light divided out."""
    unlit, agreed = pixels.unlit(frame), mean(pixels.footprint.box)
    sure = 1.0 if trust is None else pixels.picked(trust)
    if form == "replace":
        return sure * (pixels.footprint.look_up(agreed) - unlit)
    vote = pixels.vote(unlit)
    return pixels.carried_on(pixels.footprint.look_up(agreed - vote.colour), sure * pixels.certainty(vote))
