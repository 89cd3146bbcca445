"""Checkpoints as Layered Neural Atlases write them, of random numbers, and what a plain evaluation makes of them."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from atlas.clip.clip import Clip
from atlas.maps.compositing import composite_frame, fit_textures
from atlas.maps.maps import Maps
from atlas.nla.importing import ImportOptions
from atlas.storage.images import write_image

WIDTH, HEIGHT, FRAMES = 40, 27, 4
CONFIG: dict[str, Any] = {
    "resx": WIDTH,
    "resy": HEIGHT,
    "maximum_number_of_frames": FRAMES,
    "data_folder": "data/clip",
    "uv_mapping_scale": 0.8,
    "number_of_channels_mapping1": 23,
    "number_of_layers_mapping1": 5,
    "use_positional_encoding_mapping1": False,
    "number_of_positional_encoding_mapping1": 4,
    "number_of_channels_mapping2": 11,
    "number_of_layers_mapping2": 3,
    "use_positional_encoding_mapping2": True,
    "number_of_positional_encoding_mapping2": 2,
    "number_of_channels_atlas": 37,
    "number_of_layers_atlas": 8,
    "positional_encoding_num_atlas": 8,
    "number_of_channels_alpha": 19,
    "number_of_layers_alpha": 7,
    "positional_encoding_num_alpha": 5,
}
State = dict[str, torch.Tensor]


def random_network(
    inputs: int, channels: int, layers: int, outputs: int, skips: tuple[int, ...], rng: torch.Generator
) -> State:
    """As torch begins a network."""
    state = {}
    for i in range(layers):
        width = inputs if i == 0 else channels + (inputs if i in skips else 0)
        height = outputs if i == layers - 1 else channels
        for part, shape in (("weight", (height, width)), ("bias", (height,))):
            state[f"hidden.{i}.{part}"] = (torch.rand(shape, generator=rng) * 2 - 1) / math.sqrt(width)
    return state


def random_checkpoint(seed: int = 0) -> dict[str, Any]:
    rng = torch.Generator().manual_seed(seed)
    return {
        "F_atlas_state_dict": random_network(2 * 2 * 8, 37, 8, 3, (4, 7), rng),
        "iteration": 400_000,
        "model_F_mapping1_state_dict": random_network(3, 23, 5, 2, (), rng),
        "model_F_mapping2_state_dict": random_network(2 * 3 * 2, 11, 3, 2, (), rng),
        "model_F_alpha_state_dict": random_network(2 * 3 * 5, 19, 7, 1, (), rng),
        "optimizer_all_state_dict": {"state": {0: {"step": 3}}, "param_groups": [{"lr": 1e-4, "params": [0]}]},
    }


def plain(state: State, point: np.ndarray, octaves: int, skips: tuple[int, ...] = ()) -> np.ndarray:
    """One point through one network."""
    encoded = point.astype(np.float64)
    if octaves:
        waves = []
        for k in range(octaves):
            waves += [np.sin(2.0**k * np.pi * encoded), np.cos(2.0**k * np.pi * encoded)]
        encoded = np.concatenate(waves)
    values = encoded
    for i in range(len(state) // 2):
        if i > 0:
            values = np.maximum(values, 0)
        if i in skips:
            values = np.concatenate([values, encoded])
        values = state[f"hidden.{i}.weight"].double().numpy() @ values + state[f"hidden.{i}.bias"].double().numpy()
    return np.tanh(values)


def plain_frame(checkpoint: dict[str, Any], t: int, count: int = FRAMES) -> np.ndarray:
    """Frame `t` pixel by pixel, (H, W, 3) in [0, 1]."""
    image = np.zeros((HEIGHT, WIDTH, 3))
    half = max(WIDTH, HEIGHT) / 2
    for y in range(HEIGHT):
        for x in range(WIDTH):
            point = np.array([x / half - 1, y / half - 1, t / (count / 2) - 1])
            fore = plain(checkpoint["model_F_mapping1_state_dict"], point, 0) * 0.5 + 0.5
            back = plain(checkpoint["model_F_mapping2_state_dict"], point, 2) * 0.5 - 0.5
            alpha = 0.99 * (0.5 * (plain(checkpoint["model_F_alpha_state_dict"], point, 5)[0] + 1)) + 0.001
            colours = [(plain(checkpoint["F_atlas_state_dict"], uv, 8, (4, 7)) + 1) * 0.5 for uv in (fore, back)]
            image[y, x] = alpha * colours[0] + (1 - alpha) * colours[1]
    return image


def write_folder(folder: Path, checkpoint: Any = None, config: dict[str, Any] = CONFIG, frames: int = FRAMES) -> Path:
    """A folder as StableVideo has it: FOLDER/{config.json,checkpoint}, FOLDER/<its name>/00000.png, larger than trained."""
    (folder / folder.name).mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    torch.save(random_checkpoint() if checkpoint is None else checkpoint, folder / "checkpoint")
    rng = np.random.default_rng(0)
    noise = cv2.resize(rng.random((10, 14, 3)), (80, 54), interpolation=cv2.INTER_CUBIC)
    for t in range(frames):
        write_image(folder / folder.name / f"{t:05d}.png", np.roll(noise, 2 * t, 1))
    return folder


def options(folder: Path, clip: Path, **changes: object) -> ImportOptions:
    return replace(ImportOptions(folder=folder, clip=clip, quiet=True, device="cpu"), **changes)


def off_by(clip: Clip, checkpoint: dict[str, Any], t: int, count: int = FRAMES, fit: str = "default") -> float:
    """Largest difference of the rendered layers from a plain evaluation, in 8-bit steps."""
    maps = Maps(clip.fit_folder(fit))
    found = composite_frame(t, maps, fit_textures(maps))
    return float(np.abs(found - plain_frame(checkpoint, t, count)).max() * 255)
