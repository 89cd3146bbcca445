"""Slides of mappings whose slide is known, seen without marks."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from atlas.clip.clip import BACKGROUND, Clip
from atlas.maps.maps import Maps, MapsWriter, write_atlas
from atlas.quality.long_range import LongRange, Slide
from atlas.sample.scene import Sample

HEIGHT, WIDTH = 96, 160
Y, X = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)


def textured(seed: int = 0, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:  # (height, width, 3) uint8
    noise = np.random.default_rng(seed).uniform(0, 255, (height, width, 1)).astype(np.float32)
    return np.repeat(np.clip((cv2.GaussianBlur(noise, (0, 0), 1.5) - 127) * 4 + 127, 0, 255)[..., None], 3, 2).astype(np.uint8)


def write(
    folder: Path, uvs: list[np.ndarray], thing: list[np.ndarray] | None = None, seen: list[np.ndarray] | None = None
) -> Maps:
    """Maps of a background with these mappings; before it, where it is `seen`, an object with those of `thing`."""
    height, width = uvs[0].shape[:2]
    layers = ["object", BACKGROUND] if thing else [BACKGROUND]
    with MapsWriter(folder, layers, len(uvs), height, width) as writer:
        for i, uv in enumerate(uvs):
            mask = seen[i] if seen else np.zeros((height, width), np.float32)
            places = {"object": thing[i], BACKGROUND: uv} if thing else {BACKGROUND: uv}
            writer.append_frame(places, {"object": mask, BACKGROUND: 1 - mask} if thing else {BACKGROUND: 1 - mask})
        for layer in layers:
            write_atlas(folder, layer, np.ones((8, 8, 4), np.float32))
    return Maps(folder)


def place(x: float = 0, y: float = 0) -> np.ndarray:
    """A mapping of a frame whose content was moved by x and y pixels."""
    return np.stack([(X - x) / WIDTH - 0.4, (Y - y) / WIDTH - 0.2], -1).astype(np.float32)


def moved(picture: np.ndarray, x: float, y: float) -> np.ndarray:
    return cv2.warpAffine(picture, np.array([[1, 0, x], [0, 1, y]], np.float32), (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)


def measured(maps: Maps, frames: list[np.ndarray]) -> list[Slide]:
    measure = LongRange(maps)
    for index, frame in enumerate(frames):
        measure.add(index, frame, {layer: maps.opacity(layer, index) for layer in maps.layers})
    return measure.slides


def test_the_slide_is_in_pixels_of_the_clip(tmp_path: Path) -> None:
    picture = textured()
    frames = [moved(picture, 1.5 * i, 0.5 * i) for i in range(10)]
    for drift in (0.0, 0.8):
        maps = write(tmp_path / str(drift), [place(1.5 * i, (0.5 + drift) * i) for i in range(10)])
        slides = measured(maps, frames)
        assert [(slide.first, slide.last) for slide in slides] == [(0, 3), (3, 6), (6, 9)]
        for slide in slides:
            assert slide.corners > 100 and slide.median == pytest.approx(3 * drift, abs=0.05)
            assert slide.p80 == pytest.approx(3 * drift, abs=0.12)


def test_a_slide_of_a_part_is_seen_in_the_worst_fifth(tmp_path: Path) -> None:
    frames = [moved(textured(), i, 0) for i in range(7)]
    slides = measured(write(tmp_path, [place(i) + (X > 0.6 * WIDTH)[..., None] * i * 2 / WIDTH for i in range(7)]), frames)
    assert len(slides) == 3
    for slide in slides:
        assert slide.median < 0.1 and slide.p80 > 3


def test_what_cannot_be_followed_says_nothing(tmp_path: Path) -> None:
    maps = write(tmp_path, [place() for _ in range(7)])
    assert measured(maps, [np.full((HEIGHT, WIDTH, 3), 90, np.uint8)] * 7) == [], "no corners"
    assert measured(maps, [textured(seed) for seed in range(7)]) == [], "none comes back"
    stripes = np.repeat((127 + 100 * np.sin(X / 3))[..., None], 3, 2).astype(np.uint8)
    assert measured(maps, [stripes] * 7) == [], "edges in one direction alone are no corners"


def test_corners_count_for_the_layer_that_they_stay_in(tmp_path: Path) -> None:
    """An object passes over the background: its corners are its own, and what it covers is not followed any more."""
    ground, thing = textured(0), textured(1)
    left = [10 + 8 * i for i in range(7)]
    inside = [((left[i] < X) & (left[i] + 60 > X) & (Y > 20) & (Y < 80)).astype(np.float32) for i in range(7)]
    frames = [np.where(mask[..., None] > 0, moved(thing, 8 * i, 0), ground) for i, mask in enumerate(inside)]
    slides = measured(write(tmp_path, [place()] * 7, [place(8 * i) for i in range(7)], inside), frames)
    assert {slide.layer for slide in slides} == {"object", BACKGROUND}
    assert max(slide.p80 for slide in slides) < 0.3


def test_few_frames_and_small_ones(tmp_path: Path) -> None:
    for count, size in ((1, 32), (2, 16), (3, 16)):
        uv = [np.zeros((size, size, 2), np.float32) for _ in range(count)]
        maps = write(tmp_path / f"{count}-{size}", uv)
        assert all(np.isfinite(slide.p80) for slide in measured(maps, [textured(0, size, size)] * count))


def test_the_truth_does_not_slide(sample_clip: Clip, sample: Sample) -> None:
    maps = Maps(sample_clip.fit_folder("truth"))
    slides = measured(maps, [sample_clip.frame(index) for index in range(sample_clip.frames)])
    assert {slide.layer for slide in slides} == set(maps.layers)
    assert max(slide.p80 for slide in slides) < 0.8
