"""Correspondences through the atlas: known motion, what is hidden, cells of any size, views of a part."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from atlas.clip.clip import Clip
from atlas.geometry.warp import sample as sample_at
from atlas.maps.maps import Maps
from atlas.maps.tracks import Tracks
from atlas.maps.views import CroppedMaps
from atlas.sample.scene import Sample


@pytest.fixture(scope="module")
def maps(sample_clip: Clip) -> Maps:
    return Maps(sample_clip.fit_folder("truth"))


def uv_at(sample: Sample, layer: str, frame: int, place: Tensor) -> Tensor:
    return sample_at(torch.from_numpy(sample.uvs[layer][frame]), place)


def opacity_at(sample: Sample, layer: str, frame: int, place: Tensor) -> Tensor:
    return sample_at(torch.from_numpy(sample.opacities[layer][frame][..., None]), place)[..., 0]


def error_in_pixels(sample: Sample, layer: str, frame: int, other: int, place: Tensor, cells: Tensor) -> Tensor:
    """How far each place of `other` is from showing what the cell shows: their distance in the true mapping, in its pixels."""
    uv = sample.uvs[layer][other]
    pixel = min(np.linalg.norm(np.diff(uv, axis=axis), axis=-1).min() for axis in (0, 1))
    return (uv_at(sample, layer, other, place) - uv_at(sample, layer, frame, cells)).norm(dim=-1) / pixel


@pytest.mark.parametrize(("frame", "other"), [(2, 3), (0, 11), (9, 4)])
@pytest.mark.parametrize(("most_texels", "bar"), [(512, 0.02), (48, 0.15)])
def test_places_are_those_of_the_true_motion(
    sample: Sample, maps: Maps, frame: int, other: int, most_texels: int, bar: float
) -> None:
    tracks = Tracks(maps, maps.layers, most_texels=most_texels)
    place, known = tracks.places(frame, other)
    cells, _ = tracks.places(frame, frame)
    for layer in sample.layers:
        seen = torch.from_numpy(sample.opacities[layer][frame] > 0.55)
        assert (known & seen).sum() > 0.4 * seen.sum()
        assert error_in_pixels(sample, layer, frame, other, place, cells)[known & seen].max() < bar
        assert opacity_at(sample, layer, other, place)[known & seen].min() > 0.45


def test_all_that_both_frames_show_is_known_but_for_the_border(sample: Sample, maps: Maps) -> None:
    _, known = Tracks(maps, maps.layers).places(4, 6)
    shown, sure = torch.zeros(64 * 96, dtype=torch.bool), torch.ones(64 * 96, dtype=torch.bool)
    for layer in sample.layers:  # each pixel looked for among all pixels of the other frame, one by one
        uv, other = (torch.from_numpy(sample.uvs[layer][i]).reshape(-1, 2) for i in (4, 6))
        distance, nearest = torch.cdist(uv, other).min(1)
        step = float(np.linalg.norm(np.diff(sample.uvs[layer][6], axis=1), axis=-1).max())
        here, there = (torch.from_numpy(sample.opacities[layer][i]).reshape(-1) for i in (4, 6))
        row, column = nearest // 96, nearest % 96
        inside = (row > 0) & (row < 63) & (column > 0) & (column < 95)
        shown |= (distance < step * 0.75) & (here > 0.5) & (there[nearest] > 0.5) & inside
        outline = (there[nearest] - 0.5).abs() < 0.3
        sure &= (inside | (distance > 1.5 * step) | (here <= 0.5)) & ~((here > 0.5) & outline)
    assert sure.float().mean() > 0.85
    assert (known.reshape(-1) == shown)[sure].float().mean() > 0.995


def test_a_frame_in_itself_is_its_own_cells(maps: Maps) -> None:
    place, known = Tracks(maps, maps.layers).places(3, 3, (4, 6))
    assert known.all() and place.shape == (4, 6, 2)
    assert torch.allclose(place[1, 2], torch.tensor([2.5 / 3 - 1, 1.5 / 2 - 1]), atol=1e-6)


def test_cells_are_looked_up_at_their_centres(maps: Maps) -> None:
    tracks = Tracks(maps, maps.layers)
    coarse, known = tracks.places(2, 5, (64 // 3, 96 // 3))
    fine, fine_known = tracks.places(2, 5, (64 // 3 * 3, 96))
    both = known & fine_known[1::3, 1::3]
    assert both.sum() > 0.5 * both.numel()
    assert torch.allclose(coarse[both], fine[1::3, 1::3][both], atol=1e-5)


def test_places_of_few_cells_are_looked_up_once(maps: Maps) -> None:
    tracks = Tracks(maps, maps.layers)
    assert tracks.places(2, 5, (8, 12))[0] is tracks.places(2, 5, (8, 12))[0]
    assert tracks.places(2, 5, (8, 12))[0] is not tracks.places(5, 2, (8, 12))[0]
    assert tracks.places(2, 5, (100, 100))[0] is not tracks.places(2, 5, (100, 100))[0]  # those would take memory


def test_what_the_other_frame_does_not_show_is_not_known_and_stays_where_it_is(sample: Sample, maps: Maps) -> None:
    tracks = Tracks(maps, ["background"])
    place, known = tracks.places(0, 6)
    cells, _ = tracks.places(0, 0)
    assert torch.equal(place[~known], cells[~known])
    assert not known[torch.from_numpy(sample.opacities["foreground"][0] > 0.55)].any()  # a layer that is not followed
    hidden = torch.from_numpy(sample.opacities["background"][6] < 0.4)
    true = torch.from_numpy(sample.uvs["background"][0])
    behind = torch.from_numpy(sample.uvs["background"][6])[hidden]  # places of the atlas that frame 6 hides
    distance = torch.cdist(true.reshape(-1, 2), behind).amin(1).view(64, 96)
    assert (distance < 1e-3).sum() > 20 and not known[distance < 1e-3].any()


def test_a_mapping_that_is_folded_gives_no_places_between_its_two_sheets() -> None:
    class Folded:
        layers, frames, height, width = ["background"], 2, 32, 64

        def uv(self, layer: str, frame: int) -> np.ndarray:
            x = np.linspace(-0.8, 0.8, 64, dtype=np.float32)
            folded = x if frame == 0 else np.where(x < 0.3, x, 0.6 - x)
            y = np.linspace(-0.4, 0.4, 32, dtype=np.float32)
            return np.stack(np.broadcast_arrays(folded[None], y[:, None]), -1)

        def opacity(self, layer: str, frame: int) -> np.ndarray:
            return np.ones((32, 64), np.float32)

        def atlas_size(self, layer: str) -> tuple[int, int]:
            return 128, 128

    folded = Folded()
    place, known = Tracks(folded, ["background"]).places(0, 1)  # type: ignore[arg-type]
    error = sample_at(torch.from_numpy(folded.uv("background", 1)), place) - torch.from_numpy(folded.uv("background", 0))
    assert known.sum() > 0.4 * known.numel()
    assert error[known].abs().max() < 1 / 128


def test_a_view_of_a_part_has_the_places_of_the_whole(maps: Maps) -> None:
    corners = [(8, 20), (10, 24)]
    boxes = [(slice(y, y + 40), slice(x, x + 48)) for y, x in corners for _ in range(6)]
    part, known = Tracks(CroppedMaps(maps, boxes, 40, 48), maps.layers).places(5, 6)
    whole, whole_known = Tracks(maps, maps.layers).places(5, 6)
    moved = (part + 1) * torch.tensor([24.0, 20.0]) + torch.tensor([24.0, 10.0])  # pixels of the whole frame
    expected = ((whole + 1) * torch.tensor([48.0, 32.0]))[boxes[5]]
    both = known & whole_known[boxes[5]]
    assert both.sum() > 0.6 * both.numel()
    assert torch.allclose(moved[both], expected[both], atol=0.02)
