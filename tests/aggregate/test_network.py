"""The aggregation network: starts as the identity, learns, repeats, never makes things worse."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from aggregate.averages import weighted_mean
from aggregate.network import _SECOND, AggregationNetwork, Training, _Adam, _in_tiles, refine
from aggregate.windows import Source, View
from atlas.geometry.warp import pixel_grid
from atlas.geometry.warp import sample as sample_at
from tests.aggregate.stored import stacked

QUICK = Training(steps=40, window=48, check_every=10)


Case = tuple[torch.Tensor, torch.Tensor, torch.Tensor, dict[int, View]]


def blurred_case(keyframes: int = 1, noise: float = 0.0) -> Case:
    """Partial atlases that are a blurred picture, and keyframes that show the picture sharp."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(1, 6, 24, 24, generator=generator)
    sharp = torch.nn.functional.interpolate(coarse, 72, mode="bicubic", align_corners=False)
    soft = torch.nn.functional.avg_pool2d(sharp, 3, 1, 1, count_include_pad=False)[0].permute(1, 2, 0)
    uv = (pixel_grid(72, 72) * 0.9).reshape(-1, 2)
    colours, views = [], []
    for _ in range(keyframes):
        grain = noise * torch.randn(72, 72, 6, generator=generator)
        colours.append(soft + grain)
        edited, original = sample_at(sharp[0].permute(1, 2, 0) + grain, uv).split(3, dim=-1)
        views.append(View(uv, edited, original, torch.ones(len(uv))))
    return torch.stack(colours), torch.ones(keyframes, 72, 72), torch.ones(72, 72), dict(enumerate(views))


def test_it_starts_as_the_identity_and_has_the_published_shape() -> None:
    network = AggregationNetwork(torch.Generator().manual_seed(0))
    images = torch.rand(2, 3, 9, 11)
    assert torch.equal(network(images), images)
    assert [tuple(p.shape) for p in network.parameters()] == [(64, 3, 3, 3), (3, 64, 3, 3)]


@pytest.mark.parametrize("keyframes", [1, 3])
def test_it_learns_to_undo_a_blur_and_repeats(keyframes: int) -> None:
    results = [refine(*blurred_case(keyframes), seed=3, training=QUICK) for _ in range(2)]
    assert results[0].loss_after < 0.8 * results[0].loss_before
    assert torch.equal(results[0].edited, results[1].edited) and torch.equal(results[0].reference, results[1].reference)


def test_it_does_not_learn_the_keyframes_noise() -> None:
    """Each keyframe's grain is in its own partial atlas and in nobody else's: sharpening it would be no gain."""
    colours, weights, coverage, views = blurred_case(3, noise=0.2)
    result = refine(colours, weights, coverage, views, training=QUICK)
    start = colours.mean(0)
    clean = blurred_case()[0][0]
    assert (result.edited - clean[..., :3]).abs().mean() < 1.05 * (start - clean)[..., :3].abs().mean()


def test_what_was_not_edited_leaves_no_difference() -> None:
    colours, weights, coverage, views = blurred_case(2)
    same = {number: View(view.uv, view.edited, view.edited, view.weight) for number, view in views.items()}
    result = refine(torch.cat([colours[..., :3]] * 2, -1), weights, coverage, same, training=QUICK)
    assert result.loss_after < result.loss_before
    assert (result.edited - result.reference).abs().max() < 1e-6


def test_it_is_never_worse_than_its_start() -> None:
    colours, weights, coverage, views = blurred_case(2)
    wild = Training(steps=20, window=48, check_every=5, learning_rate=10.0)
    result = refine(colours, weights, coverage, views, training=wild)
    assert result.loss_after <= result.loss_before
    perfect = {
        number: View(view.uv, *sample_at(colours[number], view.uv).split(3, dim=-1), view.weight)
        for number, view in views.items()
    }
    kept = refine(colours, weights, coverage, perfect, training=QUICK)
    assert torch.equal(torch.cat([kept.edited, kept.reference], -1), weighted_mean(colours, weights))
    assert kept.steps == QUICK.check_every  # and is given up as soon as that is seen


def test_keyframes_that_share_nothing_are_left_alone() -> None:
    colours, weights, coverage, views = blurred_case(2)
    weights[0, :, 36:], weights[1, :, :36] = 0, 0
    halves = (views[0].uv[:, 0] < -0.1, views[1].uv[:, 0] > 0.1)
    views = {
        number: View(*(getattr(views[number], name)[half] for name in ("uv", "edited", "original", "weight")))
        for number, half in enumerate(halves)
    }
    result = refine(colours, weights, coverage, views, training=QUICK)
    assert result.steps == 0 and torch.equal(result.edited, weighted_mean(colours, weights)[..., :3])


def test_outside_the_covered_box_nothing_changes() -> None:
    colours, weights, _, views = blurred_case()
    coverage = torch.zeros(72, 72)
    coverage[20:40, 10:60] = 1
    inside = sample_at(coverage[..., None], views[0].uv)[:, 0] > 0.99
    view = View(*(getattr(views[0], name)[inside] for name in ("uv", "edited", "original", "weight")))
    result = refine(colours, weights, coverage, {0: view}, training=QUICK)
    assert result.loss_after < result.loss_before
    changed = (result.edited != colours[0, ..., :3]).any(-1)
    changed[18:42, 8:62] = False
    assert not changed.any()


def test_of_many_keyframes_some_are_learned_from_and_the_others_help_to_predict_them(tmp_path: Path) -> None:
    colours, weights, coverage, views = blurred_case(20, noise=0.05)
    with stacked(tmp_path / "colours", colours) as stored, stacked(tmp_path / "weights", weights) as stored_weights:
        source = Source.of(stored, stored_weights, [3, 7], (slice(0, 72), slice(0, 72)))
        window = source.window(1, slice(10, 30), slice(5, 40))  # keyframe 7 is left out, all others are in
        some = {number: views[number] for number in (3, 7)}
        result = refine(stored, stored_weights, coverage, some, training=QUICK)
    others = torch.cat([colours[:7], colours[8:]]).mean(0)[10:30, 5:40]
    assert torch.allclose(torch.cat([*window]).permute(1, 2, 0), others, atol=1e-5)
    assert result.loss_after < 0.9 * result.loss_before
    in_memory = refine(colours, weights, coverage, some, training=QUICK)
    assert torch.equal(result.edited, in_memory.edited) and torch.equal(result.reference, in_memory.reference)


def test_tiles_give_what_the_whole_gives() -> None:
    network = AggregationNetwork(torch.Generator().manual_seed(0))
    torch.nn.init.normal_(network.second.weight, 0, 0.1, generator=torch.Generator().manual_seed(1))
    images, covered = torch.rand(2, 3, 150, 300, generator=torch.Generator().manual_seed(2)), torch.zeros(150, 300)
    covered[100:, 20:] = 1  # of three rows of tiles, the first shows nothing
    with torch.no_grad():
        tiled, whole = _in_tiles(network, images, covered > 0), network(images)
    assert torch.allclose(tiled[..., 64:, :], whole[..., 64:, :], atol=1e-5)
    assert torch.equal(tiled[..., :64, :], images[..., :64, :])


@pytest.mark.slow  # it loads what torch's own takes long to load
def test_its_steps_are_those_of_torchs_adam() -> None:
    ours, theirs = (AggregationNetwork(torch.Generator().manual_seed(0)) for _ in range(2))
    groups = [{"params": theirs.first.parameters(), "lr": 4e-3}, {"params": theirs.second.parameters(), "lr": 4e-3 * _SECOND}]
    adam, reference = _Adam(ours, 4e-3), torch.optim.Adam(groups)
    images = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(1))
    for _ in range(3):
        adam.step((ours(images) - images**2).abs().mean())
        reference.zero_grad()
        (theirs(images) - images**2).abs().mean().backward()
        reference.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(one, other, rtol=1e-6, atol=1e-9)
