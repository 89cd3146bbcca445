"""Propagation from keyframe to keyframe, without weights, against the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from atlas.clip.clip import Clip
from atlas.maps.maps import Maps
from atlas.sample.scene import Sample
from edit.diffusion.crop import Crop
from edit.diffusion.denoise import Start
from edit.editors import EditOptions
from edit.editors.prompt_keyframes import PromptKeyframes
from edit.editors.protocol import FittedLayer, Keyframe

CELL = 4


class Toy:
    """A model without weights: its latent is the picture itself, cell by cell, so that nothing is lost."""

    size, factor, channels = 128, CELL, 3 * CELL * CELL
    device, dtype = torch.device("cpu"), torch.float32

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        return self.channels, height // CELL, width // CELL

    def condition(self, *given: Any) -> None:
        pass

    def encode(self, image: np.ndarray, generator: torch.Generator) -> Tensor:
        return F.pixel_unshuffle(torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None], CELL)

    def decode(self, latents: Tensor) -> np.ndarray:
        return F.pixel_shuffle(latents, CELL)[0].permute(1, 2, 0).clamp(0, 1).numpy()

    def finish(self) -> None:
        pass


class ToySources:
    """What the editor asks for, with the toy in the place of weights."""

    device = torch.device("cpu")

    def model(self) -> Toy:
        return Toy()

    def controls(self, image: np.ndarray, crop: Crop, frame: int) -> list[np.ndarray]:
        return []

    def image_prompt(self) -> None:
        return None

    def identity(self) -> dict[str, Any]:
        return {}

    def control_identity(self, index: int) -> None:
        return None


def textured(atlas: np.ndarray) -> np.ndarray:  # (N, N, 4) -> (N, N, 3)
    size = len(atlas)
    y, x = np.mgrid[:size, :size] / size
    waves = 0.4 + 0.3 * np.stack([np.sin(25 * x), np.cos(20 * y + 8 * x), np.sin(22 * (x - y))], -1)
    return (0.4 * atlas[..., :3] + 0.6 * waves).astype(np.float32)


@pytest.mark.parametrize(("layer", "first", "second"), [("foreground", 5, 0), ("background", 2, 9)])
def test_an_edit_moves_with_the_layer(
    sample: Sample, sample_clip: Clip, tmp_path: Path, layer: str, first: int, second: int
) -> None:
    """The denoiser returns its own start. The first keyframe is given the true edit; where that was seen the second one
    shows it at its own place, and noise elsewhere."""
    truth = np.clip(sample.render({layer: textured(sample.atlases[layer])}), 0, 1).astype(np.float32)
    maps = Maps(sample_clip.fit_folder("truth"))
    masks: list[Tensor] = []

    def returns_its_start(model: Toy, start: Start, **_: Any) -> Tensor:
        if start.known is None:
            crop = Crop.around(maps.opacity(layer, first), Toy.size)
            assert crop is not None
            return model.encode(crop.cut(truth[first]), start.generator)
        mask = torch.ones_like(start.noise[:, :1], dtype=torch.bool) if start.mask is None else start.mask
        masks.append(mask)
        return torch.where(mask, start.known, start.noise)

    options = EditOptions(clip=sample_clip.folder, name="test", layer=layer, editor="diffusion", prompt="a toy", quiet=True)
    order, fitted = [first, second], FittedLayer(sample_clip, maps, layer, tmp_path)
    editor = PromptKeyframes(options, fitted, ToySources(), order, denoise=returns_its_start)  # type: ignore[arg-type]
    frames = [sample_clip.frame(index).astype(np.float32) / 255 for index in order]
    edited = [editor.edit(Keyframe(i, f, maps.opacity(layer, i))) for i, f in zip(order, frames, strict=True)]

    crop = Crop.around(maps.opacity(layer, second), Toy.size)
    assert crop is not None
    cells = masks[0][0, 0].numpy().astype(np.float32)
    known = np.zeros(frames[1].shape[:2], np.float32)
    known[crop.box] = np.floor(_shrunk(np.kron(cells, np.ones((CELL, CELL), np.float32)), crop) + 1e-3)
    inside = maps.opacity(layer, second) > 0.99
    seen, unseen = inside & (known == 1), inside & (known == 0)
    error = ((edited[1][..., :3] - truth[second]) ** 2).mean(-1)
    decibels = -10 * np.log10(error[seen].mean())
    assert seen.sum() > 0.4 * inside.sum()
    assert decibels >= 30
    # What it would be without moving: the first keyframe's picture at the same place.
    still = ((edited[0][..., :3] - truth[second]) ** 2).mean(-1)
    assert -10 * np.log10(still[seen].mean()) < decibels - 8
    if layer == "background":
        assert unseen.sum() > 50 and -10 * np.log10(error[unseen].mean()) < 15


def _shrunk(image: np.ndarray, crop: Crop) -> np.ndarray:
    import cv2

    return cv2.resize(image, (crop.right - crop.left, crop.bottom - crop.top), interpolation=cv2.INTER_AREA)
