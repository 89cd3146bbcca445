"""Colour tables: a smooth map from colours to colours, learned from pixels before and after and looked up trilinearly."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import scipy.sparse as sparse
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from atlas.recolour.lattice import corners, solved, squared_differences

NODES = 25
"""Along each channel, at most. From 17 to 25 half a turn of the hue gained 2 dB, to 33 0.3 more (`blackswan`, `car-shadow`)."""
FEWEST_NODES = 7
_BRIGHTEST = 4.0  # colour without light, beyond which it is clipped
_FINE = 65536  # steps of the curve from colours to places: finer than those of 16 bits
_SMOOTH = 1e-3  # weight of second differences against the mean pixel's
_HOLD = 1e-6  # weight of the affine map, where there are no pixels and nothing bends
_ODD = 0.03  # departure at which a pixel's weight is halved: what is painted over a surface has no say in the surface's colours
_ROUNDS = 3  # of such weights


@dataclass(frozen=True)
class ColourTable:
    """A colour lookup table."""

    nodes: np.ndarray
    """(3, n) float32, ascending from 0 to 1 or more: where the table's planes lie along red, green and blue."""
    values: np.ndarray
    """(n, n, n, 3) float32 by red, green and blue: what becomes of the colours there."""

    def at(self, colours: list[Tensor]) -> list[Tensor]:  # planes (h, w) for red, green and blue
        """Look colours up, trilinearly; those outside of its nodes are clipped."""
        device, last = colours[0].device, self.nodes.shape[1] - 1
        places = []
        for plane, nodes, curve in zip(colours, self.nodes, self._curves, strict=True):
            step = (plane * (_FINE / float(nodes[-1])) + 0.5).clamp_(0, _FINE).to(torch.int32)
            places.append(curve.to(device)[step])
        # grid_sample names the last axis first
        where = torch.stack(places[::-1], -1).mul_(2 / last).sub_(1)[None, None]
        return list(F.grid_sample(self._planes.to(device), where, padding_mode="border", align_corners=True)[0, :, 0])

    def at_bytes(self, pixels: np.ndarray) -> Tensor:  # (h, w, 3) uint8 -> (h, w, 4)
        """Look 8-bit colours up, on a CPU: the same in 255ths, in a fraction of the time. The fourth channel is 0."""
        red, green, blue = cv2.split(pixels)
        across, down, first_column, first_row = self._byte_places
        columns = cv2.add(cv2.LUT(red, across), cv2.LUT(blue, first_column))
        rows = cv2.add(cv2.LUT(green, down), cv2.LUT(blue, first_row))
        return torch.from_numpy(cv2.remap(self._bytes, columns, rows, cv2.INTER_LINEAR))

    @cached_property
    def _bytes(self) -> np.ndarray:  # (16 * n, 16 * n, 4) float32
        """The table in 255ths for each of 256 blues: pictures over red (columns) and green (rows), sixteen to a row."""
        places, count = self._positions()[2], self.nodes.shape[1]
        low = np.minimum(places.astype(int), count - 2)
        share = (places - low).astype(np.float32)[:, None, None, None]
        values = self.values.transpose(2, 1, 0, 3) * np.float32(255)  # blue, green, red
        pictures = np.zeros((256, count, count, 4), np.float32)  # OpenCV looks up four channels in a third of the time of three
        pictures[..., :3] = values[low] * (1 - share) + values[low + 1] * share
        return pictures.reshape(16, 16, count, count, 4).transpose(0, 2, 1, 3, 4).reshape(16 * count, 16 * count, 4)

    @cached_property
    def _byte_places(self) -> list[np.ndarray]:  # (256,) each
        """For 8-bit red and green where they lie in a picture, for blue the first column and the first row of its own."""
        red, green, _ = self._positions()
        firsts = (number.astype(np.float32) * self.nodes.shape[1] for number in (np.arange(256) % 16, np.arange(256) // 16))
        return [red, green, *firsts]

    def _positions(self) -> list[np.ndarray]:  # (256,) each
        """Where 8-bit red, green and blue lie between the nodes, as `at` has it."""
        even = np.arange(256, dtype=np.float32) / np.float32(255)
        steps = [(even * np.float32(_FINE / float(nodes[-1])) + np.float32(0.5)).clip(0, _FINE) for nodes in self.nodes]
        return [curve.numpy()[step.astype(np.int32)] for curve, step in zip(self._curves, steps, strict=True)]

    @cached_property
    def _curves(self) -> list[Tensor]:
        """For each channel, where even steps of it lie between the nodes, counted in nodes: faster read off than searched."""
        even = np.arange(self.nodes.shape[1])
        places = [np.interp(np.linspace(0, nodes[-1], _FINE + 1), nodes, even) for nodes in self.nodes]
        return [torch.from_numpy(curve.astype(np.float32)) for curve in places]

    @cached_property
    def _planes(self) -> Tensor:  # (1, 3, n, n, n)
        return torch.from_numpy(np.ascontiguousarray(self.values.transpose(3, 0, 1, 2)))[None]


def fit_table(
    before: np.ndarray,  # (M, 3) from 0 on
    after: np.ndarray,  # (M, 3)
    most: int = NODES,
) -> ColourTable:
    """Fit a colour table to pixels before and after an edit: least squares, drawn towards smoothness, outliers left out.

    In closed form but for the outliers' weights, which are found in a few rounds. Where there are no pixels the table goes
    on as it bends least. most: nodes along each channel; few pixels get fewer.
    """
    before, after = (np.asarray(values, np.float64) for values in (before, after))
    count = int(np.clip(len(before) ** (1 / 3), FEWEST_NODES, most))
    nodes = np.stack([_nodes(before[:, channel], count) for channel in range(3)])
    looked_up = _lookup_matrix(before, nodes)
    grid = np.stack(np.meshgrid(*nodes, indexing="ij"), -1).reshape(-1, 3)
    bending = squared_differences((count,) * 3, (1, -2, 1))
    share, values = np.ones(len(before)), np.zeros_like(grid)
    for number in range(_ROUNDS):
        affine = _affine(before, after, share)
        base = np.column_stack([grid, np.ones(len(grid))]) @ affine
        scale = len(grid) / max(share.sum(), 1e-12)
        normal = (looked_up.T @ looked_up.multiply(share[:, None])) * scale + _SMOOTH * bending
        normal += _HOLD * sparse.eye_array(len(grid))
        right = looked_up.T @ (share[:, None] * (after - looked_up @ base)) * scale
        values = base + solved(sparse.csr_array(normal), right, values - base if number else None)
        apart = np.linalg.norm(looked_up @ values - after, axis=1)
        share = 1 / (1 + (apart / _ODD) ** 2)
    return ColourTable(nodes.astype(np.float32), values.reshape(count, count, count, 3).astype(np.float32))


def _nodes(values: np.ndarray, count: int) -> np.ndarray:  # (M,) -> (n,)
    """Place nodes from 0 to 1, or to the brightest colour, closer where there are more pixels."""
    even, last = np.linspace(0, 1, count), float(np.clip(values.max(), 1, _BRIGHTEST))
    nodes = (last * even + np.quantile(values.clip(0, last), even)) / 2
    nodes[0], nodes[-1] = 0, last
    return nodes


def _lookup_matrix(colours: np.ndarray, nodes: np.ndarray) -> sparse.csr_array:  # (M, 3), (3, n) -> (M, n^3)
    """The trilinear look-up of colours as a matrix over the table's values."""
    count, length = len(colours), nodes.shape[1]
    even = np.arange(length, dtype=np.float64)
    places = np.stack([np.interp(colours[:, channel], nodes[channel], even) for channel in range(3)], -1)
    columns, shares = zip(*corners(places, (length,) * 3), strict=True)
    rows = np.tile(np.arange(count), 8)
    return sparse.csr_array((np.concatenate(shares), (rows, np.concatenate(columns))), (count, length**3))


def _affine(before: np.ndarray, after: np.ndarray, weight: np.ndarray) -> np.ndarray:  # (4, 3)
    """Regress one affine map of the colours, drawn towards leaving them as they are."""
    known = np.column_stack([before, np.ones(len(before))])
    normal = known.T @ (weight[:, None] * known) / max(weight.sum(), 1e-12)
    right = known.T @ (weight[:, None] * (after - before)) / max(weight.sum(), 1e-12)
    return np.eye(4, 3) + np.linalg.solve(normal + 1e-4 * np.eye(4), right)
