"""Agreement inside sampling: clean estimates are decoded, made to agree, and what that changed is added to the latents.

    X = decode(x0);   Y = agree(X);   delta: x0 + encode(Y) - encode(X)      direct: encode(Y)

In delta form the autoencoder's own loss cancels and does not add up over the steps; an agreement that changes nothing leaves
the latents to the bit. The direct form is the published one (DiffSynth).
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from atlas.storage.images import to_uint8, write_image
from atlas.storage.stack import FrameStack
from atlas.system.decoration import decoration
from atlas.video.sheet import contact_sheet, spread, thumbnail
from edit.all_frames.scene import Scene
from edit.deflicker.protocol import Deflicker
from edit.diffusion.careful import overflow
from edit.diffusion.model import StableDiffusion
from edit.recipes.recipe import AgreeForm

_SHEET_FRAMES = 6


class Agreement:
    """Makes clean estimates of all frames agree. Decoded frames are on the disk, never all in memory.

    ways: deflickering, one after the other; sheets: folder for a sheet of each step, some frames before and after.
    """

    def __init__(
        self,
        model: StableDiffusion,
        scene: Scene,
        ways: Sequence[Deflicker],
        form: AgreeForm,
        folder: Path,
        sheets: Path,
        *,
        quiet: bool = True,
    ) -> None:
        self.model, self.scene, self.ways, self.form = model, scene, ways, form
        self.folder, self.sheets, self.quiet = folder, sheets, quiet

    def __call__(self, estimates: Tensor, index: int) -> Tensor:  # (F, C, h, w) -> (F, C, h, w)
        """Measure what agreement changes of the estimates at step `index`."""
        shape = self.scene.shape
        with FrameStack(self.folder / "decoded.bin", shape) as decoded, FrameStack(self.folder / "agreed.bin", shape) as agreed:
            for frame, estimate in enumerate(estimates):
                decoded[frame] = decoded_frame(self.model, estimate, f"frame {frame} at step {index + 1}")
            deflickered(self.ways, decoded, self.scene, agreed, self.folder, self.model.device, quiet=self.quiet)
            with decoration(f"a sheet of step {index + 1}"):
                self._write_sheet(decoded, agreed, index)
            return torch.stack([self._change(estimates[f], decoded[f], agreed[f]) for f in range(len(estimates))])

    def _change(self, estimate: Tensor, before: np.ndarray, after: np.ndarray) -> Tensor:
        new = encoded(self.model, after)
        return new - (encoded(self.model, before) if self.form == "delta" else estimate)

    def _write_sheet(self, decoded: FrameStack, agreed: FrameStack, index: int) -> None:
        columns = [
            (str(frame), [thumbnail(to_uint8(stack[frame])) for stack in (decoded, agreed)])
            for frame in spread(len(decoded), _SHEET_FRAMES)
        ]
        write_image(self.sheets / f"{index + 1:02d}.jpg", contact_sheet(columns))


def decoded_frame(model: StableDiffusion, latent: Tensor, what: str) -> np.ndarray:  # (C, h, w) -> (H, W, 3) float32
    """Decode one frame's latent; UserError where that gives no numbers."""
    image = model.decode(latent[None].to(model.device, model.dtype))
    if image is None:
        raise overflow(model, what)
    return image


def encoded(model: StableDiffusion, image: np.ndarray) -> Tensor:  # (H, W, 3) -> (C, h, w) float32
    """Encode one frame as its latent's mean: the same picture gives the same latent."""
    return model.encode(image, None)[0].float().cpu()


def deflickered(
    ways: Sequence[Deflicker],
    frames: FrameStack,
    scene: Scene,
    result: FrameStack,
    folder: Path,
    device: torch.device,
    *,
    quiet: bool,
) -> None:
    """Deflicker a stack by several ways, one after the other, the last one into `result`."""
    with contextlib.ExitStack() as stack:
        for number, way in enumerate(ways[:-1]):
            between = stack.enter_context(FrameStack(folder / f"between-{number}.bin", frames.shape))
            way.agree(frames, scene.guides, between, device=device, quiet=quiet)
            frames = between
        ways[-1].agree(frames, scene.guides, result, device=device, quiet=quiet)
