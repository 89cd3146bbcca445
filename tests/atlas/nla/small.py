"""Layered Neural Atlases of a size that a test can afford; all else as published."""

from __future__ import annotations

import torch

from atlas.model.nla import NlaModel
from atlas.model.nla_config import NlaConfig

SMALL = {
    "number_of_channels_mapping1": 20,
    "number_of_layers_mapping1": 3,
    "number_of_channels_mapping2": 17,
    "number_of_layers_mapping2": 3,
    "number_of_channels_atlas": 24,
    "positional_encoding_num_atlas": 4,
    "number_of_channels_alpha": 16,
    "number_of_layers_alpha": 4,
    "positional_encoding_num_alpha": 3,
    "samples_batch": 300,
    "pretrain_iter_number": 6,
}
STEPS = 30


def model_of(seed: int = 0, **changes: int | bool | float) -> NlaModel:
    return NlaModel(NlaConfig(31, 20, 7, **(SMALL | changes)), torch.Generator().manual_seed(seed))
