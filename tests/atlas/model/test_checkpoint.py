"""Checkpoints: what comes back is what was saved; nothing damaged or foreign is taken, and nothing is executed."""

from __future__ import annotations

import json
import os
import pickle
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from atlas.errors import UserError
from atlas.fitting.presets import PRESETS, FitConfig, preset
from atlas.model.checkpoint import build_model, load_model, open_model, save_model, shape_from_dict
from atlas.model.fields import Encoding, NetworkConfig
from atlas.model.hash_grid import HashGridConfig
from atlas.model.layered import LayeredAtlas, Shape
from atlas.storage.stamps import write_json
from atlas.storage.tensors import load_tensors, save_tensors

SHAPE = Shape(("foreground", "background"), 3, 20, 31, (5, 8), (3, 4), (24, 40))
NETWORK = NetworkConfig(width=8)


def some_model() -> LayeredAtlas:
    model = build_model(SHAPE, NETWORK, NETWORK, seed=5)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.copy_(torch.rand(tensor.shape, generator=generator))
    return model


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="file names are Unicode there")
def test_a_name_that_is_no_utf_8(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"cl\xefp.safetensors")
    save_tensors(path, {"b": torch.arange(3.0), "a": torch.ones(2, dtype=torch.int64)}, {"x": 1})
    tensors, description = load_tensors(path)
    assert description == {"x": 1} and tensors["b"].tolist() == [0, 1, 2] and tensors["a"].tolist() == [1, 1]
    tensors["b"] += 1  # their own memory, not the file's


def test_round_trip(tmp_path: Path) -> None:
    model = some_model()
    save_model(tmp_path / "checkpoint.safetensors", model)
    again = load_model(tmp_path / "checkpoint.safetensors", NETWORK, NETWORK)
    assert again.shape == SHAPE
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_tensors_of_all_kinds_come_back(tmp_path: Path) -> None:
    tensors = {"a": torch.eye(3, dtype=torch.float64), "b": torch.arange(4), "c": torch.rand(4, 5).T, "d": torch.tensor(7.0)}
    description = {"done": 3, "log": [{"psnr": 30.123456789}], "name": "séquence"}
    save_tensors(tmp_path / "x.safetensors", tensors, description)
    loaded, told = load_tensors(tmp_path / "x.safetensors")
    assert json.dumps(told) == json.dumps(description) and set(loaded) == set(tensors)
    assert all(torch.equal(loaded[name], tensors[name]) and loaded[name].dtype == tensors[name].dtype for name in tensors)


def test_what_was_loaded_does_not_hang_on_the_file(tmp_path: Path) -> None:
    """Not mapped on it: Windows would refuse to replace the file, and a change of it would show."""
    path = tmp_path / "x.safetensors"
    save_tensors(path, {"a": torch.ones(100_000)}, {})
    loaded, _ = load_tensors(path)
    size = path.stat().st_size
    with path.open("r+b") as stream:
        stream.write(bytes(size))
    assert torch.equal(loaded["a"], torch.ones(100_000))


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        save_model(tmp_path / name, some_model())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    save_tensors(tmp_path / "c", {"x": torch.ones(2), "y": torch.ones(3)}, {"a": 1, "b": 2})
    save_tensors(tmp_path / "d", {"y": torch.ones(3), "x": torch.ones(2)}, {"a": 1, "b": 2})
    assert (tmp_path / "c").read_bytes() == (tmp_path / "d").read_bytes()


def test_nothing_is_left_of_a_failed_write(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_tensors(path, {"a": torch.ones(2)}, {})
    before = path.read_bytes()
    with pytest.raises(TypeError):
        save_tensors(path, {"a": torch.zeros(2)}, {"not json": object()})
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


class Trap:
    """Unpickling it would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.path,))


def test_damaged_and_hostile_files_are_refused(tmp_path: Path) -> None:
    good = tmp_path / "good.safetensors"
    save_model(good, some_model())
    data, length = good.read_bytes(), int.from_bytes(good.read_bytes()[:8], "little")
    trap = pickle.dumps(Trap(tmp_path / "sprung"))
    header = json.dumps({"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode()
    for name, content in {
        "empty": b"",
        "short": data[:5],
        "cut": data[: len(data) // 2],
        "header": data[: 8 + length // 2],
        "huge header": (1 << 60).to_bytes(8, "little") + data[8:],
        "huge tensor": len(header).to_bytes(8, "little") + header,
        "text": b"not a checkpoint at all",
        "pickle": trap,
    }.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(UserError, match="missing or no checkpoint") as caught:
            load_model(path, NETWORK, NETWORK)
        assert "\n" not in str(caught.value), name
    assert not (tmp_path / "sprung").exists()
    with pytest.raises(UserError, match="missing or no checkpoint"):
        load_tensors(tmp_path / "none")


def test_a_folder_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        load_tensors(tmp_path)


def test_files_without_or_with_a_wrong_description_are_refused(tmp_path: Path) -> None:
    tensors = dict(some_model().state_dict())
    for index, metadata in enumerate(
        (
            None,
            {"description": "{"},
            {"description": "[]"},
            {"description": "{}"},
            {"description": json.dumps({"shape": []})},
            {"description": json.dumps({"shape": {"layers": ["a"]}})},
            {"description": json.dumps({"shape": 3})},
            {"description": json.dumps({"shape": asdict(SHAPE) | {"atlas_sizes": [1 << 20, 40]}})},
            {"description": json.dumps({"shape": asdict(SHAPE) | {"light_grid": [1 << 20, 1 << 10]}})},
            {"description": json.dumps({"shape": asdict(SHAPE) | {"atlas_sizes": [24]}})},
            {"description": json.dumps({"shape": asdict(SHAPE) | {"frames": "3"}})},
        )
    ):
        save_file(tensors, tmp_path / str(index), metadata=metadata)
        with pytest.raises(UserError):
            load_model(tmp_path / str(index), NETWORK, NETWORK)


def test_a_checkpoint_of_another_config_is_refused(tmp_path: Path) -> None:
    save_model(tmp_path / "x", some_model())
    with pytest.raises(UserError, match=r"does not belong to its config\.json") as caught:
        load_model(tmp_path / "x", NetworkConfig(width=16), NETWORK)
    assert "\n" not in str(caught.value)


def write_fit(folder: Path, config: FitConfig) -> LayeredAtlas:
    """The config and checkpoint of a finished fit: a model whose networks do something."""
    model = build_model(SHAPE, config.mapping, config.opacity, config.seed)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if ".correction." in name:
                tensor.copy_(torch.rand(tensor.shape, generator=generator) - 0.5)
    write_json(folder / "config.json", {"version": 1, **config.to_dict(), "seconds": None})
    save_model(folder / "checkpoint.safetensors", model)
    return model


@pytest.mark.parametrize("encoding", ["frequency", "hash", "none"])
def test_every_encoding_survives(encoding: Encoding, tmp_path: Path) -> None:
    """A fit is opened again and gives the same maps, whatever its networks see."""
    network = NetworkConfig(encoding, width=8, depth=1, hash=HashGridConfig(levels=3, log2_entries=6), reach=0.5)
    model = write_fit(tmp_path, replace(preset("preview", 5), mapping=network, opacity=replace(network, reach=2)))
    again = open_model(tmp_path)
    assert isinstance(again, LayeredAtlas)
    assert ("mappings.0.correction.grid.params" in again.state_dict()) == (encoding == "hash")
    depth = torch.linspace(-3, 3, 20 * 31).reshape(1, 20, 31)
    for expected, found in zip(model.frame_maps(1, depth), again.frame_maps(1, depth), strict=True):
        assert torch.equal(expected, found)
    fresh = build_model(SHAPE, network, replace(network, reach=2), seed=5)
    changed = not torch.equal(fresh.frame_maps(1, depth)[0], again.frame_maps(1, depth)[0])
    assert changed == (encoding != "none"), "the networks have a say in what was compared"


@pytest.mark.parametrize(
    "damage",
    [
        lambda network: network["hash"].update(log2_entries=60),
        lambda network: network.update(hash=None),
        lambda network: network.update(width="64"),
        lambda network: network.update(width=True),
        lambda network: network.update(width=8.5),
        lambda network: network.update(reach="far"),
        lambda network: network.update(reach=10**400),
        lambda network: network.update(reach=float("nan")),
        lambda network: network.update(bf16=1),
        lambda network: network.update(encoding="waves"),
        lambda network: network.update(encoding=["hash"]),
        lambda network: network.update(hidden=3),
    ],
)
def test_networks_that_are_none_are_refused(damage: Callable[[dict[str, Any]], object], tmp_path: Path) -> None:
    config = replace(preset("preview", 0), mapping=NETWORK)
    write_fit(tmp_path, config)
    plain = json.loads(json.dumps(config.to_dict()))
    damage(plain["mapping"])
    with pytest.raises(ValueError):
        NetworkConfig.from_dict(plain["mapping"])
    for content in (plain, plain | {"mapping": [3]}, {"preset": "standard"}):
        write_json(tmp_path / "config.json", content)
        with pytest.raises(UserError, match=r"config\.json is (of another version|not valid JSON)") as caught:
            open_model(tmp_path)
        assert "\n" not in str(caught.value)


def test_shapes_and_configs_survive_json() -> None:
    assert shape_from_dict(json.loads(json.dumps(asdict(SHAPE)))) == SHAPE
    for config in (*PRESETS.values(), replace(preset("standard", 3), mapping=NETWORK)):
        plain = json.loads(json.dumps(config.to_dict()))
        assert NetworkConfig.from_dict(plain["mapping"]) == config.mapping
        assert NetworkConfig.from_dict(plain["opacity"]) == config.opacity
    for name in plain["mapping"]:  # what an older version did not know has its default
        parsed = NetworkConfig.from_dict({key: value for key, value in plain["mapping"].items() if key != name})
        assert parsed == replace(config.mapping, **{name: getattr(NetworkConfig(), name)})
    with pytest.raises(UserError, match="no preset 'fast'"):
        preset("fast", 0)
