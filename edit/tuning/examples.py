"""Examples that a model is tuned on: latents, prompt and control images of a frame, computed once and kept in main memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from edit.diffusion.model import Conditioning, StableDiffusion

_WITHOUT, _WITH = 0, 1  # halves of a guided prediction
_GUIDED = 2.0  # any guidance that makes both of them


@dataclass(frozen=True)
class Example:
    """What one step of tuning learns from; all of it on the CPU."""

    source: Tensor
    """(1, C, h, w) latent that is noised."""
    conditioning: Conditioning
    """Prompt and control images, unguided."""
    target: Tensor | None = None
    """(1, C, h, w) latent that denoising is to end at; None: `source` itself."""
    mask: Tensor | None = None
    """(1, 1, h, w) in [0, 1], how far a cell counts; None: all of them do."""
    foreground: Tensor | None = None
    """(1, 1, h, w) in [0, 1]; with it foreground and background count once more, each for itself."""

    def digest(self) -> str:
        """SHA-256 of all its numbers."""
        total = hashlib.sha256(repr(self.conditioning.scales).encode())
        for tensor in self._tensors():
            total.update(repr(tuple(tensor.shape)).encode())
            total.update(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return total.hexdigest()

    def _tensors(self) -> Iterator[Tensor]:
        known, controls = self.conditioning, self.conditioning.controls
        yield from (tensor for tensor in (self.source, self.target, self.mask, self.foreground) if tensor is not None)
        yield from (known.text, *(controls if isinstance(controls, list) else [controls]))
        yield from (*(known.added or {}).values(), *(known.image or ()))


class ExampleMaker:
    """Makes examples of frames at the model's size with a loaded model. Latents are the autoencoder's means."""

    def __init__(
        self,
        model: StableDiffusion,
        scales: Sequence[float],  # of the ControlNets
        image_prompt: np.ndarray | None = None,  # (H, W, 3) uint8
    ) -> None:
        self.model, self.scales, self.image_prompt = model, scales, image_prompt
        self._worded: dict[tuple[str, int, int], Conditioning] = {}

    def unconditional(
        self,
        frame: np.ndarray,  # (H, W, 3) float32 in [0, 1]
        controls: Sequence[np.ndarray],  # each (H, W, 3) uint8
    ) -> Example:
        """A frame without a prompt: what guidance sets the prompt against is to stay the frame."""
        return Example(self._latent(frame), self._conditioning("", controls, _WITHOUT))

    def pair(
        self,
        frame: np.ndarray,  # (H, W, 3) float32 in [0, 1]
        edited: np.ndarray,  # (H, W, 3) float32 in [0, 1]
        prompt: str,
        controls: Sequence[np.ndarray],  # each (H, W, 3) uint8, of the frame
        covered: np.ndarray | None = None,  # (H, W) in [0, 1], how well the edit is known; None: wholly
    ) -> Example:
        """A frame and its edit: with the prompt, denoising that starts from the one is to end at the other."""
        source = self._latent(frame)
        mask = None if covered is None else at_latent_size(covered, source)
        return Example(source, self._conditioning(prompt, controls, _WITH), self._latent(edited), mask)

    def result(
        self,
        frame: np.ndarray,  # (H, W, 3) float32 in [0, 1], as it was sampled and made to agree
        prompt: str,
        controls: Sequence[np.ndarray],  # each (H, W, 3) uint8
        foreground: np.ndarray | None = None,  # (H, W) in [0, 1], opacity of all layers but the background
    ) -> Example:
        """A sampled frame with its prompt, for combined tuning: the model is to make such frames from noise."""
        source = self._latent(frame)
        front = None if foreground is None else at_latent_size(foreground, source)
        return Example(source, self._conditioning(prompt, controls, _WITH), foreground=front)

    def _latent(self, image: np.ndarray) -> Tensor:  # (1, C, h, w) float32 on the CPU
        return self.model.encode(image, None).float().cpu()

    def _conditioning(self, prompt: str, controls: Sequence[np.ndarray], half: int) -> Conditioning:
        height, width = (int(side) for side in controls[0].shape[:2])
        known = (prompt, height, width)
        if known not in self._worded:
            self._worded[known] = self.model.worded(prompt, "", _GUIDED, (height, width), self.image_prompt)
        both = self.model.controlled(self._worded[known], controls, self.scales)
        return both.half(half).to(device=torch.device("cpu"))


def at_latent_size(
    image: np.ndarray,  # (H, W)
    latent: Tensor,  # (1, C, h, w)
) -> Tensor:  # (1, 1, h, w) float32
    """Shrink a mask of pixels to the cells of a latent: each holds the mean over its area."""
    pixels = torch.from_numpy(np.ascontiguousarray(image)).float()
    return F.adaptive_avg_pool2d(pixels[None, None], (latent.shape[-2], latent.shape[-1]))
