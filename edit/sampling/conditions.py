"""Conditioning of frames: a prompt encoded once for all that it holds for, control images read from stacks on the disk."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from atlas.storage.images import to_uint8
from atlas.storage.stack import FrameStack
from edit.diffusion.batch import stacked
from edit.diffusion.model import Conditioning, StableDiffusion


class FrameConditions:
    """What the networks are told of each frame: its prompt and its control images, (H, W, 3) of one size."""

    def __init__(
        self,
        model: StableDiffusion,
        prompts: Sequence[str],
        negative: str,
        guidance: float,
        controls: Sequence[FrameStack],
        scales: Sequence[float],
        image_prompt: np.ndarray | None = None,  # (H, W, 3) uint8
        numbers: Sequence[int] | None = None,  # of the frames in the stacks; None: all of them
    ) -> None:
        self.model, self.prompts, self.controls, self.scales = model, list(prompts), list(controls), list(scales)
        self.numbers = range(len(self.prompts)) if numbers is None else numbers
        size = self.controls[0].shape[1:3]
        self._worded = lru_cache(maxsize=None)(
            lambda prompt: model.worded(prompt, negative, guidance, size, image_prompt, self.prompts)
        )

    @property
    def halves(self) -> int:
        """Entries of a frame in a batch: 2 where the prompt is set against the negative one."""
        return 2 if self._worded(self.prompts[0]).guided else 1

    def batch(self, frames: Sequence[int], prompt: str | None = None) -> Conditioning:
        """Condition a batch of frames, each under its own prompt, or all under the one of their window."""
        return stacked([self._of(self.prompts[frame] if prompt is None else prompt, self._images(frame)) for frame in frames])

    def grid(self, frames: Sequence[int], columns: int) -> Conditioning:
        """Condition frames laid out as one picture, row by row, under the prompt of the first."""
        rows = [frames[start : start + columns] for start in range(0, len(frames), columns)]
        images = [[self._images(frame) for frame in row] for row in rows]
        whole = [
            np.concatenate([np.concatenate([entry[kind] for entry in row], 1) for row in images])
            for kind in range(len(self.controls))
        ]
        return self._of(self.prompts[frames[0]], whole)

    def _of(self, prompt: str, images: Sequence[np.ndarray]) -> Conditioning:
        return self.model.controlled(self._worded(prompt), images, self.scales)

    def _images(self, frame: int) -> list[np.ndarray]:
        return [to_uint8(stack[self.numbers[frame]]) for stack in self.controls]
