"""Edited frames laid over the source: what is exact to the bit, and outlines without a fringe of either."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from atlas.clip.clip import WHOLE_FRAME, Clip
from atlas.geometry.texture import Texture
from atlas.geometry.warp import sample as look_up
from atlas.maps.lay_over import EditedFrame, lay_over, where_applied, whole_on_transparent
from atlas.maps.maps import Maps
from atlas.sample.scene import Sample

LAYER, INDEX = "foreground", 4
EIGHT, SIXTEEN = np.dtype(np.uint8), np.dtype(np.uint16)


@pytest.fixture
def maps(sample_clip: Clip) -> Maps:
    return Maps(sample_clip.fit_folder("truth"))


def noise(maps: Maps, dtype: np.dtype, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, (maps.height, maps.width, 3), dtype, endpoint=True)


def everywhere(maps: Maps, share: float = 1.0) -> np.ndarray:
    return np.full((maps.height, maps.width), share, np.float32)


def own(maps: Maps, layer: str = LAYER) -> Texture:
    return Texture(maps.atlas(layer)[..., :3])


@pytest.mark.parametrize("dtype", [EIGHT, SIXTEEN])
def test_what_is_exact(maps: Maps, dtype: np.dtype) -> None:
    """On frames of noise, whose outlines are as rough as can be."""
    frame, edit, opacity = noise(maps, dtype, 1), noise(maps, dtype, 2), maps.opacity(LAYER, INDEX)
    nowhere = lay_over(frame, INDEX, {LAYER: EditedFrame(edit, everywhere(maps, 0), own(maps))}, maps)
    np.testing.assert_array_equal(nowhere, frame)
    same = lay_over(frame, INDEX, {LAYER: EditedFrame(frame.copy(), everywhere(maps), own(maps))}, maps)
    np.testing.assert_array_equal(same, frame)
    result = lay_over(frame, INDEX, {LAYER: EditedFrame(edit, everywhere(maps), own(maps))}, maps)
    assert result.dtype == dtype and (opacity == 1).sum() > 500
    np.testing.assert_array_equal(result[opacity == 1], edit[opacity == 1])
    np.testing.assert_array_equal(result[opacity == 0], frame[opacity == 0])


@pytest.mark.parametrize("dtype", [EIGHT, SIXTEEN])
def test_whole_frames_are_blended_by_where_the_edit_applies(maps: Maps, dtype: np.dtype) -> None:
    frame, edit, applies = noise(maps, dtype, 1), noise(maps, dtype, 2), everywhere(maps)
    applies[:, :20], applies[:, 20:40] = 0, 0.25
    result = lay_over(frame, INDEX, {WHOLE_FRAME: EditedFrame(edit, applies)})
    np.testing.assert_array_equal(result[:, :20], frame[:, :20])
    np.testing.assert_array_equal(result[:, 40:], edit[:, 40:])
    between = np.floor(0.75 * frame[:, 20:40].astype(np.float64) + 0.25 * edit[:, 20:40] + 0.5)
    np.testing.assert_array_equal(result[:, 20:40], between)
    same = lay_over(frame, INDEX, {WHOLE_FRAME: EditedFrame(frame, applies)})
    np.testing.assert_array_equal(same, frame)
    alone = whole_on_transparent(EditedFrame(edit, applies))
    np.testing.assert_array_equal(alone[..., :3], edit)
    assert alone.dtype == dtype and (alone[:, 40:, 3] == np.iinfo(dtype).max).all() and not alone[:, :20, 3].any()


def test_where_an_edit_applies_is_told_by_alpha_and_opacity() -> None:
    opacity = np.array([[0, 0.5, 0.5, 0.5, 1]], np.float32)
    alpha = np.array([[0, 0, 0.25, 1, 0.75]], np.float32)  # the fourth was saved all opaque by a painter
    np.testing.assert_array_equal(where_applied(alpha, opacity), [[0, 0, 0.5, 1, 0.75]])
    levels = np.arange(1, 256, dtype=np.float32) / 255
    assert (where_applied(levels, levels) == 1).all()


def true_layer(sample: Sample, layer: str) -> np.ndarray:  # (H, W, 3) float32
    """What the layer looks like in the frame where nothing is before it, beyond its outline too."""
    colours = torch.from_numpy(np.ascontiguousarray(sample.atlases[layer][..., :3]))
    return sample.lights[layer][INDEX] * look_up(colours, torch.from_numpy(sample.uvs[layer][INDEX])).numpy()


def outline_errors(sample: Sample, maps: Maps, edit: np.ndarray, slope: np.ndarray, offset: np.ndarray) -> dict[str, float]:
    """Mean square errors on the outline, against the true re-render of a layer whose colours become slope * colour + offset.

    edit: (H, W, 3), the edited frame, in [0, 1]. Beside `laid`: `blended` by opacity, and the edited pixel put in where the
    layer's own colour is taken out (`swapped`).
    """
    frame, layer = sample.frames[INDEX] / np.float32(255), true_layer(sample, LAYER)
    opacity = maps.opacity(LAYER, INDEX)
    share = opacity[..., None]
    truth = frame + share * ((slope - 1) * layer + offset)
    edit8 = (np.clip(edit, 0, 1) * 255 + 0.5).astype(np.uint8)
    laid = lay_over(sample.frames[INDEX], INDEX, {LAYER: EditedFrame(edit8, everywhere(maps), own(maps))}, maps)
    results = {"laid": laid / 255, "blended": frame + share * (edit - frame), "swapped": frame + share * (edit - layer)}
    edge = (opacity > 0.02) & (opacity < 0.98)
    assert edge.sum() > 200
    return {name: float(((result - truth)[edge] ** 2).mean()) for name, result in results.items()}


@pytest.mark.parametrize(("slope", "offset"), [((-0.8, -0.8, -0.8), (0.85, 0.85, 0.85)), ((0.9, 0.4, 0.1), (0.1, 0.05, 0.0))])
def test_a_recoloured_layer_has_no_fringe(
    sample: Sample, maps: Maps, slope: tuple[float, ...], offset: tuple[float, ...]
) -> None:
    """A filter over the whole frame recolours the mixture on the outline; the layer alone was to be."""
    gain, shift = np.array(slope, np.float32), np.array(offset, np.float32)
    edit = sample.frames[INDEX] / np.float32(255) * gain + shift
    errors = outline_errors(sample, maps, edit, gain, shift)
    assert errors["laid"] < 0.1 * errors["blended"] and errors["laid"] < 0.3 * errors["swapped"]
    assert -10 * np.log10(errors["laid"]) > 34


def test_a_mild_edit_leaves_no_rim_either(sample: Sample, maps: Maps) -> None:
    """Taking the layer's own colour out and the edited mixture in would count the mixture twice however little is edited."""
    gain = np.full(3, 0.97, np.float32)
    errors = outline_errors(sample, maps, sample.frames[INDEX] / np.float32(255) * gain, gain, 0 * gain)
    assert -10 * np.log10(errors["laid"]) > 50 and errors["swapped"] > 100 * errors["laid"]


def test_nothing_of_what_lies_behind_comes_in_on_outlines(sample: Sample, maps: Maps) -> None:
    """Another program's picture, green behind the layer: not a trace of the green is left, nor of the source's own mixture."""
    layer, opacity = true_layer(sample, LAYER), maps.opacity(LAYER, INDEX)[..., None]
    new, green = 0.6 * layer, np.array([0, 1, 0], np.float32)
    errors = outline_errors(
        sample, maps, opacity * new + (1 - opacity) * green, np.full(3, 0.6, np.float32), np.zeros(3, np.float32)
    )
    assert errors["laid"] < 0.05 * min(errors["blended"], errors["swapped"])


def test_a_layer_that_is_whole_nowhere_is_blended(maps: Maps) -> None:
    """Hair, glass: there is no pixel that shows the layer alone to learn from."""

    class Thin:
        height, width = maps.height, maps.width
        uv, light, has_light = staticmethod(maps.uv), staticmethod(maps.light), staticmethod(maps.has_light)

        def opacity(self, layer: str, frame: int) -> np.ndarray:
            return np.minimum(maps.opacity(layer, frame), np.float32(0.5))

    frame, edit = noise(maps, EIGHT, 1), noise(maps, EIGHT, 2)
    result = lay_over(frame, INDEX, {LAYER: EditedFrame(edit, everywhere(maps), own(maps))}, Thin())
    share = Thin().opacity(LAYER, INDEX)[..., None]
    expected = frame + share * (edit.astype(np.float32) - frame)
    assert np.abs(result - expected).max() < 0.51


def test_the_order_of_layers_does_not_matter_and_each_is_its_own(sample_clip_two: Clip, sample_two: Sample) -> None:
    maps = Maps(sample_clip_two.fit_folder("truth"))
    frame = sample_two.frames[INDEX]
    edited = {
        layer: EditedFrame(noise(maps, EIGHT, seed), everywhere(maps), own(maps, layer))
        for seed, layer in enumerate(maps.layers)
    }
    result = lay_over(frame, INDEX, edited, maps)
    backwards = lay_over(frame, INDEX, dict(reversed(edited.items())), maps)
    assert np.abs(result.astype(int) - backwards).max() <= 1
    for layer, one in edited.items():
        alone = maps.opacity(layer, INDEX) == 1
        assert alone.any()
        np.testing.assert_array_equal(result[alone], one.colour[alone])


def test_layers_need_maps(maps: Maps) -> None:
    with pytest.raises(TypeError, match="maps of their fit"):
        lay_over(noise(maps, EIGHT, 0), INDEX, {LAYER: EditedFrame(noise(maps, EIGHT, 1), everywhere(maps), own(maps))})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees_with_the_cpu(sample: Sample, maps: Maps) -> None:
    edit = 255 - sample.frames[INDEX]
    one, other = (
        lay_over(
            sample.frames[INDEX],
            INDEX,
            {LAYER: EditedFrame(edit, everywhere(maps), Texture(maps.atlas(LAYER)[..., :3], device))},
            maps,
        )
        for device in ("cpu", "cuda")
    )
    assert np.abs(one.astype(int) - other).max() <= 1
