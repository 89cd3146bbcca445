"""Merging is measured at a size that says nothing about speed: figures are there, and of the right things."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from atlas.errors import UserError
from atlas.maps.partial import Partial
from scripts.benchmarks.edits.merging import BenchAggregateOptions, Disturbance, bench_aggregate, zero_filled_median


def test_merging() -> None:
    options = BenchAggregateOptions(frames=10, width=96, height=64, seeds=1, size=100, steps=10, quiet=True)
    found = bench_aggregate(options)
    assert found["keyframes"] == [1, 3, 5, 7, 9]
    for layer in ("foreground", "background"):
        scores = found["disturbed"][layer]
        assert set(scores) == {"network", "mean", "median", "zero-filled median"}
        assert scores["network"] > scores["zero-filled median"] + 1.5
        assert found["undisturbed"][layer]["mean"] > scores["mean"] + 1
    assert found["cost"]["size"] == 100 and found["cost"]["wall_seconds"] > 0 and found["cost"]["cpu_seconds"] > 0


def test_keyframes_depart_from_each_other_and_not_together() -> None:
    options = BenchAggregateOptions(width=32, height=24)
    drawn = Disturbance.draw(options, 3)
    assert drawn.gains.log().sum().abs() < 1e-5 and drawn.gains.std() > 0.01
    assert torch.allclose(drawn.shifts.norm(dim=-1), torch.tensor(1.5)) and drawn.shifts.sum(0).abs().max() < 1e-5
    assert abs(float(drawn.grain.std()) - 0.03) < 0.002
    assert torch.equal(drawn.grain, Disturbance.draw(options, 3).grain)
    assert not torch.equal(drawn.grain, Disturbance.draw(options, 4).grain)


def test_the_published_median_has_zeros_where_nothing_was_seen() -> None:
    colour, zero = torch.full((2, 2, 6), 0.5), torch.zeros(2, 2)
    one, none = torch.ones(2, 2), torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    partials = [Partial(colour, zero, one, zero), Partial(colour, zero, none, zero), Partial(colour, zero, none, zero)]
    assert zero_filled_median(partials)[..., 0].tolist() == [[0.5, 0.0], [0.5, 0.5]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keyframes": 1}, "--keyframes 1 of 32 frames"),
        ({"keyframes": 40}, "choose from 2 to 32"),
        ({"seeds": 0}, "nothing to measure"),
        ({"size": 4}, "nothing to measure"),
        ({"steps": 0}, "--steps 0"),
        ({"gain": 1.0}, "--gain below 1"),
        ({"noise": -0.1}, "0 or more"),
        ({"width": 4}, "the sample needs"),
    ],
)
def test_merging_that_cannot_be_measured(changes: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        bench_aggregate(replace(BenchAggregateOptions(quiet=True), **changes))
