"""Checkpoints: the model of a fit to a safetensors file and back, whatever its class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from atlas.errors import FIT, UserError, one_line
from atlas.model.fields import NetworkConfig
from atlas.model.layered import LayeredAtlas, Shape
from atlas.model.nla import NlaModel, parameter_shapes
from atlas.model.nla_config import published_config
from atlas.storage.stamps import read_json
from atlas.storage.tensor_file import Described
from atlas.storage.tensors import load_tensors, read_description, save_tensors

_MOST_LAYERS = 256


def save_model(path: Path, model: LayeredAtlas) -> None:
    """Write a model's parameters and shape."""
    save_tensors(path, model.state_dict(), {"shape": asdict(model.shape)})


def build_model(shape: Shape, mapping: NetworkConfig, opacity: NetworkConfig, seed: int) -> LayeredAtlas:
    """A model with fresh networks, drawn from the seed."""
    return LayeredAtlas(shape, mapping, opacity, torch.Generator().manual_seed(seed))


def load_model(path: Path, mapping: NetworkConfig, opacity: NetworkConfig) -> LayeredAtlas:
    """The model that `save_model` wrote; UserError where it does not fit the configs of its networks."""
    described, description = read_description(path)
    try:
        model = matching_model(shape_from_dict(description["shape"]), mapping, opacity, 0, described)
        model.load_state_dict(load_tensors(path)[0])
    except (KeyError, TypeError, ValueError, RuntimeError) as problem:
        raise UserError(f"{path} does not belong to its config.json ({one_line(problem)}): run {FIT} again") from None
    return model


def matching_model(
    shape: Shape, mapping: NetworkConfig, opacity: NetworkConfig, seed: int, described: Described
) -> LayeredAtlas:
    """A model with fresh networks; ValueError, before it is built, where the tensors that are to fill it are others.

    A few bytes of description must not ask for more memory than the file holds.
    """
    with torch.device("meta"):  # shapes alone
        empty = build_model(shape, mapping, opacity, seed).state_dict()
    _check_described(described, {name: tuple(tensor.shape) for name, tensor in empty.items()})
    return build_model(shape, mapping, opacity, seed)


def _check_described(described: Described, wanted: dict[str, tuple[int, ...]]) -> None:
    for name, size in wanted.items():
        if described[name] != ("F32", size):
            raise ValueError(f"{name} is not of the described size or type")
    if more := sorted(set(described) - set(wanted)):
        raise ValueError(f"{more[0][:60]} is not a part of it")


def save_nla_model(path: Path, model: NlaModel) -> None:
    """Write the networks as `hidden.{i}.weight|bias` of `mapping1`, `mapping2`, `alpha` and `atlas`."""
    save_tensors(path, model.state_dict(), {"nla": model.config.to_dict()})


def load_nla_model(path: Path) -> NlaModel:
    """The model that `save_nla_model` wrote; UserError where it is damaged."""
    described, description = read_description(path)
    try:
        config = published_config(description["nla"])
        _check_described(described, parameter_shapes(config))
        model = NlaModel(config, torch.Generator())
        model.load_state_dict(load_tensors(path)[0])
    except (KeyError, ValueError, RuntimeError) as problem:
        raise UserError(f"{path} is damaged or of another version ({one_line(problem)}): make the fit again") from None
    return model


class FrameModel(Protocol):
    """What `open_model` gives: a model whose maps can be evaluated at any size of the frame."""

    def frame_maps(self, index: int, depth: Tensor) -> tuple[Tensor, Tensor]:
        """uv (layers, H, W, 2) and visible opacity (layers, H, W) of a frame; depth (objects, H, W) also gives the size."""
        ...


def open_model(fit_folder: Path) -> FrameModel:
    """Load the model of a finished fit, of whatever kind it is; UserError where it has none or an older one."""
    data = read_json(fit_folder / "config.json")
    if not isinstance(data, dict):
        raise UserError(f"{fit_folder / 'config.json'} is no config of a fit: run {FIT} again")
    return LOADERS[kind_of(str(data.get("preset")))](fit_folder / "checkpoint.safetensors", data)


def kind_of(preset: str) -> str:
    """The kind of model that a preset fits: of its own name where there is one, else layered."""
    return preset if preset in LOADERS else LAYERED


def _load_layered(path: Path, data: dict[str, Any]) -> FrameModel:
    """Of the config only the networks' sizes are needed: a fit of a version with other options can still be evaluated."""
    try:
        mapping, opacity = (NetworkConfig.from_dict(data[part]) for part in ("mapping", "opacity"))
    except (KeyError, TypeError, ValueError) as problem:
        raise UserError(f"{path.parent / 'config.json'} is of another version ({one_line(problem)}): run {FIT} again") from None
    return load_model(path, mapping, opacity)


def _load_nla(path: Path, _: dict[str, Any]) -> FrameModel:
    """The checkpoint itself describes the networks."""
    return load_nla_model(path)


LAYERED = "layered"
LOADERS: dict[str, Callable[[Path, dict[str, Any]], FrameModel]] = {LAYERED: _load_layered, "nla": _load_nla}
"""Loaders by kind of model: (checkpoint, content of config.json) -> the model. Add a new kind here."""


def shape_from_dict(data: Any) -> Shape:
    """A Shape from its JSON form; ValueError or TypeError where it is none."""
    if not isinstance(data, dict):
        raise ValueError("its shape is no object")
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}
    shape = Shape(**values)
    numbers = [shape.frames, shape.height, shape.width, *shape.offset_grid, *shape.light_grid, *shape.atlas_sizes]
    if not all(type(number) is int and 0 < number < 1 << 31 for number in numbers):
        raise ValueError("its shape holds what is no count of anything")
    if len(shape.offset_grid) != 2 or len(shape.light_grid) != 2:
        raise ValueError("its grids have not two sides")
    if len(shape.atlas_sizes) != len(shape.layers) or not 0 < len(shape.layers) <= _MOST_LAYERS:
        raise ValueError("it has not one atlas for each layer")
    return shape
