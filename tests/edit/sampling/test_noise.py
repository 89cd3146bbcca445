"""Atlas noise: standard normal and white within a frame, moving with the layers between frames."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from atlas.clip.clip import Clip
from atlas.maps.maps import Maps
from atlas.maps.tracks import Tracks
from atlas.maps.views import CroppedMaps
from edit.sampling.noise import AtlasNoise, noise_texels

CELL = 8  # pixels


class Moving:
    """Maps of layers that move across a wide atlas by whole or half pixels each frame; columns part them."""

    def __init__(
        self, speeds: dict[str, float], frames: int = 3, height: int = 96, width: int = 192, zoom: float = 1.0
    ) -> None:
        self.layers, self.speeds = list(speeds), speeds
        self.frames, self.height, self.width, self.zoom = frames, height, width, zoom

    def uv(self, layer: str, frame: int) -> np.ndarray:
        scale = self.zoom**frame / 200
        x = (np.arange(self.width) + 0.5 - self.width / 2 - self.speeds[layer] * frame) * scale
        y = (np.arange(self.height) + 0.5 - self.height / 2) * scale
        return np.stack(np.broadcast_arrays(x[None], y[:, None]), -1).astype(np.float32)

    def opacity(self, layer: str, frame: int) -> np.ndarray:
        share = len(self.layers)
        mine = np.arange(self.width) * share // self.width == self.layers.index(layer)
        return np.broadcast_to(mine.astype(np.float32), (self.height, self.width))

    def light(self, layer: str, frame: int) -> np.ndarray:
        return np.ones((self.height, self.width, 3), np.float32)

    def has_light(self, layer: str) -> bool:
        return False

    def atlas(self, layer: str) -> np.ndarray:
        return np.zeros((400, 400, 4), np.float32)

    def atlas_size(self, layer: str) -> tuple[int, int]:
        return 400, 400

    @property
    def shape(self) -> tuple[int, int, int]:
        return 4, self.height // CELL, self.width // CELL


def correlation(one: Tensor, other: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1])


@pytest.fixture(scope="module")
def maps(sample_clip: Clip) -> Maps:
    return Maps(sample_clip.fit_folder("truth"))


def test_within_a_frame_it_is_standard_normal_and_white(maps: Maps) -> None:
    drawn = torch.cat([AtlasNoise(maps, maps.layers, (4, 32, 48), seed).frame(5) for seed in range(8)])
    assert abs(float(drawn.mean())) < 0.01 and abs(float(drawn.std()) - 1) < 0.02
    assert abs(float((drawn**4).mean()) - 3) < 0.15
    for near in (
        (drawn[..., 1:], drawn[..., :-1]),
        (drawn[..., 1:, :], drawn[..., :-1, :]),
        (drawn[..., 1:, 1:], drawn[..., :-1, :-1]),
        (drawn[:, 1:], drawn[:, :-1]),
        (drawn[1:], drawn[:-1]),
    ):
        assert abs(correlation(*near)) < 0.03


def test_each_cell_has_variance_one_however_few_texels_it_has() -> None:
    maps = Moving({"foreground": 2, "background": 3}, height=32, width=60)
    drawn = torch.cat([AtlasNoise(maps, maps.layers, (64, 4, 8), seed).frame(1)[0] for seed in range(4)])
    assert (drawn.std(0) - 1).abs().max() < 5 / math.sqrt(2 * 256)  # of 256 numbers of a cell: within 5 of their deviations
    assert drawn.mean(0).abs().max() < 5 / math.sqrt(256)


@pytest.mark.parametrize(("speed", "expected"), [(0, 1), (8, 1), (16, 1), (4, 0.5), (2, 0.75), (7, 0.125)])
def test_cells_share_what_they_share_of_the_layer(speed: float, expected: float) -> None:
    maps = Moving({"background": speed})
    whole = int(speed // CELL)
    pairs = []
    for seed in range(3):
        noise = AtlasNoise(maps, maps.layers, maps.shape, seed)
        # In the next frame the layer stands `speed` pixels to the right.
        first, second = (noise.frame(i)[..., 1:-1, 1:-1] for i in (0, 1))
        pairs.append((first[..., : first.shape[-1] - whole], second[..., whole:]))
    one, other = (torch.stack(side) for side in zip(*pairs, strict=True))
    assert correlation(one, other) == pytest.approx(expected, abs=1e-3 if expected == 1 else 0.03)


def test_any_two_frames_share_without_drift() -> None:
    maps = Moving({"background": 0.5}, frames=33)
    noise = AtlasNoise(maps, maps.layers, maps.shape, 0)
    first, last = noise.frame(0)[..., 1:-1, 1:-1], noise.frame(32)[..., 1:-1, 1:-1]  # 16 pixels, 2 cells
    assert correlation(first[..., :-2], last[..., 2:]) > 0.999
    assert abs(correlation(first, last)) < 0.05


def test_layers_that_part_carry_their_own_noise() -> None:
    maps = Moving({"foreground": -8, "background": 8})
    noise = AtlasNoise(maps, maps.layers, maps.shape, 0)
    first, second = noise.frame(0)[..., 1:-1, :], noise.frame(1)[..., 1:-1, :]
    left, right = first[..., 1:11], first[..., 13:22]
    assert correlation(left[..., 1:], second[..., 1:10]) > 0.999
    assert correlation(right, second[..., 14:23]) > 0.999
    assert abs(correlation(left, second[..., 1:11])) < 0.05
    assert abs(correlation(left[..., :9], right)) < 0.1  # the same places of two atlases: other numbers


def test_on_the_sample_cells_keep_their_noise_along_the_motion(maps: Maps) -> None:
    shape = (4, 16, 24)  # cells of 4 pixels
    noise, tracks = AtlasNoise(maps, maps.layers, shape, 0), Tracks(maps, maps.layers)
    along, still = [], []
    for i in range(11):
        place, known = tracks.places(i, i + 1, shape[1:])
        cell = ((place + 1) * torch.tensor([12.0, 8.0])).floor().long()
        first, second = noise.frame(i)[0], noise.frame(i + 1)[0]
        moved = second[:, cell[..., 1].clamp(0, 15), cell[..., 0].clamp(0, 23)]
        along.append((first[:, known], moved[:, known]))
        still.append((first[:, known], second[:, known]))
    one, other = (torch.cat([part.flatten() for part in side]) for side in zip(*along, strict=True))
    fixed = correlation(*(torch.cat([part.flatten() for part in side]) for side in zip(*still, strict=True)))
    assert correlation(one, other) > 0.5
    assert correlation(one, other) > fixed + 0.1


def test_a_view_that_follows_the_layer_sees_noise_that_stands_still() -> None:
    maps = Moving({"background": 5}, frames=4)
    boxes = [(slice(8, 72), slice(16 + 5 * i, 144 + 5 * i)) for i in range(4)]
    for height, width in ((64, 128), (128, 256)):
        view = CroppedMaps(maps, boxes, height, width)
        noise = AtlasNoise(view, view.layers, (4, height // CELL, width // CELL), 0)
        first, last = noise.frame(0)[..., 1:-1, 1:-1], noise.frame(3)[..., 1:-1, 1:-1]
        assert correlation(first, last) > 0.999


def test_where_no_layer_is_seen_a_frame_has_its_own_noise() -> None:
    maps = Moving({"foreground": 0, "background": 0})
    noise = AtlasNoise(maps, ["foreground"], maps.shape, 3)
    frames = torch.cat([noise.frame(i) for i in range(3)])
    seen, unseen = frames[..., :12], frames[..., 12:]
    assert torch.equal(seen[0], seen[1]) and torch.equal(seen[0], seen[2])
    assert abs(correlation(unseen[0], unseen[1])) < 0.06 and abs(float(unseen.std()) - 1) < 0.06
    assert torch.equal(noise.frame(1), frames[1:2])
    assert not torch.equal(AtlasNoise(maps, ["foreground"], maps.shape, 4).frame(1), frames[1:2])
    assert torch.equal(AtlasNoise(maps, ["foreground"], maps.shape, 3).frame(1), frames[1:2])


def test_a_layer_that_is_never_seen_takes_part_without_harm() -> None:
    class Absent(Moving):
        def opacity(self, layer: str, frame: int) -> np.ndarray:
            return np.full((self.height, self.width), float(layer == "background"), np.float32)

    maps = Absent({"foreground": 0, "background": 0})
    assert torch.isfinite(AtlasNoise(maps, maps.layers, maps.shape, -1).frame(0)).all()


def texels_of_a_cell(maps: Moving, size: tuple[int, int], frame: int) -> float:
    step = np.abs(np.diff(maps.uv("background", frame)[0, :2, 0]))[0]
    return float((CELL * step / 2) ** 2 * size[0] * size[1])


@pytest.mark.parametrize("zoom", [1.0, 0.6, 0.4])
def test_an_atlas_has_enough_texels_for_a_cell(zoom: float) -> None:
    maps = Moving({"background": 0}, frames=3, zoom=zoom)  # an object that comes nearer is spread ever thinner
    size = noise_texels(maps, "background", maps.shape)
    counts = [texels_of_a_cell(maps, size, frame) for frame in range(3)]
    assert min(counts) >= 15 and sorted(counts)[1] >= 140
    if zoom == 1:
        assert counts[0] <= 160


def test_its_memory_is_bounded() -> None:
    maps = Moving({"background": 0}, height=512, width=1024)
    size = noise_texels(maps, "background", (4, 512, 1024))
    assert 4 * 4 * size[0] * size[1] <= 64 * 2**20
