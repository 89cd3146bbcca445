"""Outputs of a fit: maps, atlases and light of the model, as later stages read them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from atlas.clip.clip import Clip
from atlas.fitting.data import FitData
from atlas.maps.maps import MapsWriter, write_atlas, write_light
from atlas.model.layered import LayeredAtlas
from atlas.system.parallel import in_order


def write_maps(model: LayeredAtlas, data: FitData, folder: Path) -> None:
    """Evaluate the model's uv and opacity in every frame and write them below `folder`."""
    device = model.atlas(0).device
    clip = data.clip

    def evaluated(t: int) -> tuple[np.ndarray, np.ndarray]:
        uv, opacity = model.frame_maps(t, torch.from_numpy(data.depth(t)).to(device))
        return uv.cpu().numpy(), opacity.cpu().numpy()

    with MapsWriter(folder, clip.layers, clip.frames, clip.height, clip.width) as writer:
        for uv, opacity in in_order(evaluated, range(clip.frames)):
            writer.append_frame(dict(zip(clip.layers, uv, strict=True)), dict(zip(clip.layers, opacity, strict=True)))


def write_layers(model: LayeredAtlas, clip: Clip, folder: Path) -> None:
    """Write each layer's atlas image and light below `folder`, beside its maps."""

    def write(index: int) -> None:
        layer, atlas = clip.layers[index], model.atlas(index).cpu().numpy()
        # Pixels leave pinholes between them where the atlas is finer than the frames: closed, or a painter meets dots.
        whole = cv2.morphologyEx(model.coverage(index).cpu().numpy(), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
        seen = np.clip(whole * 2, 0, 1)
        write_atlas(folder, layer, np.dstack([np.clip(atlas, 0, 1), seen]).astype(np.float32))
        write_light(folder, layer, model.lights[index].log_gain.exp().permute(1, 2, 3, 0).cpu().numpy())

    for _ in in_order(write, range(len(clip.layers))):
        pass
