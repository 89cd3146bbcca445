"""Filters: what each does to known colours, and options that are wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from skimage import color, data

from atlas.errors import UserError
from atlas.storage.images import to_float
from edit.editors.filters import FILTERS, FilterEditor, FilterOptions, filter_help, parse_filter
from edit.editors.protocol import Keyframe


def editor(text: str) -> FilterEditor:
    return FilterEditor(FilterOptions(clip=Path(), name="test", layer="foreground", editor="filter", filter=text))


def filtered(text: str, frame: np.ndarray, opacity: np.ndarray | None = None) -> np.ndarray:
    opacity = np.ones(frame.shape[:2], np.float32) if opacity is None else opacity
    return editor(text).edit(Keyframe(0, frame.astype(np.float32), opacity))


def plain(*rgb: float) -> np.ndarray:
    return np.broadcast_to(np.array(rgb, np.float32), (24, 24, 3)).copy()


@pytest.mark.parametrize("name", list(FILTERS))
def test_every_filter_gives_an_image_and_is_deterministic(name: str) -> None:
    frame = to_float(data.astronaut()[:120:2, :160:2])
    image = filtered(name, frame)
    assert image.shape == (60, 80, 4) and image.dtype == np.float32
    assert np.isfinite(image).all() and image.min() >= 0 and image.max() <= 1
    assert np.array_equal(image, filtered(name, frame))
    assert np.abs(image[..., :3] - frame).mean() > 0.004  # it does something


@pytest.mark.parametrize(("grey", "least_chroma"), [(0.95, 60), (0.5, 40), (0.04, 15)])
def test_recolour_gives_white_grey_and_black_the_hue(grey: float, least_chroma: float) -> None:
    lab = color.rgb2lab(filtered("recolour:color=orange", plain(grey, grey, grey))[..., :3])[0, 0]
    wanted = color.rgb2lab(np.array([[[1, 140 / 255, 0]]]))[0, 0]
    assert np.hypot(lab[1], lab[2]) > least_chroma
    assert abs(np.arctan2(lab[2], lab[1]) - np.arctan2(wanted[2], wanted[1])) < np.deg2rad(12)


def test_recolour_keeps_light_and_shade() -> None:
    ramp = np.repeat(np.linspace(0, 1, 32, dtype=np.float32)[None, :, None], 3, axis=2)
    lightness = color.rgb2lab(filtered("recolour:color=blue", ramp)[..., :3])[0, :, 0]
    assert (np.diff(lightness) > 0).all()
    assert np.array_equal(filtered("recolour:strength=0", ramp)[..., :3], ramp)


def test_known_answers() -> None:
    assert np.allclose(filtered("invert", plain(1, 0.25, 0))[0, 0], [0, 0.75, 1, 1])
    assert np.allclose(filtered("grey", plain(1, 0, 0))[0, 0, :3], 0.2126)
    assert np.allclose(filtered("hue:shift=120", plain(1, 0, 0))[0, 0, :3], [0, 1, 0], atol=1e-6)
    assert np.allclose(filtered("saturate:amount=1", plain(0.2, 0.4, 0.6))[0, 0, :3], [0.2, 0.4, 0.6])
    assert set(np.unique(filtered("posterise:levels=2,smooth=0", plain(0.2, 0.6, 0.8)))) == {0.0, 1.0}
    assert np.allclose(filtered("sketch", plain(0.3, 0.5, 0.2))[0, 0, :3], 1, atol=1e-5)  # no detail, no lines
    assert np.allclose(filtered("oil", plain(0.3, 0.5, 0.2))[0, 0, :3], [0.3, 0.5, 0.2], atol=1e-5)


@pytest.mark.parametrize("text", ["blur:sigma=3", "oil:radius=4"])
def test_no_other_layer_bleeds_in(text: str) -> None:
    frame, opacity = plain(0, 0, 1), np.zeros((24, 24), np.float32)
    frame[:, :12], opacity[:, :12] = (1, 0, 0), 1
    assert np.allclose(filtered(text, frame, opacity)[:, :12, :3], [1, 0, 0], atol=0.02)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("recolor", "choose one of recolour, hue"),
        ("", "there is no filter"),
        ("recolour:colour=red", "write key=value with color=orange, strength=1.0"),
        ("recolour:color=mauvish", "write #rrggbb or one of black, white"),
        ("recolour:strength=much", "strength=much is no number"),
        ("recolour:strength=nan", "is no number"),
        ("posterise:levels=2.5", "levels=2.5 is no whole number"),
        ("posterise:levels=1", "levels must be at least 2"),
        ("oil:radius=900", "radius must be between 1 and 40"),
        ("help", "the filters are recolour:color=orange,strength=1.0 - Take on a colour"),
    ],
)
def test_wrong_filters(text: str, said: str) -> None:
    with pytest.raises(UserError) as problem:
        parse_filter(text)
    assert said in str(problem.value) and "\n" not in str(problem.value)


def test_help_describes_every_filter() -> None:
    assert [line.split(":")[0].split(" ")[0] for line in filter_help()] == list(FILTERS)


def test_options_left_out_count_as_their_defaults() -> None:
    assert editor("sepia").fingerprint() == editor("sepia: strength = 1").fingerprint()
    assert editor("sepia").fingerprint() != editor("sepia:strength=0.5").fingerprint()
