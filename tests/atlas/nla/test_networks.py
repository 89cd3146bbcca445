"""The published Layered Neural Atlases: the networks against a plain evaluation, the loss against plain formulas."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from atlas.clip.clip import Clip
from atlas.model.nla import NlaModel, positional_encoding
from atlas.model.nla_config import NlaConfig, baseline
from atlas.nla.training import PixelData, nla_loss
from tests.atlas.nla.small import SMALL, model_of


def plain_network(state: dict[str, Tensor], point: list[float], octaves: int, skips: tuple[int, ...] = ()) -> list[float]:
    """One point through one network, number by number."""
    encoded = list(point)
    if octaves:
        encoded = []
        for k in range(octaves):
            encoded += [math.sin(2**k * math.pi * v) for v in point] + [math.cos(2**k * math.pi * v) for v in point]
    values = list(encoded)
    layers = len(state) // 2
    for i in range(layers):
        if i > 0:
            values = [max(v, 0.0) for v in values]
        if i in skips:
            values = values + encoded
        weight, bias = state[f"hidden.{i}.weight"].double().numpy(), state[f"hidden.{i}.bias"].double().numpy()
        values = [float(sum(w * v for w, v in zip(row, values, strict=True)) + b) for row, b in zip(weight, bias, strict=True)]
    return [math.tanh(v) for v in values]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"number_of_layers_atlas": 5, "number_of_channels_atlas": 9, "positional_encoding_num_atlas": 10},
        {"use_positional_encoding_mapping1": True, "use_positional_encoding_mapping2": True, "number_of_layers_mapping1": 2},
    ],
)
def test_every_network_is_the_published_one(changes: dict[str, int]) -> None:
    model = model_of(**changes)
    config = model.config
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2.0)  # livelier than at the start
    state = {part: getattr(model, part).state_dict() for part in ("mapping1", "mapping2", "alpha", "atlas")}
    uv, opacity = model.frame_maps(3, torch.empty(1, 20, 31))
    octaves = [config.mapping1.octaves, config.mapping2.octaves]
    model.double()  # ten octaves turn float32's last digit into 1e-5 of colour
    for column, row in ((0, 0), (30, 19), (12, 5)):
        point = [column / 15.5 - 1, row / 15.5 - 1, 3 / 3.5 - 1]
        alpha = 0.99 * (0.5 * (plain_network(state["alpha"], point, config.positional_encoding_num_alpha)[0] + 1)) + 0.001
        assert abs(opacity[0, row, column].item() - alpha) < 1e-5 and abs(opacity[:, row, column].sum().item() - 1) < 1e-6
        for layer, shift in ((0, 0.5), (1, -0.5)):
            place = plain_network(state[f"mapping{layer + 1}"], point, octaves[layer])
            np.testing.assert_allclose(uv[layer, row, column].numpy(), place, atol=1e-5)
            shared = [v * 0.5 + shift for v in place]
            colour = plain_network(state["atlas"], shared, config.positional_encoding_num_atlas, (4, 7))
            found = model.colour(layer, torch.tensor([place], dtype=torch.float64)).detach()[0]
            np.testing.assert_allclose(found.numpy(), [(v + 1) / 2 for v in colour], atol=1e-5)


def test_the_published_sizes_and_names() -> None:
    config = baseline(768, 432, 50, 0)
    with torch.device("meta"):
        shapes = {part: getattr(config, part).sizes() for part in ("mapping1", "mapping2", "alpha", "atlas")}
    assert shapes["mapping1"] == [(3, 256)] + [(256, 256)] * 4 + [(256, 2)]
    assert shapes["mapping2"] == [(3, 256), (256, 256), (256, 256), (256, 2)]
    assert shapes["alpha"] == [(30, 256)] + [(256, 256)] * 6 + [(256, 1)]
    assert shapes["atlas"] == [(40, 256)] + [(256, 256)] * 3 + [(296, 256), (256, 256), (256, 256), (296, 3)]
    names = set(model_of().mapping2.state_dict())
    assert names == {f"hidden.{i}.{part}" for i in range(3) for part in ("weight", "bias")}


def test_positional_encoding_is_ordered_as_published() -> None:
    found = positional_encoding(torch.tensor([[0.25, -0.5]]), 2)[0].tolist()
    s, c, pi = math.sin, math.cos, math.pi
    wanted = [s(0.25 * pi), s(-0.5 * pi), c(0.25 * pi), c(-0.5 * pi), s(0.5 * pi), s(-pi), c(0.5 * pi), c(-pi)]
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_maps_at_another_size_are_the_same_field() -> None:
    """Twice the size: each of the four small pixels is a quarter of a pixel off the large one's centre."""
    model = model_of()
    small, large = (model.frame_maps(2, torch.empty(1, *size))[0] for size in ((20, 31), (40, 62)))
    means = large.reshape(2, 20, 2, 31, 2, 2).mean((2, 4))
    np.testing.assert_allclose(means.numpy(), small.numpy(), atol=2e-3)


def test_a_layer_has_the_colours_of_its_square_of_the_shared_atlas() -> None:
    """At the centre of texel (2, 6) of an image of 10 x 10 texels."""
    model = model_of()
    centre = torch.tensor([[2 * 6.5 / 10 - 1, 2 * 2.5 / 10 - 1]])
    for layer, shift in ((0, 0.0), (1, -1.0)):
        shared = torch.tensor([[6.5 / 10 + shift, 2.5 / 10 + shift]])
        np.testing.assert_allclose(
            model.colours(layer, centre)[0].numpy(), (model.atlas(shared)[0].detach() + 1).numpy() / 2, atol=1e-6
        )


def test_the_loss_is_the_published_one(sample_clip: Clip, tmp_path: Path) -> None:
    """Against the formulas of the paper and its code, written out once more, in another way."""
    PixelData.write(sample_clip, tmp_path, quiet=True)
    data = PixelData(sample_clip, tmp_path)
    config = NlaConfig(96, 64, 12, **SMALL)
    model = NlaModel(config, torch.Generator().manual_seed(3)).double()
    batch = data.batch(60, np.random.default_rng(0), torch.device("cpu"))
    for name in ("x", "y", "t", "colour", "right", "below", "mask"):
        setattr(batch, name, getattr(batch, name).double())
    batch.moved = [moved.double() for moved in batch.moved]
    for iteration in (5_000, 5_001, 10_001):
        wanted = plain_loss(model, sample_clip, batch.x.long(), batch.y.long(), batch.t.long(), iteration)
        assert nla_loss(model, batch, iteration).item() == pytest.approx(wanted, rel=1e-6)


def plain_loss(model: NlaModel, clip: Clip, x: Tensor, y: Tensor, t: Tensor, iteration: int) -> float:
    """Pixel by pixel."""
    frames = [clip.frame(i).astype(np.float64) / 255 for i in range(clip.frames)]
    flows = {way: clip.flow(way) for way in ("forward", "backward")}

    @torch.no_grad()
    def at(x: float, y: float, t: float) -> tuple[np.ndarray, np.ndarray, float, np.ndarray, np.ndarray]:
        p = torch.tensor([[x / 48 - 1, y / 48 - 1, t / 6 - 1]], dtype=torch.float64)
        u, v = model.mapping1(p), model.mapping2(p)
        a = float(0.99 * (0.5 * (model.alpha(p) + 1)) + 0.001)
        f, b = ((model.atlas(w) + 1) / 2 for w in (u / 2 + 0.5, v / 2 - 0.5))
        return u[0].numpy(), v[0].numpy(), a, f[0].numpy(), a * f[0].numpy() + (1 - a) * b[0].numpy()

    def rigid(layer: int, p: tuple[int, int, int], d: int) -> float:
        here = at(*p)[layer]
        left, above = at(p[0] - d, p[1], p[2])[layer], at(p[0], p[1] - d, p[2])[layer]
        j = np.stack([here - left, here - above], 1) * 48 / 0.8 / d
        m = j.T @ j
        return float(np.linalg.norm(m) + np.linalg.norm(np.linalg.inv(m + 0.001 * np.eye(2))))

    def valid(way: str, i: int, px: int, py: int) -> bool:
        there, back = flows[way][i], flows["backward" if way == "forward" else "forward"][i].astype(np.float64)
        u, v = there[py, px].astype(np.float64)
        qx, qy = px + u, py + v
        if not (0 <= qx <= 95 and 0 <= qy <= 63):
            return False
        x0, y0 = min(int(qx), 94), min(int(qy), 62)
        fx, fy = qx - x0, qy - y0
        rows = [back[y0 + k, x0] * (1 - fx) + back[y0 + k, x0 + 1] * fx for k in (0, 1)]
        return bool(np.hypot(*(rows[0] * (1 - fy) + rows[1] * fy + (u, v))) < 1)

    total, n = 0.0, len(x)
    along: dict[str, list[tuple[float, float]]] = {"forward": [], "backward": []}
    for px, py, pt in zip(x.tolist(), y.tolist(), t.tolist(), strict=True):
        u, v, a, f, c = at(px, py, pt)
        true = frames[pt][py, px]
        total += 5000 * ((c - true) ** 2).sum() / n + 1000 * (((1 - a) * f) ** 2).sum() / n
        for dx, dy in ((1, 0), (0, 1)):
            inside = px + dx < 96 and py + dy < 64
            wanted = frames[pt][py + dy, px + dx] - true if inside else 0
            total += 1000 * ((at(px + dx, py + dy, pt)[4] - c - wanted) ** 2).sum() / n
        total += (rigid(0, (px, py, pt), 1) + rigid(1, (px, py, pt), 1)) / n
        if iteration <= 5000:
            total += (5 * rigid(0, (px, py, pt), 100) + 50 * rigid(1, (px, py, pt), 100)) / n
        if iteration <= 10000:
            m = clip.mask("foreground", pt)[py, px] / 255
            total += 2000 * -(m * math.log(a) + (1 - m) * math.log(1 - a)) / n
        for way, step in (("forward", 1), ("backward", -1)):
            pair = pt if step == 1 else pt - 1
            if 0 <= pair < 11 and valid(way, pair, px, py):
                dx, dy = (float(d) for d in flows[way][pair][py, px])
                u2, v2, a2, _, _ = at(px + dx, py + dy, pt + step)
                moved = (a * np.linalg.norm(u2 - u) + (1 - a) * np.linalg.norm(v2 - v)) * 96 / (2 * 0.8)
                along[way].append((float(moved), abs(a2 - a)))
    for pairs in along.values():
        total += 0.5 * (5 * np.mean([moved for moved, _ in pairs]) + 49 * np.mean([change for _, change in pairs]))
    return float(total)
