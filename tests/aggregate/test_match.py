"""Keyframes that disagree by known gains and shifts are brought together; what they have in common is left alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from aggregate.match import MOST_GAIN, Matched, match
from aggregate.windows import View
from atlas.geometry.warp import sample as sample_at
from atlas.maps.partial import Partial, partial_atlas
from atlas.sample.scene import Sample, make_sample
from tests.aggregate.stored import merged, stacked

SIZE = 200


def picture(size: int = SIZE) -> torch.Tensor:  # (N, N, 3)
    coarse = torch.rand(1, 3, size // 8, size // 8, generator=torch.Generator().manual_seed(4))
    fine = torch.nn.functional.interpolate(coarse, size, mode="bicubic", align_corners=False)[0].permute(1, 2, 0)
    return (0.2 + 0.6 * fine).clamp(0, 1)


def shifted(image: torch.Tensor, x: float, y: float) -> torch.Tensor:
    """`image` as seen by somebody who looks x texels too far right and y too low."""
    place = (torch.arange(SIZE) + 0.5) * 2 / SIZE - 1
    uv = torch.stack(torch.meshgrid(place + 2 * x / SIZE, place + 2 * y / SIZE, indexing="xy"), -1)
    return sample_at(image, uv, mode="bicubic")


def applied(found: Matched, colours: torch.Tensor) -> torch.Tensor:  # (K, H, W, C)
    return torch.stack([found.applied(number, image) for number, image in enumerate(colours)])


def test_gains_and_shifts_are_found() -> None:
    gains = torch.tensor([0.87, 1.0, 1.13])
    moves = [(1.4, -0.6), (-1.1, 0.2), (-0.3, 0.4)]
    colours = torch.stack([g * shifted(picture(), *move) for g, move in zip(gains, moves, strict=True)])
    weights = torch.ones(3, SIZE, SIZE)
    weights[0, :, :60] = 0
    found = match(colours.clone(), weights)
    true = (gains.log().mean() - gains.log()).exp()
    assert (found.gains - true[:, None]).abs().max() < 0.01
    assert (found.shifts.mean((2, 3)) + torch.tensor(moves)).abs().max() < 0.15
    changed = applied(found, colours)
    apart = (changed - changed.mean(0))[:, 10:-10, 70:-10].abs().mean()
    before = (colours - colours.mean(0))[:, 10:-10, 70:-10].abs().mean()
    assert apart < 0.15 * before
    uv = torch.rand(50, 2, generator=torch.Generator().manual_seed(0)) - 0.5
    assert (found.moved(0, uv, (SIZE, SIZE)) - uv - 2 * torch.tensor(moves[0]) / SIZE).abs().max() < 0.4 * 2 / SIZE


def test_what_they_have_in_common_stays() -> None:
    one = picture()
    dark = torch.stack([0.3 * shifted(one, 2, 0)] * 3)
    found = match(dark.clone(), torch.ones(3, SIZE, SIZE))
    assert torch.equal(applied(found, dark), dark) and not found.shifts.any()


def test_gains_have_limits_and_can_be_switched_off() -> None:
    colours = torch.stack([picture(), 0.2 * picture()])
    weights = torch.ones(2, SIZE, SIZE)
    found = match(colours.clone(), weights)
    assert found.gains.max() <= MOST_GAIN + 1e-4 and found.gains.min() >= 1 / MOST_GAIN - 1e-4
    assert torch.equal(match(colours.clone(), weights, gains=False).gains, torch.ones(2, 3))
    assert torch.equal(applied(match(colours.clone(), weights, gains=False, shifts=False), colours), colours)


def test_flat_colours_and_keyframes_apart_are_left_alone() -> None:
    flat = torch.full((2, SIZE, SIZE, 3), 0.5)
    assert torch.equal(applied(match(flat.clone(), torch.ones(2, SIZE, SIZE)), flat), flat)
    weights = torch.zeros(2, SIZE, SIZE)
    weights[0, :80], weights[1, 120:] = 1, 1
    apart = torch.stack([picture(), 0.8 * shifted(picture(), 2, 0)])
    assert torch.equal(applied(match(apart.clone(), weights), apart), apart)
    black = torch.zeros(2, SIZE, SIZE, 3)
    assert torch.isfinite(applied(match(black.clone(), torch.ones(2, SIZE, SIZE)), black)).all()


def test_many_keyframes_are_matched_as_well(tmp_path: Path) -> None:
    """14 keyframes that each see less than half of the atlas, as a camera passes over it."""
    generator = torch.Generator().manual_seed(2)
    gains = torch.exp(0.1 * torch.randn(14, generator=generator))
    moves = 0.8 * torch.randn(14, 2, generator=generator)
    colours = torch.stack([g * shifted(picture(), *move) for g, move in zip(gains, moves.tolist(), strict=True)])
    weights = torch.zeros(14, SIZE, SIZE)
    for number in range(14):
        weights[number, :, number * 8 : number * 8 + 90] = 1
    in_memory = match(colours.clone(), weights)
    with stacked(tmp_path / "colours", colours) as stored, stacked(tmp_path / "weights", weights) as stored_weights:
        found = match(stored, stored_weights)
    assert torch.equal(found.gains, in_memory.gains) and torch.equal(found.shifts, in_memory.shifts)
    true = (gains.log().mean() - gains.log()).exp()
    assert (found.gains - true[:, None]).abs().max() < 0.02
    left = found.shifts.mean((2, 3)) + moves - moves.mean(0)
    assert left.norm(dim=-1).mean() < 0.35 * moves.norm(dim=-1).mean()


@pytest.fixture(scope="module")
def larger() -> Sample:
    return make_sample(frames=12, height=136, width=240, objects=1, seed=0)


def disturbed(sample: Sample, seed: int | None) -> tuple[list[Partial], list[View], torch.Tensor]:
    """Five keyframes of the true foreground with other colours; with a seed, each with its own gain, shift and noise."""
    atlas = torch.from_numpy(np.ascontiguousarray(sample.atlases["foreground"][..., :3]))
    truth = atlas[..., [2, 0, 1]].contiguous()
    generator = np.random.default_rng(seed)
    partials, views = [], []
    for index in (1, 3, 6, 8, 10):
        uv, opacity = (torch.from_numpy(source["foreground"][index]) for source in (sample.uvs, sample.opacities))
        angle, gain, noise = generator.uniform(0, 2 * np.pi), generator.uniform(0.85, 1.15), 0.03
        aside = torch.tensor([np.cos(angle), np.sin(angle)]).float() * 1.5 * 2 / len(truth)
        if seed is None:
            aside, gain, noise = torch.zeros(2), 1.0, 0.0
        grain = torch.from_numpy(generator.normal(0, noise, (*opacity.shape, 3)).astype(np.float32))
        edited = (gain * sample_at(truth, uv + aside) + grain).clamp(0, 1)
        values = torch.cat([edited, sample_at(atlas, uv)], -1)
        partials.append(partial_atlas(values, uv, opacity, torch.ones_like(opacity), truth.shape[:2], refine=1))
        seen = opacity > 0
        views.append(View(uv[seen], edited[seen], values[seen][:, 3:], opacity[seen]))
    return partials, views, truth


def decibels(found: torch.Tensor, sample: Sample, truth: torch.Tensor) -> float:
    """Of the atlas looked up in frames that are no keyframes."""
    errors = []
    for index in (0, 2, 5, 7, 9):
        uv = torch.from_numpy(sample.uvs["foreground"][index])[sample.opacities["foreground"][index] > 0.95]
        errors.append((sample_at(found.contiguous(), uv) - sample_at(truth, uv)).flatten())
    return -10 * float((torch.cat(errors) ** 2).mean().log10())


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_disturbed_keyframes_give_nearly_the_truth(larger: Sample, seed: int, tmp_path: Path) -> None:
    partials, views, truth = disturbed(larger, seed)
    published = torch.stack([part.colour[..., :3] * part.seen[..., None] for part in partials]).median(0).values
    scores = {
        name: decibels(merged(tmp_path, partials, views, name, seed=seed), larger, truth)
        for name in ("network", "mean", "median")
    }
    assert scores["network"] > decibels(published, larger, truth) + 1.5
    assert scores["network"] > max(scores.values()) - 0.1
    plain = merged(tmp_path, partials, views, "mean", match_gain=False, match_shift=False)
    assert scores["network"] > decibels(plain, larger, truth) + 0.3


@pytest.mark.slow
def test_undisturbed_keyframes_stay_as_good(larger: Sample, tmp_path: Path) -> None:
    partials, views, truth = disturbed(larger, None)
    scores = [decibels(merged(tmp_path, partials, views, name), larger, truth) for name in ("network", "mean")]
    assert scores[0] > max(38, scores[1] - 0.1)
