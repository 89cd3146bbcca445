"""Frames from maps and textures."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from atlas.clip.clip import Clip
from atlas.geometry.texture import Texture
from atlas.maps.compositing import DeltaTexture, ScaledMaps, add_deltas, composite_frame
from atlas.maps.maps import Maps
from atlas.metrics.definitions import psnr
from atlas.sample.scene import Sample
from tests.atlas.geometry.looking_up import planes_at


@pytest.fixture
def maps(sample_clip: Clip) -> Maps:
    return Maps(sample_clip.fit_folder("truth"))


def delta_texture(planes: np.ndarray, device: str = "cpu") -> DeltaTexture:
    """3, 6 or 9 planes as what is lit, the frame's gain and what is unlit."""
    return DeltaTexture(Texture(planes, device), ("lit", "gain", "unlit")[: planes.shape[-1] // 3])


def test_planes_are_looked_up_by_their_names(maps: Maps) -> None:
    size = (*maps.atlas_size("background"), 3)
    lit, unlit = np.full(size, 0.25), np.full(size, 0.5)
    named = DeltaTexture(Texture(np.concatenate([unlit, lit], -1)), ("unlit", "lit"))
    delta = named.at(maps.uv("background", 0), None)
    assert delta.gain is None and delta.lit is not None and delta.unlit is not None
    assert (delta.lit[..., :3] == 0.25).all() and (delta.unlit[..., :3] == 0.5).all()


def test_true_layers_give_the_frames(sample: Sample, maps: Maps) -> None:
    textures = {layer: Texture(sample.atlases[layer][..., :3]) for layer in sample.layers}
    for index in (0, 5, 11):
        assert psnr(composite_frame(index, maps, textures), sample.frames[index]) > 45


def test_a_delta_of_zero_changes_no_bit(sample: Sample, maps: Maps) -> None:
    size = maps.atlas_size("background")
    np.testing.assert_array_equal(
        add_deltas(sample.frames[3], 3, maps, {"background": delta_texture(np.zeros((*size, 6)))}), sample.frames[3]
    )


@pytest.mark.parametrize("planes", [6, 9])
def test_deltas_of_several_layers_are_summed_and_rounded_once(sample: Sample, maps: Maps, planes: int) -> None:
    generator = np.random.default_rng(0)
    # Smooth ones, so that it does not matter which texels a pixel is said to span.
    coarse = {layer: generator.uniform(-0.3, 0.3, (5, 5, planes)).astype(np.float32) for layer in maps.layers}
    deltas = {
        layer: cv2.resize(delta, maps.atlas_size(layer), interpolation=cv2.INTER_CUBIC) for layer, delta in coarse.items()
    }
    index = 7
    expected = sample.frames[index].astype(np.float64)
    for layer, delta in deltas.items():  # the same equation over whole frames, in plain steps
        looked_up = planes_at(Texture(delta), maps.uv(layer, index), maps.opacity(layer, index))
        seen = torch.stack(looked_up, -1).numpy()
        change = 255 * maps.light(layer, index) * seen[..., :3] + seen[..., 3:6] * sample.frames[index]
        change = change + 255 * seen[..., 6:] if planes == 9 else change
        expected += maps.opacity(layer, index)[..., None] * change
    result = add_deltas(sample.frames[index], index, maps, {layer: delta_texture(d) for layer, d in deltas.items()})
    rounded = np.floor(np.clip(expected, 0, 255) + 0.5)
    assert np.abs(result - rounded).max() <= 1  # one level where a sum is at .5 to the last bit
    assert (result != rounded).mean() < 0.02


def test_pixels_away_from_the_layer_are_untouched(sample: Sample, maps: Maps) -> None:
    delta = delta_texture(np.full((*maps.atlas_size("foreground"), 6), 0.3))
    for index in range(maps.frames):
        result = add_deltas(sample.frames[index], index, maps, {"foreground": delta})
        away = maps.opacity("foreground", index) == 0
        np.testing.assert_array_equal(result[away], sample.frames[index][away])
        layer = maps.opacity("foreground", index) > 0.5
        before, after = sample.frames[index][layer], result[layer]
        assert (after[before < 255] > before[before < 255]).all()


def test_the_second_part_multiplies_the_frame(sample: Sample, maps: Maps) -> None:
    size = (*maps.atlas_size("foreground"), 3)
    halved = np.concatenate([np.zeros(size), np.full(size, -0.5)], -1)
    result = add_deltas(sample.frames[4], 4, maps, {"foreground": delta_texture(halved)})
    inside = maps.opacity("foreground", 4) == 1
    np.testing.assert_array_equal(result[inside], ((sample.frames[4][inside].astype(int) + 1) // 2))


def test_what_lies_behind_an_outline_is_not_changed_with_the_layer(maps: Maps) -> None:
    """A dark layer before white, made twice as bright by its gain: white stays white in the mix."""
    opacity = maps.opacity("foreground", 4)[..., None]
    assert ((opacity > 0.1) & (opacity < 0.8)).sum() > 50
    size = (*maps.atlas_size("foreground"), 3)
    doubled = {"foreground": delta_texture(np.concatenate([np.zeros(size), np.ones(size)], -1))}
    own = {"foreground": Texture(np.full(size, 0.2) / maps.light("foreground", 4).mean())}
    frame, right = (np.round(255 * (own_colour * opacity + 1 - opacity)).repeat(3, -1) for own_colour in (0.2, 0.4))
    wrong = [
        np.abs(add_deltas(frame.astype(np.uint8), 4, maps, doubled, known) - right.astype(int)).max() for known in (None, own)
    ]
    assert wrong[0] > 40 and wrong[1] < 12


def test_sixteen_bits(sample: Sample, maps: Maps) -> None:
    """The same sum, rounded finer; what is not changed is the frame to the bit here too."""
    size = (*maps.atlas_size("foreground"), 6)
    delta = {"foreground": delta_texture(np.random.default_rng(2).uniform(-0.3, 0.3, size))}
    frame = sample.frames[3].astype(np.uint16) * 257
    result = add_deltas(frame, 3, maps, delta)
    away = maps.opacity("foreground", 3) == 0
    assert result.dtype == np.uint16
    np.testing.assert_array_equal(result[away], frame[away])
    eight = add_deltas(sample.frames[3], 3, maps, delta)
    assert np.abs(result / 257 - eight).max() <= 0.51
    assert np.abs(result / 257 - eight)[~away].mean() > 0.1


def test_scaled_maps(maps: Maps) -> None:
    scaled = ScaledMaps(maps, maps.height * 2, maps.width * 2)
    uv, opacity = scaled.uv("background", 2), scaled.opacity("foreground", 2)
    assert uv.shape == (maps.height * 2, maps.width * 2, 2)
    # Pixel centres: the mean of the four large pixels is the small one.
    blocks = uv.reshape(maps.height, 2, maps.width, 2, 2).mean((1, 3))
    np.testing.assert_allclose(blocks[2:-2, 2:-2], maps.uv("background", 2)[2:-2, 2:-2], atol=2e-3)
    small = maps.opacity("foreground", 2)
    near = cv2.dilate((small > 0).astype(np.uint8), np.ones((3, 3), np.uint8)).repeat(2, 0).repeat(2, 1)
    assert (opacity[near == 0] == 0).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees_with_the_cpu(sample: Sample, maps: Maps) -> None:
    delta = np.random.default_rng(0).uniform(-0.3, 0.3, (*maps.atlas_size("background"), 6))
    on_cpu = add_deltas(sample.frames[1], 1, maps, {"background": delta_texture(delta)})
    on_gpu = add_deltas(sample.frames[1], 1, maps, {"background": delta_texture(delta, "cuda")})
    assert np.abs(on_cpu.astype(int) - on_gpu).max() <= 1
