"""Tensors in safetensors files, with a JSON description. Nothing in them is executed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from atlas.errors import FIT, UserError, one_line
from atlas.storage.atomic import atomic_file
from atlas.storage.json_text import parsed
from atlas.storage.tensor_file import Described, tensor_header

_DESCRIPTION = "description"
_CHECKPOINT = "checkpoint of a fit"


def save_tensors(path: Path, tensors: dict[str, Tensor], description: dict[str, Any]) -> None:
    """Write tensors and a JSON description into one file, atomically. The same content gives the same bytes.

    The description comes back in its own order: what a resumed fit writes out again is then the same to the byte.
    """
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_file(path) as temporary:
        save_file(whole, temporary, metadata={_DESCRIPTION: json.dumps(description)})


def load_tensors(path: Path, what: str = _CHECKPOINT, again: str = FIT) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save_tensors` wrote; UserError where the file is missing, damaged or something else.

    what, again: for that error, what it should be and the command that makes it anew.
    """
    _, description = read_description(path, what, again)
    with _refusing(path, what, again):
        # Not mapped: Windows refuses to replace a mapped file, and safetensors to open one whose name is no UTF-8.
        return load(path.read_bytes()), description


def read_description(path: Path, what: str = _CHECKPOINT, again: str = FIT) -> tuple[Described, dict[str, Any]]:
    """Types and shapes of the tensors that `save_tensors` wrote, and the description, without the tensors."""
    with _refusing(path, what, again):
        described, texts = tensor_header(path)
        description = parsed(texts[_DESCRIPTION].encode(), finite=False)  # of a run: losses may be NaN
        if not isinstance(description, dict):
            raise ValueError("its description is no object")
        return described, description


@contextlib.contextmanager
def _refusing(path: Path, what: str, again: str) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as problem:  # JSON's errors are of the last two
        raise UserError(f"{path} is missing or no {what} ({one_line(problem)}): run {again} again") from None
