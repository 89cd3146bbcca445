"""Colour tables: they find known maps of colours, also from few pixels, and leave outliers out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from atlas.recolour.table import NODES, ColourTable, fit_table


def looked_up(table: ColourTable, colours: np.ndarray) -> np.ndarray:
    planes = list(torch.from_numpy(np.ascontiguousarray(colours.T[:, None], np.float32)))
    return torch.stack(table.at(planes), -1).numpy().reshape(-1, 3)


def colours(count: int, seed: int) -> np.ndarray:
    """Greyish colours, as most surfaces have them."""
    random = np.random.default_rng(seed)
    return np.clip(random.uniform(0.05, 0.9, (count, 1)) + random.normal(0, 0.1, (count, 3)), 0, 1).astype(np.float32)


MAPS = {
    "invert": lambda colour: 1 - colour,
    "orange": lambda colour: np.sqrt(colour) * np.array([1, 0.55, 0.1], np.float32),
    "half a turn of the hue": lambda colour: colour.max(-1, keepdims=True) + colour.min(-1, keepdims=True) - colour,
}


@pytest.mark.parametrize("name", MAPS)
def test_known_maps_are_found(name: str) -> None:
    before = colours(16_000, 0)
    table = fit_table(before, MAPS[name](before))
    assert table.nodes.shape == (3, NODES)
    new = colours(2000, 1)
    assert np.sqrt(((looked_up(table, new) - MAPS[name](new)) ** 2).mean()) < 2 / 255


def test_it_goes_on_as_it_bends_least() -> None:
    before = 0.3 + 0.2 * colours(5000, 0)
    table = fit_table(before, 0.5 * before + 0.1)
    beyond = np.array([[0, 0, 0], [1, 1, 1], [0.1, 0.9, 0.5]], np.float32)
    np.testing.assert_allclose(looked_up(table, beyond), 0.5 * beyond + 0.1, atol=0.05)


def test_what_is_painted_over_a_surface_has_no_say() -> None:
    before = colours(4000, 0)
    after = MAPS["invert"](before)
    after[::12] = (0.9, 0.1, 0.1)
    assert np.abs(looked_up(fit_table(before, after), before) - MAPS["invert"](before)).mean() < 1 / 255


def test_few_pixels_and_one_colour() -> None:
    one = np.full((30, 3), 0.4, np.float32)
    table = fit_table(one, one + 0.2)
    np.testing.assert_allclose(looked_up(table, one), one + 0.2, atol=0.01)
    assert table.nodes.shape[1] < NODES and np.isfinite(table.values).all()


def test_colours_brighter_than_white_have_nodes() -> None:
    bright = 1.6 * colours(5000, 0)
    table = fit_table(bright, bright[:, [1, 2, 0]])
    assert table.nodes[:, -1].max() > 1.3
    assert np.abs(looked_up(table, bright) - bright[:, [1, 2, 0]]).max() < 0.02


def test_bytes_are_looked_up_as_colours_are() -> None:
    random = np.random.default_rng(3)
    nodes = np.sort(random.uniform(0.02, 0.98, (3, 9)), 1)
    nodes = np.column_stack([np.zeros(3), nodes, [1, 1.3, 2]]).astype(np.float32)
    table = ColourTable(nodes, random.uniform(-0.2, 1.2, (11, 11, 11, 3)).astype(np.float32))
    pixels = random.integers(0, 256, (40, 50, 3)).astype(np.uint8)
    pixels[0, :3] = [[0, 0, 0], [255, 255, 255], [0, 255, 7]]
    planes = [torch.from_numpy(plane) for plane in np.moveaxis(pixels.astype(np.float32) / 255, -1, 0)]
    for fast, plain in zip(table.at_bytes(pixels)[..., :3].unbind(-1), table.at(planes), strict=True):
        assert torch.allclose(fast / 255, plain, atol=3e-5)  # places to 1/32768 of a node, values up to 1.4 apart
