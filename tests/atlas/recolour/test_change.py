"""Colour changes in a file: the same after reading it, and refused in one line where it is damaged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from atlas.errors import UserError
from atlas.recolour.change import ColourChange
from atlas.recolour.grid import SHAPE, BilateralGrid
from atlas.recolour.matte import MASKS, OPACITIES, Matte
from atlas.recolour.table import fit_table

RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def change() -> ColourChange:
    colours = RANDOM.uniform(0, 1, (2000, 3))
    grid = BilateralGrid(RANDOM.normal(0, 0.01, (*SHAPE, 4, 3)).astype(np.float32), (-0.5, -0.25), (1.0, 0.5))
    matte = Matte(RANDOM.uniform(0, 1, (len(OPACITIES), len(MASKS))).astype(np.float32))
    share = RANDOM.uniform(0, 1, (20, 30)).astype(np.float32)
    return ColourChange(fit_table(colours, 1 - colours), grid, share, matte, unlit=True)


def applied(change: ColourChange, light: float) -> np.ndarray:
    colours = [torch.full((2, 2), value) for value in (0.2, 0.3, 0.1)]
    return torch.stack(change.whole(colours, torch.zeros(2, 2, 2), [torch.full((2, 2), light)] * 3), -1).numpy()


def test_it_is_read_as_it_was_written(change: ColourChange, tmp_path: Path) -> None:
    for number, one in enumerate((change, replace(change, grid=None, matte=None, unlit=False))):
        path = tmp_path / f"{number}.safetensors"
        one.save(path)
        read = ColourChange.load(path)
        np.testing.assert_array_equal(applied(read, 0.7), applied(one, 0.7))
        np.testing.assert_array_equal(read.share, one.share)
        assert read.unlit == one.unlit and (read.matte is None) == (one.matte is None)
        one.save(tmp_path / "again")
        assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_without_light_it_changes_the_material(change: ColourChange) -> None:
    plain = replace(change, grid=None)
    np.testing.assert_allclose(applied(plain, 0.5), 0.5 * (1 - np.array([0.4, 0.6, 0.2])) + np.zeros((2, 2, 3)), atol=0.01)
    np.testing.assert_allclose(applied(replace(plain, unlit=False), 0.5), [[[0.8, 0.7, 0.9]] * 2] * 2, atol=0.01)


@pytest.mark.parametrize("name", ["nodes", "table", "share", "grid", "matte"])
@pytest.mark.parametrize("how", ["missing", "shape", "number", "type"])
def test_damaged_files_are_refused(change: ColourChange, tmp_path: Path, name: str, how: str) -> None:
    path = tmp_path / "change.safetensors"
    change.save(path)
    tensors = load_file(path)
    if how == "missing":
        if name in ("grid", "matte"):
            pytest.skip("it need not be there")
        del tensors[name]
    elif how == "shape":
        tensors[name] = torch.zeros(2, 3, 4, 5, 6, 7)
    elif how == "number":
        tensors[name].view(-1)[3] = float("nan")
    else:
        tensors[name] = tensors[name].double()
    save_file(tensors, path, metadata={"description": '{"unlit": false, "corner": [0, 0], "side": [1, 1]}'})
    with pytest.raises(UserError, match="run scripts/aggregate.py again") as told:
        ColourChange.load(path)
    assert "\n" not in str(told.value) and str(path) in str(told.value)


@pytest.mark.parametrize("side", [[0, 1], [1, -1], [1], ["x", 1], [float("nan"), 1]])
def test_a_grid_without_extent_is_refused(change: ColourChange, tmp_path: Path, side: list[object]) -> None:
    path = tmp_path / "change.safetensors"
    change.save(path)
    description = json.dumps({"unlit": False, "corner": [0, 0], "side": side})
    save_file(load_file(path), path, metadata={"description": description})
    with pytest.raises(UserError, match="change.safetensors is .*: run scripts/aggregate.py again"):
        ColourChange.load(path)


def test_other_types_of_numbers_are_refused(change: ColourChange, tmp_path: Path) -> None:
    path = tmp_path / "change.safetensors"
    for name, tensor in (("share", torch.zeros(4, 4, dtype=torch.bfloat16)), ("share", torch.zeros(0, 0))):
        change.save(path)
        save_file(load_file(path) | {name: tensor}, path, metadata={"description": '{"corner": [0, 0], "side": [1, 1]}'})
        with pytest.raises(UserError, match="run scripts/aggregate.py again"):
            ColourChange.load(path)


def test_what_is_no_change_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "change.safetensors"
    for content in (b"", b"\x00" * 100, b"nothing of the kind"):
        path.write_bytes(content)
        with pytest.raises(UserError, match="no colour change .*: run scripts/aggregate.py again"):
            ColourChange.load(path)
