"""Published Layered Neural Atlases on disk (their own, StableVideo's, Text2LIVE's): config.json and `checkpoint`.

Both may come from anyone. Nothing in them is executed, and sizes are checked before anything is made of them.
"""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from atlas.errors import UserError, one_line
from atlas.model.nla import BACKGROUND, FOREGROUND, PUBLISHED_NAMES, NlaModel, parameter_shapes
from atlas.model.nla_config import NlaConfig, published_config
from atlas.storage.json_text import parsed, read_bounded

_LARGEST_CONFIG = 1_000_000
_LARGEST_CHECKPOINT = 500_000_000
"""Bytes: the largest networks, and two moments of each of their numbers, in float64."""
_LONGEST_PICKLE = 1_000_000
"""Bytes: what describes the tensors of published checkpoints has a few tens of thousands."""
_LONGEST_READ = 2_000_000
"""Bytes: the list of a checkpoint's entries, a tensor each, has some hundred for one; and the pickle."""
_DESCRIBING = {
    "OrderedDict", "Size", "device", "Parameter", "_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3",
    "_rebuild_parameter", "_rebuild_meta_tensor_no_storage",
}  # fmt: skip
"""What the pickles of networks call, beside storages and types. torch's own list has more, which a few bytes make large."""
_NUMBERS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}
_PROBES = 4000
_CLEARLY = 2.0  # dB by which another frame count must explain the frames better
_GOOD = 18.0  # dB below which neither explains them


def read_config(path: Path) -> NlaConfig:
    """The networks and sizes that a published config.json describes; UserError where it is none."""
    if not path.is_file():
        raise UserError(f"{path} is missing: give the folder that holds config.json and checkpoint")
    try:
        return published_config(parsed(read_bounded(path, _LARGEST_CONFIG), finite=False, digits=1000))
    except ValueError as problem:  # what is wrong with JSON or its encoding are ValueErrors
        raise UserError(
            f"{path} is no config of Layered Neural Atlases ({problem}): give the config.json that was trained with"
        ) from None


def read_networks(path: Path, config: NlaConfig) -> NlaModel:
    """The networks in a published checkpoint; UserError where it is damaged, unsafe, or not what the config describes."""
    states = _loaded(path)
    missing = [name for name in PUBLISHED_NAMES.values() if not isinstance(states.get(name), dict)]
    if missing:
        raise UserError(f"{path} lacks {', '.join(missing)}: give a checkpoint of Layered Neural Atlases")
    tensors: dict[str, Tensor] = {
        f"{part}.{key}": tensor for part, name in PUBLISHED_NAMES.items() for key, tensor in states[name].items()
    }
    wanted = parameter_shapes(config)
    for name, shape in wanted.items():
        tensor = tensors.get(name)
        part, key = name.split(".", 1)
        where = f"{PUBLISHED_NAMES[part]}, {key}"
        if not isinstance(tensor, Tensor) or not _is_plain(tensor):
            raise UserError(f"{path} has no numbers for {where}: its config.json belongs to another checkpoint")
        if tuple(tensor.shape) != shape:
            found_size, size = ("x".join(map(str, s)) for s in (tensor.shape, shape))
            raise UserError(
                f"{path} holds {found_size} numbers for {where}, config.json describes {size}: it belongs to another checkpoint"
            )
        if not bool(torch.isfinite(tensor).all()):
            raise UserError(f"{path} holds NaN or infinity in {where}: its training failed; take an earlier checkpoint")
    if more := sorted(set(map(str, tensors)) - set(wanted)):
        raise UserError(f"{path} has more layers than config.json describes ({more[0][:60]}): it belongs to another checkpoint")
    model = NlaModel(config, torch.Generator())
    model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    return model.requires_grad_(False)


def _is_plain(tensor: Tensor) -> bool:
    """Whether a tensor is stored number by number: of all other kinds even asking for the shape may raise."""
    dense = tensor.layout is torch.strided and not tensor.is_nested
    return dense and tensor.device.type == "cpu" and tensor.dtype in _NUMBERS


def _loaded(path: Path) -> dict[Any, Any]:
    """What torch.save wrote: a dict; read without running anything that it may contain."""
    if not path.is_file():
        raise UserError(f"{path} is missing: give the folder that holds config.json and checkpoint")
    try:
        size = path.stat().st_size
        with path.open("rb") as stream, zipfile.ZipFile(_ShortReads(stream)) as archive:
            entries = archive.infolist()
            programs = [entry for entry in entries if entry.filename.lower().endswith(".pkl")]
            # torch never compresses, and never stores two things in one place: what does may unpack to any size.
            if size > _LARGEST_CHECKPOINT or any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise UserError(
                    f"{path} is compressed or over 500 MB, no checkpoint like this is: save it again with torch.save"
                )
            if sum(entry.file_size for entry in entries) > size or len({e.filename.lower() for e in entries}) < len(entries):
                raise zipfile.BadZipFile
            if sum(entry.file_size for entry in programs) > _LONGEST_PICKLE:
                raise UserError(f"{path} holds more than networks and their training: save it again without the rest")
            for entry in programs:
                _check_pickle(path, archive.read(entry))
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError):
        raise UserError(
            f"{path} is truncated or no checkpoint of torch 1.6 or newer: copy it again, or save it with torch.save"
        ) from None
    try:
        # Mapped: what is not asked for is not read. A pickle may name any part of the file any number of times.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as problem:  # a hostile pickle can make the unpickler fail in any way
        first = one_line(problem).split(". ")[0]  # torch goes on to say how to run what the file may contain
        raise UserError(
            f"{path} is damaged or holds more than numbers, and is not read ({first}): get it from its author"
        ) from None
    if not isinstance(content, dict):
        raise UserError(
            f"{path} holds a {type(content).__name__}, no dictionary of networks: give a checkpoint of Layered Neural Atlases"
        )
    return content


class _ShortReads:
    """A file of which no more is read at once than a checkpoint's list of entries has: zipfile makes an object of each."""

    def __init__(self, stream: BinaryIO) -> None:
        self.seek, self.tell, self.seekable, self.close = stream.seek, stream.tell, stream.seekable, stream.close
        self._stream = stream

    def read(self, count: int = -1) -> bytes:
        """Read bytes; BadZipFile where they are too many."""
        data = self._stream.read(_LONGEST_READ + 1 if count < 0 else min(count, _LONGEST_READ + 1))
        if len(data) > _LONGEST_READ:
            raise zipfile.BadZipFile
        return data


def _check_pickle(path: Path, pickled: bytes) -> None:
    """UserError where the description of the tensors calls anything that describes none."""
    for operation, argument, _ in pickletools.genops(pickled):
        if operation.name == "GLOBAL":
            name = str(argument).rpartition(" ")[2]
            if (
                name not in _DESCRIBING
                and not name.endswith("Storage")
                and not isinstance(getattr(torch, name, None), torch.dtype)
            ):
                raise UserError(
                    f"{path} is damaged or holds more than numbers, and is not read ({name[:60]}): get it from its author"
                )


def better_frame_count(model: NlaModel, frames: Iterable[tuple[int, np.ndarray]], count: int) -> bool:
    """Whether `count` frames instead of the config's explain the frames (number, (H, W, 3) uint8) clearly better.

    Training counts the frames that were there where these are fewer than its config allows; programs that read the
    result count the config's.
    """
    other = NlaModel(replace(model.config, maximum_number_of_frames=count), torch.Generator())
    other.load_state_dict(model.state_dict())
    errors = [[_error(candidate, index, frame) for candidate in (model, other)] for index, frame in frames]
    usual, counted = -10 * np.log10(np.maximum(np.mean(errors, 0), 1e-12))
    return bool(counted > usual + _CLEARLY and counted > _GOOD)


@torch.no_grad()
def _error(model: NlaModel, index: int, frame: np.ndarray) -> float:
    """Mean squared error of the model's colours at some of a frame's pixels."""
    height, width = frame.shape[:2]
    chosen = torch.from_numpy(np.random.default_rng(index).integers(0, height * width, _PROBES))
    xyt = model.pixels(index, height, width)[chosen]
    share = model.opacity(xyt)[:, None]
    colours = [model.colour(layer, model.mapping(layer)(xyt)) for layer in (FOREGROUND, BACKGROUND)]
    true = torch.from_numpy(frame.reshape(-1, 3)[chosen.numpy()].astype(np.float32) / 255)
    return float((colours[FOREGROUND] * share + colours[BACKGROUND] * (1 - share) - true).square().mean())
