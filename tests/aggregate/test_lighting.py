"""An edit that takes on the light is told from a map of the colours seen, by keyframes in known light."""

from __future__ import annotations

import pytest
import torch

from aggregate.lighting import unlit_share


def keyframes(kind: str, light: bool = True) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Three partial atlases (light removed), their light, and weights."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(4, 3, 12, 12, generator=generator)
    material = 0.15 + 0.5 * torch.nn.functional.interpolate(coarse, 96, mode="bilinear")[0].permute(1, 2, 0)
    waves = torch.nn.functional.interpolate(coarse[1:, :1], 96, mode="bicubic")[:, 0]
    lights = 0.8 + 0.5 * waves if light else torch.ones(3, 96, 96)
    colours = []
    for number in range(3):
        lit = lights[number][..., None]
        seen = (material * lit + 0.005 * torch.randn(96, 96, 3, generator=generator)).clamp(min=0.01)
        edited = {"map": seen.sqrt(), "material": material.sqrt() * lit, "linear": seen * torch.tensor([1.0, 0.5, 0.4])}[kind]
        edited = edited * (0.9, 1.0, 1.1)[number]  # keyframes that differ in brightness
        colours.append(torch.cat([edited, seen], -1) / lit)
    return torch.stack(colours), lights, torch.ones(3, 96, 96)


@pytest.mark.parametrize(("kind", "low", "high"), [("map", 0.8, 1.0), ("material", 0.0, 0.15), ("linear", 0.0, 0.0)])
def test_a_map_is_told_from_a_material(kind: str, low: float, high: float) -> None:
    assert low <= unlit_share(*keyframes(kind)) <= high


def test_nothing_is_said_without_light_or_overlap() -> None:
    assert unlit_share(*keyframes("map", light=False)) < 0.05
    colours, lights, weights = keyframes("map")
    assert unlit_share(colours[:1], lights[:1], weights[:1]) == 0
    assert unlit_share(colours, lights, torch.zeros_like(weights)) == 0
