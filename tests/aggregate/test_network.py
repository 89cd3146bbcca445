"""The aggregation network: starts as the identity, learns, repeats, never makes things worse."""

from __future__ import annotations

import torch

from aggregate.network import AggregationNetwork, Training, View, _in_bands, refine
from atlas.warp import pixel_grid
from atlas.warp import sample as sample_at

QUICK = Training(steps=40, window=48, check_every=10)


def blurred_case() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, list[View]]:
    """An aggregate that is a blurred picture, and a keyframe that shows the picture sharp."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(1, 6, 24, 24, generator=generator)
    sharp = torch.nn.functional.interpolate(coarse, 72, mode="bicubic", align_corners=False)
    soft = torch.nn.functional.avg_pool2d(sharp, 3, 1, 1, count_include_pad=False)[0].permute(1, 2, 0)
    uv = (pixel_grid(72, 72) * 0.9).reshape(-1, 2)
    edited, original = sample_at(sharp[0].permute(1, 2, 0), uv).split(3, dim=-1)
    view = View(uv, edited, original, torch.ones(len(uv)))
    return soft[..., :3].contiguous(), soft[..., 3:].contiguous(), torch.ones(72, 72), [view]


def test_it_starts_as_the_identity_and_has_the_published_shape() -> None:
    network = AggregationNetwork(torch.Generator().manual_seed(0))
    images = torch.rand(2, 3, 9, 11)
    assert torch.equal(network(images), images)
    assert [tuple(p.shape) for p in network.parameters()] == [(64, 3, 3, 3), (3, 64, 3, 3)]


def test_it_learns_to_undo_a_blur_and_repeats() -> None:
    edited, reference, coverage, views = blurred_case()
    results = [refine(edited, reference, coverage, views, seed=3, training=QUICK) for _ in range(2)]
    assert results[0].loss_after < 0.75 * results[0].loss_before
    assert torch.equal(results[0].edited, results[1].edited) and torch.equal(results[0].reference, results[1].reference)


def test_what_was_not_edited_leaves_no_difference() -> None:
    edited, _, coverage, views = blurred_case()
    same = View(views[0].uv, views[0].edited, views[0].edited, views[0].weight)
    result = refine(edited, edited.clone(), coverage, [same], training=QUICK)
    assert result.loss_after < result.loss_before
    assert (result.edited - result.reference).abs().max() < 1e-6


def test_it_is_never_worse_than_its_start() -> None:
    edited, reference, coverage, views = blurred_case()
    wild = Training(steps=20, window=48, check_every=5, learning_rate=10.0)
    result = refine(edited, reference, coverage, views, training=wild)
    assert result.loss_after <= result.loss_before
    perfect = View(views[0].uv, sample_at(edited, views[0].uv), sample_at(reference, views[0].uv), views[0].weight)
    kept = refine(edited, reference, coverage, [perfect], training=QUICK)
    assert torch.equal(kept.edited, edited) and torch.equal(kept.reference, reference)


def test_outside_the_covered_box_nothing_changes() -> None:
    edited, reference, _, views = blurred_case()
    coverage = torch.zeros(72, 72)
    coverage[20:40, 10:60] = 1
    inside = sample_at(coverage[..., None], views[0].uv)[:, 0] > 0.99
    view = View(*(getattr(views[0], name)[inside] for name in ("uv", "edited", "original", "weight")))
    result = refine(edited, reference, coverage, [view], training=QUICK)
    assert result.loss_after < result.loss_before
    changed = (result.edited != edited).any(-1)
    changed[18:42, 8:62] = False
    assert not changed.any()


def test_bands_give_what_the_whole_gives() -> None:
    network = AggregationNetwork(torch.Generator().manual_seed(0))
    torch.nn.init.normal_(network.second.weight, 0, 0.1, generator=torch.Generator().manual_seed(1))
    images = torch.rand(2, 3, 300, 20, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        assert torch.allclose(_in_bands(network, images), network(images), atol=1e-5)
