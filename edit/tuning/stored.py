"""What tuning leaves, as other tools read it: a LoRA in one file, or all weights of a UNet in a folder of diffusers' layout.

Both hold half precision. `tuned` puts either into a loaded model for a while.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from atlas.errors import EDIT, UserError
from atlas.storage.atomic import atomic_file, atomic_folder
from atlas.storage.stamps import write_json
from atlas.system.quiet import quiet_diffusers
from atlas.weights.folder import weights_header
from edit.diffusion.model import StableDiffusion
from edit.tuning.lora import stored_lora
from edit.tuning.whole import own_weights, replaced_weights

_NETWORK = "diffusion_pytorch_model.safetensors"  # as diffusers names the file in a folder of its own
_OURS = re.compile(rf"config\.json|{re.escape(_NETWORK)}")
_ORIGIN = "_name_or_path"  # where the base model lay on this machine, in its description


def save_lora(weights: Mapping[str, Tensor], path: Path) -> None:
    """Write a LoRA, weights by their names with "unet." before, atomically; `--lora` and load_lora_weights read it."""
    with atomic_file(path) as temporary:
        _save(weights, temporary)


def save_unet(unet: Any, weights: Mapping[str, Tensor], folder: Path) -> None:
    """Write all weights of a UNet with its description, atomically; UNet2DConditionModel.from_pretrained reads the folder."""
    description = json.loads(unet.to_json_string())
    with atomic_folder(folder, _OURS) as temporary:
        write_json(temporary / "config.json", {name: value for name, value in description.items() if name != _ORIGIN})
        _save(weights, temporary / _NETWORK)


def _save(weights: Mapping[str, Tensor], path: Path) -> None:
    halved = {name: weight.detach().to("cpu", torch.float16).contiguous() for name, weight in weights.items()}
    save_file(halved, path, metadata={"format": "pt"})
    path.chmod(0o644)  # where no atomic file sees to it, safetensors lets nobody else read what it writes


@contextlib.contextmanager
def tuned(model: StableDiffusion, path: Path) -> Iterator[None]:
    """Put what was tuned, a LoRA's file or a UNet's folder, into the model for a while; afterwards it is as before to the bit.

    LoRAs that are on the model stay on. UserError where `path` is missing or was tuned from another kind of model.
    """
    unet = model.pipeline.unet
    with contextlib.ExitStack() as stack:
        with quiet_diffusers():
            stack.enter_context(
                replaced_weights(unet, _read(unet, path)) if path.is_dir() else stored_lora(model.pipeline, path)
            )
        yield


def _read(unet: Any, folder: Path) -> dict[str, Tensor]:
    """Read the weights of a UNet; UserError where they are not those of this kind."""
    file = folder / _NETWORK
    wanted = {name: tuple(weight.shape) for name, weight in own_weights(unet).items()}
    if {name: shape for name, (_, shape) in weights_header(file)[0].items()} != wanted:
        raise UserError(f"{file} was tuned from another model than this one: delete {folder} and run {EDIT} again")
    return load_file(file)
