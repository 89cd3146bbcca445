"""LoRA files on top of a loaded model (Hu et al., ICLR 2022): all of their weights go onto it, or none."""

from __future__ import annotations

import importlib.util
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from atlas.errors import UserError, one_line
from atlas.storage.json_text import parsed
from atlas.weights.folder import weights_header

_SETTINGS = "lora_adapter_metadata"  # under which diffusers keeps them in the file
_PLAIN = re.compile(r"\^?[\w./:|-]*\$?")  # peft takes names for regular expressions: some of those never end
_WORDS = {"bias", "peft_type", "task_type", "peft_version"}
_DEFAULTS = {"megatron_core": "megatron.core", "init_lora_weights": "gaussian"}  # a module that peft imports; a way to begin
_LARGEST = 100_000  # of ranks and other settings
_DOWN = re.compile(r".*(lora_A|lora_down|lora\.down|lora_linear_layer\.down|_lora\.down)(\.\w+)?\.weight")
_OTHERS = re.compile(
    r".*((lora_B|lora_up|lora\.up|lora_linear_layer\.up|_lora\.up)(\.\w+)?\.(weight|bias)"
    r"|\.alpha|\.dora_scale|\.lora_magnitude_vector(\.\w+)*)"
)


def add_loras(pipeline: Any, loras: Sequence[tuple[Path, float]]) -> None:
    """Load LoRA files with their weights; UserError where one does not fit the model."""
    if not loras:
        return
    if importlib.util.find_spec("peft") is None:
        raise UserError("--lora needs peft, which is not installed: pip install -e .[diffusion]")
    names = [f"lora{number}" for number in range(len(loras))]
    for name, (path, _) in zip(names, loras, strict=True):
        load_lora(pipeline, path, name)
    pipeline.set_adapters(names, [scale for _, scale in loras])


def load_lora(pipeline: Any, path: Path, name: str) -> None:
    """Load one LoRA file under a name, by which it can be switched; UserError where it does not fit the model."""
    _check_lora(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # peft has one for every LoRA after the first
            pipeline.load_lora_weights(
                str(path.parent), weight_name=path.name, adapter_name=name, local_files_only=True, use_safetensors=True
            )
    except Exception as problem:  # of sizes, of names, of formats: diffusers and peft raise many kinds
        raise UserError(f"the LoRA {path} does not fit the model: {one_line(problem)}") from None
    networks = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    if any(weight.is_meta for network in networks for weight in network.parameters()):
        raise UserError(f"the LoRA {path} lacks one of the two matrices of some layer: download it again")
    wanted = sum(bool(_DOWN.fullmatch(tensor)) for tensor in weights_header(path)[0])
    adapted = sum(name in getattr(module, "lora_A", ()) for network in networks for module in network.modules())
    if adapted < wanted:
        share = (
            f"{wanted - adapted} of its {wanted} layers belong to another" if adapted else "none of its weights belongs to it"
        )
        raise UserError(f"the LoRA {path} does not fit the model: {share}")


def _check_lora(path: Path) -> None:
    """UserError where the names or settings in a LoRA's file are more than data to peft, or take any time or memory."""
    tensors, texts = weights_header(path)
    settings = texts.get(_SETTINGS)
    for name in tensors:
        if not _PLAIN.fullmatch(name):
            raise UserError(
                f"the LoRA {path} has a tensor named {ascii(name)[:80]}, which is no layer's name: nothing is loaded"
            )
    for name in tensors:
        if not (_DOWN.fullmatch(name) or _OTHERS.fullmatch(name)):
            raise UserError(
                f"{path} holds {name[:80]}, which is no LoRA's weight: LyCORIS (LoHa, LoKr) and other kinds are not taken"
            )
    if not settings:
        return
    try:
        entries = dict(parsed(settings.encode(), finite=False))
    except (ValueError, TypeError):
        raise UserError(f"the LoRA {path} has settings that are no JSON ({_SETTINGS}): download it again") from None
    for name, value in entries.items():
        if not _is_plain(name.rpartition(".")[2], value):
            raise UserError(f"the LoRA {path} has the setting {ascii(name)[:80]}: {ascii(value)[:80]}, which is not taken")


def _is_plain(name: str, value: Any) -> bool:
    """Whether a setting is one that peft only reckons with."""
    if not value or isinstance(value, bool):
        return True
    if isinstance(value, int | float):
        return 0 <= value <= _LARGEST
    if isinstance(value, str):
        return name in _WORDS or _DEFAULTS.get(name) == value
    if isinstance(value, list):  # of layers
        return name in ("target_modules", "exclude_modules") and all(isinstance(v, str) and _PLAIN.fullmatch(v) for v in value)
    numbers = name in ("rank_pattern", "alpha_pattern") and isinstance(value, dict)
    return numbers and all(_PLAIN.fullmatch(key) and _is_plain("", one) for key, one in value.items())
