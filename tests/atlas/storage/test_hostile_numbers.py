"""Arrays and tensors that were made to harm: each is refused in one line that names it, quickly, and without taking memory."""

from __future__ import annotations

import json
import struct
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from atlas.clip.clip import Clip
from atlas.fitting.presets import FitConfig
from atlas.fitting.run import FitRun
from atlas.maps.maps import Maps
from atlas.metrics.lpips import Lpips
from atlas.model.checkpoint import load_model, load_nla_model, open_model
from atlas.model.fields import NetworkConfig
from atlas.quality.job import FitJob
from atlas.storage.arrays import StoredArray
from atlas.storage.run_state import save_state
from atlas.storage.stamps import write_json
from atlas.storage.tensors import load_tensors
from tests.atlas.storage.hostile import refusal, short


def npy(header: str | bytes, content: bytes = b"", version: int = 1, length: int | None = None) -> bytes:
    text = header.encode() if isinstance(header, str) else header
    size = len(text) if length is None else length
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", size) + text + content


def fields(descr: str = "'|u1'", shape: str = "(2, 3)", order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


@pytest.mark.parametrize(
    "content",
    [
        npy("", version=2, length=0xFFFFFFFF),
        npy(b"{" * 900),
        npy(b"(" * 60_000),
        npy(b"-" * 900 + b"1"),
        npy(fields(shape=f"({'9' * 5000}, 2)")),
        npy(fields(shape=f"({'9' * 15}, {'9' * 15}, {'9' * 15})")),
        npy(fields(shape="(-2, 3)"), bytes(10)),
        npy(fields(shape="(True, 3)"), bytes(10)),
        npy(fields(shape="()"), bytes(10)),
        npy(fields("'|O'"), bytes(100)),
        npy(fields("[('a', '<f4')]"), bytes(100)),
        npy(fields("'|V5'"), bytes(100)),
        npy(fields("'<Q7'"), bytes(100)),
        npy(fields(order="True"), bytes(100)),
        npy(fields(), bytes(5)),
        b"\x93NUMPY\x03\0" + bytes(200),
    ],
    ids=short,
)
def test_array_headers(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    began = time.perf_counter()
    with pytest.raises((ValueError, EOFError)):
        StoredArray(path)
    assert time.perf_counter() - began < 1


def test_a_header_as_long_as_its_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.npy").open("wb") as stream:
        stream.write(npy("", version=2, length=3 << 30))
        stream.truncate(4 << 30)
    with pytest.raises(ValueError, match="no header"):
        StoredArray(tmp_path / "a.npy")


def test_light_finer_than_the_frames(fresh_clip: Clip) -> None:
    fit = fresh_clip.fit_folder("truth")
    for array in (np.ones((12, 65, 2, 3), np.float16), np.ones((12, 0, 2, 3), np.float16), np.ones((12, 2, 2, 3), np.int8)):
        np.save(fit / "maps" / "foreground" / "light.npy", array)
        assert "has shape" in refusal(lambda: Maps(fit), "light.npy")


def tensors_file(header: object, content: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content


ONE = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    "content",
    [
        struct.pack("<Q", 99_000_000) + b"{}",
        tensors_file(b"[" * 100_000),
        tensors_file(b'{"a":' * 50_000),
        tensors_file(b'{"a": ' + b"9" * 5000 + b"}"),
        tensors_file([1, 2]),
        tensors_file({"a": 3}),
        tensors_file({"a": ONE | {"shape": [-1]}}, bytes(4)),
        tensors_file({"a": ONE | {"shape": [True]}}, bytes(4)),
        tensors_file({"a": ONE | {"shape": [1.0]}}, bytes(4)),
        tensors_file({"a": ONE | {"dtype": "C64"}}, bytes(8)),
        tensors_file({"a": ONE | {"shape": [1 << 39]}}, bytes(4)),
        tensors_file({"a": ONE, "__metadata__": {"description": "[" * 100_000}}, bytes(4)),
        tensors_file({"a": ONE, "__metadata__": {"description": "9" * 5000}}, bytes(4)),
        tensors_file({"a": ONE, "__metadata__": {"description": 3}}, bytes(4)),
        tensors_file({"a": ONE, "__metadata__": 3}, bytes(4)),
        tensors_file({"a": ONE | {"data_offsets": [4, 0]}, "__metadata__": {"description": "{}"}}, bytes(4)),
    ],
    ids=short,
)
def test_tensor_files(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    assert "no checkpoint of a fit" in refusal(lambda: load_tensors(path), path.name)
    assert path.name in refusal(lambda: Lpips(path, torch.device("cpu")), path.name)


SHAPE = {"layers": ["a", "b"], "frames": 2, "height": 20, "width": 30, "offset_grid": [2, 2], "light_grid": [2, 2]}


@pytest.mark.parametrize(
    "change",
    [
        {"frames": 10**9},
        {"frames": 10**400},
        {"frames": True},
        {"frames": 2.0},
        {"frames": -2},
        {"height": 0, "width": 0},
        {"atlas_sizes": [1 << 20, 1 << 20]},
        {"atlas_sizes": [-1, -1]},
        {"layers": ["a"] * 100_000, "atlas_sizes": [1] * 100_000},
        {"light_grid": [2, 2, 2]},
        {"offset_grid": 3},
    ],
)
def test_descriptions_of_models(change: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    description = json.dumps({"shape": SHAPE | {"atlas_sizes": [8, 8]} | change})
    save_file({"atlas_0": torch.zeros(8, 8, 3)}, path, metadata={"description": description})
    refusal(lambda: load_model(path, NetworkConfig(), NetworkConfig()), path.name)
    refusal(lambda: load_nla_model(path), path.name)


@pytest.mark.parametrize(
    "change",
    [{"width": 10**9}, {"width": 64.0}, {"width": "64"}, {"depth": 10**6}, {"octaves": -1}, {"reach": float("nan")},
     {"hash": 3}, {"hash": {"levels": 2.5}}, {"encoding": "hash", "hash": {"levels": 32, "log2_entries": 24, "growth": 1.0}}],
)  # fmt: skip
def test_configs_of_networks(change: dict[str, object], tmp_path: Path) -> None:
    """The last is a hash grid that may be asked for, of gigabytes: the checkpoint does not hold it."""
    plain = json.loads(json.dumps({"width": 8, "hash": {}}))
    assert NetworkConfig.from_dict(plain) == NetworkConfig(width=8)
    write_json(tmp_path / "config.json", {"preset": "x", "mapping": plain | change, "opacity": plain})
    path = tmp_path / "checkpoint.safetensors"
    description = json.dumps({"shape": SHAPE | {"atlas_sizes": [8, 8]}})
    save_file({"atlas_0": torch.zeros(8, 8, 3)}, path, metadata={"description": description})
    refusal(lambda: open_model(tmp_path), "config.json")


@pytest.mark.parametrize(
    "description",
    [
        {},
        {"done": 3, "epochs": 1, "log": [], "rounds": 5, "tracks": 0},
        {"done": 3, "epochs": 1, "log": [], "rounds": [], "tracks": 10**9},
        {"done": 3, "epochs": 1, "log": [], "rounds": [], "tracks": 0, "shape": SHAPE | {"atlas_sizes": [1 << 20] * 2}},
    ],
)
def test_states_of_unfinished_fits(description: dict[str, object], sample_clip: Clip, tmp_path: Path) -> None:
    save_state(tmp_path, "this run", {}, description)

    def resume() -> None:
        FitRun(FitJob(sample_clip, tmp_path, "this run", torch.device("cpu"), quiet=True), FitConfig("preview")).begin()

    assert "delete it and run scripts/fit.py again" in refusal(resume, "state.safetensors")


def test_a_header_of_countless_objects_is_not_made(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(tensors_file(b'{"a": [' + b"{}," * 2_000_000 + b"0]}"))
    assert "lists and objects" in refusal(lambda: load_tensors(tmp_path / "x.safetensors"), "x.safetensors")
