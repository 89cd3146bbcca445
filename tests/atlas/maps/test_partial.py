"""Partial atlases on true mappings: known colours, no holes, coverage beside colour."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from atlas.geometry.filling import push_pull
from atlas.geometry.warp import pixel_grid
from atlas.geometry.warp import sample as sample_at
from atlas.maps.partial import Partial, partial_atlas
from atlas.sample.scene import Sample


def smooth_atlas(size: int) -> np.ndarray:  # (N, N, 3)
    """Waves that frames of the small sample resolve."""
    y, x = np.mgrid[:size, :size] / size
    return (0.5 + 0.3 * np.stack([np.sin(9 * x + 4 * y), np.cos(11 * y), np.sin(7 * (x - y))], -1)).astype(np.float32)


def partial_of(
    sample: Sample, layer: str, frame: int, size: int, applies: np.ndarray | None = None, **more: int
) -> tuple[Partial, np.ndarray]:
    truth = smooth_atlas(size)
    uv = torch.from_numpy(sample.uvs[layer][frame])
    opacity = torch.from_numpy(np.round(sample.opacities[layer][frame] * 255) / np.float32(255))
    where = torch.ones_like(opacity) if applies is None else torch.from_numpy(applies)
    return partial_atlas(sample_at(torch.from_numpy(truth), uv), uv, opacity, where, (size, size), **more), truth


def truly_seen(sample: Sample, layer: str, frame: int, size: int, above: float = 0.5) -> np.ndarray:  # (N, N) bool
    """Texels under quads of neighbouring pixels that are all visible: drawn one by one, as a plain reference."""
    seen = np.zeros((size, size), np.uint8)
    texel = (sample.uvs[layer][frame] + 1) * size / 2 - 0.5
    visible = sample.opacities[layer][frame] > above
    for y, x in zip(*np.nonzero(visible[:-1, :-1] & visible[1:, :-1] & visible[:-1, 1:] & visible[1:, 1:]), strict=True):
        corners = np.array([texel[y, x], texel[y, x + 1], texel[y + 1, x + 1], texel[y + 1, x]])
        cv2.fillConvexPoly(seen, np.round(corners).astype(np.int32), 1)
    return seen.astype(bool)


@pytest.mark.parametrize("layer", ["foreground", "background"])
@pytest.mark.parametrize("size", [100, 500])
def test_a_covered_region_has_no_holes_and_the_true_colours(sample: Sample, layer: str, size: int) -> None:
    partial, truth = partial_of(sample, layer, 5, size)
    seen = cv2.erode(truly_seen(sample, layer, 5, size).astype(np.uint8), np.ones((3, 3))).astype(bool)
    assert seen.any()
    assert partial.coverage.numpy()[seen].min() > 0.999
    error = (partial.colour.numpy() - truth)[seen]
    assert -10 * np.log10((error**2).mean()) > 38
    assert np.abs(error).max() < 0.15


def test_coverage_ends_near_the_layer_and_colour_does_not(sample: Sample) -> None:
    partial, _ = partial_of(sample, "foreground", 5, 200)
    # A pixel is three texels here: two pixels by which coverage is grown, and the texels over which it fades.
    near = cv2.dilate(truly_seen(sample, "foreground", 5, 200, above=0).astype(np.uint8), np.ones((39, 39))).astype(bool)
    coverage = partial.coverage.numpy()
    assert coverage.min() >= 0 and coverage.max() <= 1 and (coverage[~near] == 0).all()
    assert (partial.colour.numpy()[coverage == 0] > 0.05).all()  # carried on outwards, not black
    steps = np.maximum(np.abs(np.diff(coverage, axis=0))[:, :-1], np.abs(np.diff(coverage, axis=1))[:-1])
    assert steps.max() < 0.3  # no seam where the edit ends


def test_colour_is_not_darkened_at_soft_edges() -> None:
    uv = pixel_grid(32, 32)
    opacity = torch.linspace(0, 1, 32).expand(32, 32)
    partial = partial_atlas(torch.full((32, 32, 3), 0.8), uv, opacity, torch.ones(32, 32), (32, 32))
    assert torch.allclose(partial.colour, torch.tensor(0.8), atol=1e-5)


def test_outlines_that_are_mixed_with_what_lies_behind_take_the_layers_colour(sample: Sample) -> None:
    uv = torch.from_numpy(sample.uvs["foreground"][5])
    opacity = torch.from_numpy(sample.opacities["foreground"][5])
    mixed = (0.2 * opacity + 0.9 * (1 - opacity))[..., None].expand(-1, -1, 3)
    assert ((opacity > 0.05) & (opacity < 0.8)).sum() > 50
    for faint in (1, 0.4):  # a veil that covers nothing whole has its colours all the same
        for rounds in (0, 1):
            partial = partial_atlas(mixed, uv, faint * opacity, torch.ones_like(opacity), (300, 300), refine=rounds)
            assert (partial.colour[partial.coverage > 0] - 0.2).abs().max() < 0.12
            assert (partial.colour[partial.coverage > 0] - 0.2).abs().mean() < 0.03


def test_where_the_edit_does_not_apply_there_is_no_coverage(sample: Sample) -> None:
    applies = np.ones((64, 96), np.float32)
    applies[:, 48:] = 0
    partial, truth = partial_of(sample, "background", 5, 150, applies)
    u = sample_at(partial.coverage[..., None], torch.from_numpy(sample.uvs["background"][5]))[..., 0].numpy()
    visible = sample.opacities["background"][5] > 0.99
    assert u[:, :44][visible[:, :44]].min() > 0.9 and u[:, 54:][visible[:, 54:]].max() < 0.1
    assert partial.seen.sum() > 1.5 * partial.coverage.sum()


def test_channels_are_treated_alike(sample: Sample) -> None:
    uv = torch.from_numpy(sample.uvs["foreground"][3])
    opacity = torch.from_numpy(sample.opacities["foreground"][3])
    colours = torch.from_numpy(sample.frames[3].astype(np.float32) / 255)
    both = partial_atlas(torch.cat([colours, colours], -1), uv, opacity, torch.ones_like(opacity), (180, 180)).colour
    assert (both[..., :3] - both[..., 3:]).abs().max() < 1e-6


def test_a_layer_that_is_not_seen_covers_nothing() -> None:
    partial = partial_atlas(torch.rand(8, 8, 3), pixel_grid(8, 8), torch.zeros(8, 8), torch.ones(8, 8), (16, 16))
    assert partial.coverage.sum() == 0 and partial.weight.sum() == 0 and partial.colour.shape == (16, 16, 3)


def test_refining_sharpens(sample: Sample) -> None:
    size = 128
    fine = torch.rand(1, 3, size // 2, size // 2, generator=torch.Generator().manual_seed(0))
    truth = torch.nn.functional.interpolate(fine, size, mode="bilinear", align_corners=False)[0].permute(1, 2, 0)
    uv = torch.from_numpy(sample.uvs["foreground"][5])
    opacity = torch.from_numpy(sample.opacities["foreground"][5])
    values = sample_at(truth, uv)
    errors = []
    for rounds in (0, 3):
        partial = partial_atlas(values, uv, opacity, torch.ones_like(opacity), (size, size), refine=rounds)
        errors.append(float((sample_at(partial.colour, uv) - values)[opacity > 0.9].abs().mean()))
    assert errors[1] < 0.5 * errors[0]


def test_push_pull_keeps_what_is_known() -> None:
    values, weight = torch.zeros(13, 7, 2), torch.zeros(13, 7)
    values[3, 4], weight[3, 4] = torch.tensor([0.25, 0.5]), 1
    assert torch.allclose(push_pull(values, weight), torch.tensor([0.25, 0.5]).expand(13, 7, 2), atol=1e-6)
