"""What is checked of a folder of weights before a library opens it: the folder may come from anyone.

A folder describes a network (config.json) and holds its weights (.safetensors). A description can name programs, ask for other
formats, or for more memory than any machine has; the libraries follow it, each version in another way. It is read here first.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.nn.modules import module as registration

from atlas.errors import UserError
from atlas.storage.json_text import parsed, read_bounded
from atlas.storage.tensor_file import Described, tensor_header

LARGEST_SIDE = 2048
"""Pixels a side beyond what any of these networks sees."""
_LARGEST_TEXT = 4 << 20  # bytes of a description; the longest published ones have some 10 kB
_LARGEST_NUMBER = 200_000  # lists and tables are made of such lengths; a vocabulary has 50 000 words
# What makes a library run a program that the folder names, or read weights from elsewhere or in other formats.
_REFUSED = ("auto_map", "custom_pipeline", "custom_pipelines", "trust_remote_code", "transformers_weights",
            "quantization_config", "use_timm_backbone", "use_pretrained_backbone", "backbone")  # fmt: skip
_ATTENTION = (None, "eager", "sdpa", "flash_attention_2")  # any other name is looked for on the hub, and its code run
_SPARE = 4_000_000  # numbers that no file holds: tables of positions
_PIECES = 10_000  # layers and their weights, of a network as large as its description alone makes it


def described(file: Path) -> dict[str, Any]:
    """Read a description; UserError where it is missing, no plain file, too long or damaged. {} where it is no JSON object."""
    if not file.is_file():  # reading a pipe would wait for ever
        raise UserError(f"{file} is missing or no file: download the folder again")
    try:
        content = parsed(read_bounded(file, _LARGEST_TEXT), finite=False)  # schedulers' hold infinity
    except ValueError:
        raise UserError(f"{file} is damaged and does not describe a model: download it again") from None
    return content if isinstance(content, dict) else {}


def check_folder(folder: Path) -> None:
    """Check the descriptions in one folder, and where its weights are said to be; UserError names the file and the entry.

    The folder may hold a network, a tokenizer, a scheduler or what prepares pictures: each is what it has files for.
    """
    for file in sorted(folder.glob("*config.json")):
        check_description(file)
    if (folder / "adapter_config.json").exists():  # its base model would be looked for wherever it says
        raise UserError(f"{folder} holds an adapter (adapter_config.json): name the folder of a whole model")
    for index in sorted(folder.glob("*.safetensors.index*.json")):
        _check_index(index)


def check_description(file: Path) -> None:
    """UserError where a description names programs, other weights, or numbers beyond any such model's."""
    largest = {"tokenizer_config.json": math.inf, "preprocessor_config.json": LARGEST_SIDE}.get(file.name, _LARGEST_NUMBER)
    for name, value in _entries(described(file)):
        if name in _REFUSED and value:
            raise UserError(f"{file} has the entry {name!r}, which can load programs or other weights: nothing is loaded")
        if "_implementation" in name and value not in _ATTENTION and not name.endswith("_autoset"):
            raise UserError(f"{file} has the entry {name!r} with {_short(value)}, which can load programs: nothing is loaded")
        if isinstance(value, int | float) and largest < abs(value) < math.inf:
            excess = (
                f"asks for pictures of {_short(value)} pixels a side" if largest == LARGEST_SIDE else f"has {_short(value)}"
            )
            raise UserError(f"{file} {excess} ({name!r}), which no such model has: download it again")


def weight_bytes(folder: Path, network: str) -> int:
    """Bytes of the weights in a folder; UserError where it holds no .safetensors file."""
    sizes = [file.stat().st_size for file in folder.glob("*.safetensors") if file.is_file()]
    if not sizes:
        raise UserError(
            f"{folder} holds no .safetensors file of its {network}: other formats can hold programs and are not read"
        )
    return sum(sizes)


def weights_header(file: Path) -> tuple[Described, dict[str, str]]:
    """Read the header of a .safetensors file of weights: its tensors by name, and texts; UserError where it is none."""
    try:
        return tensor_header(file)
    except (OSError, ValueError):
        raise UserError(f"{file} is no safetensors file: download it again") from None


def check_room(folder: Path, network: str, make: Callable[[], Any], size: int) -> Any:
    """UserError where a description asks for a network larger than `size` bytes of weights can fill.

    make: makes the network. It is made here without memory for its weights, and no further than to what is too much; it is
    returned, None where it cannot be made so.
    """
    numbers, pieces = size + _SPARE, _PIECES + size // _PIECES

    def count(module: Any, name: str, part: Any) -> None:
        nonlocal numbers, pieces
        if threading.get_ident() != caller:
            return
        pieces -= 1
        numbers -= part.numel() if isinstance(part, torch.Tensor) else 0
        if numbers < 0 or pieces < 0:
            raise UserError(
                f"{folder / 'config.json'} asks for a {network} far larger than the weights beside it: "
                "download the folder again"
            )

    caller = threading.get_ident()
    with _registration(count), torch.device("meta"), contextlib.suppress(NotImplementedError):
        return make()
    return None


@contextlib.contextmanager
def _registration(count: Callable[[Any, str, Any], None]) -> Iterator[None]:
    """Each layer, weight and table of the networks that are made goes to `count`."""
    with contextlib.ExitStack() as stack:
        for register in (
            registration.register_module_parameter_registration_hook,
            registration.register_module_buffer_registration_hook,
            registration.register_module_module_registration_hook,
        ):
            stack.callback(register(count).remove)
        yield


def _check_index(index: Path) -> None:
    parts = described(index).get("weight_map")
    if not isinstance(parts, dict) or not all(isinstance(part, str) for part in parts.values()):
        raise UserError(f"{index} does not say where weights are: download it again")
    for part in sorted(set(parts.values())):
        if Path(part).name != part or "\\" in part or not part.endswith(".safetensors"):
            raise UserError(f"{index} looks for weights in {_short(part)}: only .safetensors files beside it are read")
        if not (index.parent / part).is_file():
            raise UserError(f"{index.parent / part} is missing, and {index.name} names it: download it again")


def _entries(content: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Everything in a description with the name that it stands under, however deep."""
    waiting = [(name, content)]
    while waiting:
        name, value = waiting.pop()
        yield name, value
        if isinstance(value, dict):
            waiting += value.items()
        elif isinstance(value, list):
            waiting += [(name, one) for one in value]


def _short(value: Any) -> str:
    shown = ascii(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."
