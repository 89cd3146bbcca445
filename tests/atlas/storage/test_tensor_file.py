"""Headers of .safetensors files: what safetensors itself does not read is refused before it is asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from atlas.storage.tensor_file import tensor_header


def written(path: Path, entries: dict[str, Any], content: bytes) -> Path:
    header = json.dumps(entries).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + content)
    return path


def entry(begin: Any, end: Any, shape: tuple[int, ...] = (2,)) -> dict[str, Any]:
    return {"dtype": "F32", "shape": list(shape), "data_offsets": [begin, end]}


def test_what_safetensors_writes_is_read(tmp_path: Path) -> None:
    tensors = {"a": torch.ones(2, 3), "none": torch.zeros(0, 4), "half": torch.ones(5).half(), "one": torch.tensor(1)}
    save_file(tensors, tmp_path / "a.safetensors", {"said": "so"})
    described, texts = tensor_header(tmp_path / "a.safetensors")
    assert described == {"a": ("F32", (2, 3)), "none": ("F32", (0, 4)), "half": ("F16", (5,)), "one": ("I64", ())}
    assert texts == {"said": "so"}
    there = written(tmp_path / "b.safetensors", {"b": entry(8, 16), "a": entry(0, 8)}, bytes(16))  # in any order
    assert set(tensor_header(there)[0]) == {"a", "b"} == set(load_file(there))


@pytest.mark.parametrize(
    ("entries", "size", "said"),
    [
        ({"a": entry(0, 8), "b": entry(4, 12)}, 16, "overlap"),
        ({"a": entry(0, 8), "b": entry(8, 16)}, 20, "longer than its tensors"),
        ({"a": entry(4, 12)}, 12, "leave gaps"),
        ({"a": entry(0, 4)}, 8, "another length than its shape"),
        ({"a": entry(-8, 0)}, 8, "overlap, or leave gaps"),
        ({"a": entry("0", "8")}, 8, "where a tensor lies"),
        ({"a": {"dtype": "F32", "shape": [2]}}, 8, "where a tensor lies"),
        ({"a": entry(0, 8)}, 4, "cut off"),
        ({"a": entry(0, 8, (-2,))}, 8, "of no shape"),
    ],
)
def test_what_safetensors_does_not_read_is_refused(entries: dict[str, Any], size: int, said: str, tmp_path: Path) -> None:
    path = written(tmp_path / "a.safetensors", entries, bytes(size))
    with pytest.raises(SafetensorError):
        load_file(path)
    with pytest.raises(ValueError, match=said):
        tensor_header(path)
