"""Deep video prior: a small network learns to make the edit out of the source, and learns its flicker last. Needs no fit.

Lei, Xing, Chen, Blind Video Temporal Consistency via Deep Video Prior, NeurIPS 2020; and with propagation, TPAMI 2023.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch

from atlas.storage.stack import FrameStack
from atlas.system.progress import Progress
from edit.deflicker.protocol import Deflicker, Guides
from edit.deflicker.video_prior.bands import low_bands
from edit.deflicker.video_prior.footage import resized, shrunk_footage
from edit.deflicker.video_prior.judging import moves
from edit.deflicker.video_prior.training import Training, train

if TYPE_CHECKING:
    from edit.deflicker.options import DeflickerOptions

Detail = Literal["keep", "prior"]
_SHARE = 0.04  # of the width: how wide the low-pass is


@dataclass(frozen=True)
class _Size:
    """How large the network is, and at which size and pace it works."""

    width: int
    longest: int
    learning_rate: float


# Low frequencies are learned as well at a small size.
_USUAL: dict[Detail, _Size] = {"keep": _Size(8, 128, 1e-3), "prior": _Size(16, 512, 3e-4)}


@dataclass(frozen=True)
class PriorDeflicker(Deflicker):
    """Deflickering by Deep Video Prior: a U-Net trained on this clip alone, from source frame to edited frame.

    Its limits: where frames of a still scene look alike, it shows their mean; where the light of the source changes, it
    follows; where two places of the source look alike and were edited differently, it blurs. Flicker in fine detail stays
    with `detail` "keep".
    """

    meaning: ClassVar[str] = (
        "a small network trained to make the edit out of the source, which learns flicker last; no fit needed"
    )

    epochs: int = 25
    """All frames are shown so often at most; training ends before when neighbouring frames say that flicker is learned."""
    detail: Detail = "keep"
    """`keep` takes low frequencies from the network and detail from the edit: edit + k G * (network - edit), with a Gaussian G
    of 4 % of the width, and k in [0, 1] by how much of it is flicker (`edit.deflicker.video_prior.judging`), so that a clean
    edit stays. `prior` is the network's own output, as published; short clips need more epochs then."""
    irt: bool = False
    """Two outputs, of which the main one is shown: for edits that look one way in some frames and another way in others."""
    width: int | None = None
    """Channels of the network's finest level (published: 32). None: 8, and 16 with `detail` "prior"."""
    longest: int | None = None
    """Pixels of the longer side at which the network works. None: 128, and 512 with `detail` "prior"."""
    learning_rate: float | None = None
    """Of Adam (published: 1e-4, on clips of 80 frames and more). None: 1e-3, and 3e-4 with `detail` "prior"."""
    seed: int = 0

    @classmethod
    def of(cls, options: DeflickerOptions) -> PriorDeflicker:
        """Make it from the options of the command."""
        given = {name: getattr(options, name) for name in ("epochs", "detail", "irt", "seed")}
        return cls(**{name: value for name, value in given.items() if value is not None})

    def agree(
        self,
        frames: FrameStack,
        guides: Guides,
        result: FrameStack,
        *,
        device: torch.device | str = "cpu",
        quiet: bool = True,
    ) -> None:
        """Train on the frames and write what the network makes of them to `result`; smaller frames lie beside it meanwhile.

        A single frame has nothing to agree with and stays as it is.
        """
        if len(frames) == 1:
            result[0] = frames[0]
            return
        with shrunk_footage(frames, guides, result.path, self._size.longest, quiet=quiet) as footage:
            sigma = _SHARE * footage.size[1] if self.detail == "keep" else None
            prior = train(footage, self._training(sigma), device=device, quiet=quiet)
            far = moves(prior, footage, sigma) if sigma else np.ones(0)
            for index, frame in enumerate(Progress(frames, desc="prior", unit="frame", quiet=quiet, leave=False)):
                predicted = prior.predict(footage.source[index])
                if sigma is None:
                    change = resized(predicted, *frame.shape[:2]) - frame
                else:
                    edited = footage.edited[index]
                    bands = low_bands(predicted - edited[..., :3], edited[..., 3], sigma)
                    change = resized(np.tensordot(far, bands, 1), *frame.shape[:2])
                if guides.applies is not None:
                    change = change * guides.applies(index)[..., None]
                result[index] = frame + change

    def identity(self) -> dict[str, Any]:
        """Its name, version and settings."""
        return {"name": "prior", "version": self.version} | asdict(self) | asdict(self._size)

    @property
    def _size(self) -> _Size:
        usual = _USUAL[self.detail]
        return _Size(self.width or usual.width, self.longest or usual.longest, self.learning_rate or usual.learning_rate)

    def _training(self, sigma: float | None) -> Training:
        return Training(
            epochs=self.epochs,
            width=self._size.width,
            learning_rate=self._size.learning_rate,
            irt=self.irt,
            sigma=sigma,
            seed=self.seed,
        )
