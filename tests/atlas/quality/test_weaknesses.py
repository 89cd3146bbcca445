"""What is said about a fit: nothing about a sound one, the right thing about each constructed failure."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import pytest

from atlas.clip.clip import BACKGROUND, Clip
from atlas.maps.maps import Maps, MapsWriter, write_atlas
from atlas.quality.series import FrameSeries, measure_frames
from atlas.quality.summary import PLOT, TOLD, load_plot, report_quality, worst_lines
from atlas.quality.weaknesses import Weakness, weaknesses
from atlas.sample.files import write_clip, write_truth_fit
from atlas.sample.scene import Sample
from atlas.storage.images import read_image, write_image
from atlas.storage.stamps import read_json

FRAMES = 12


def found(clip: Clip, fit: str = "truth") -> dict[str, Weakness]:
    maps = Maps(clip.fit_folder(fit))
    return {weakness.kind: weakness for weakness in weaknesses(measure_frames(clip, maps), maps)}


def rewrite(clip: Clip, uv: dict[str, np.ndarray] | None = None, opacity: np.ndarray | None = None) -> Clip:
    """The true fit with other maps: uv (T, H, W, 2) by layer, opacity (T, H, W) of the foreground."""
    folder = clip.fit_folder("truth")
    truth = Maps(folder)
    changed = MapsWriter(folder / "new", truth.layers, truth.frames, truth.height, truth.width)
    for i in range(truth.frames):
        seen = truth.opacity("foreground", i) if opacity is None else opacity[i]
        places = {layer: truth.uv(layer, i) if layer not in (uv or {}) else uv[layer][i] for layer in truth.layers}  # type: ignore[index]
        changed.append_frame(places, {"foreground": seen, BACKGROUND: 1 - seen})
    changed.close()
    shutil.rmtree(folder / "maps")
    (folder / "new" / "maps").rename(folder / "maps")
    return clip


def rewrite_masks(clip: Clip, masks: np.ndarray) -> Clip:
    for i, mask in enumerate(masks):
        write_image(clip.mask_path("foreground", i), np.where(mask, 255, 0).astype(np.uint8))
    return clip


def test_the_truth_has_no_weakness(sample_clip: Clip, sample_clip_two: Clip) -> None:
    for clip in (sample_clip, sample_clip_two):
        assert found(clip) == {}
        series = measure_frames(clip, Maps(clip.fit_folder("truth")))
        for values in (series.whole, *series.layers.values()):
            assert all(len(numbers) == clip.frames for numbers in values.values())
        for layer, values in series.averages()["layers"].items():
            assert values["fold_share"] == 0
            if layer != "foreground-1":  # a cup of 13 pixels: flow takes it for a part of what is around it
                assert values["flow_disagreement"] < 0.3, layer
    assert worst_lines([]) == ""


def test_scrambled_mapping(fresh_clip: Clip, sample: Sample) -> None:
    rng = np.random.default_rng(0)
    uv = sample.uvs[BACKGROUND] + rng.normal(0, 0.02, sample.uvs[BACKGROUND].shape).astype(np.float32)
    weak = found(rewrite(fresh_clip, {BACKGROUND: uv}))
    assert weak["folds"].layer == BACKGROUND and weak["folds"].value > 0.1
    assert "flow" in weak or "parallax" in weak


def test_a_mapping_that_drifts(fresh_clip: Clip, sample: Sample) -> None:
    pixel = float(np.diff(sample.uvs["foreground"][5][30, 40:42, 0])[0])
    drift = (np.arange(FRAMES) * 1.5 * pixel)[:, None, None, None] * np.array([1, 0])
    weak = found(rewrite(fresh_clip, {"foreground": (sample.uvs["foreground"] + drift).astype(np.float32)}))
    assert weak["flow"].layer == "foreground" and weak["flow"].value == pytest.approx(1.5, rel=0.2)
    assert "1.5 px" in weak["flow"].sentence or "1.4 px" in weak["flow"].sentence or "1.6 px" in weak["flow"].sentence
    # In one frame alone: the flow to it and from it.
    jump = np.zeros((FRAMES, 1, 1, 2), np.float32)
    jump[6, ..., 1] = 3 * pixel
    shutil.rmtree(fresh_clip.fit_folder("truth"))
    write_truth_fit(sample, fresh_clip)
    weak = found(rewrite(fresh_clip, {"foreground": sample.uvs["foreground"] + jump}))
    assert weak["flow"].frames == [5, 6]


def test_a_mapping_that_slides_slowly(fresh_clip: Clip, sample: Sample) -> None:
    """0.7 pixels a frame in the last third: too little for flow from frame to frame, together a slide."""
    pixel = float(np.diff(sample.uvs["foreground"][5][30, 40:42, 0])[0])
    drift = (np.maximum(np.arange(FRAMES) - 7, 0) * 0.7 * pixel)[:, None, None, None] * np.array([0, 1])
    weak = found(rewrite(fresh_clip, {"foreground": (sample.uvs["foreground"] + drift).astype(np.float32)}))
    assert "flow" not in weak and weak["slides"].layer == "foreground" and weak["slides"].frames == [7, 8, 9, 10, 11]
    assert weak["slides"].value == pytest.approx(2.8, abs=0.5) and "between frames 7 and 11" in weak["slides"].sentence


def test_wrong_masks(fresh_clip: Clip, sample: Sample) -> None:
    """Masks of something else: a box that wanders over the background, and a layer that holds what the background holds."""
    masks = np.zeros(sample.opacities["foreground"].shape, bool)
    for i, mask in enumerate(masks):
        mask[8:40, 4 * i : 4 * i + 28] = True
    # A clip without the object: what the box shows is the background alone.
    folder, fit = fresh_clip.folder, fresh_clip.fit_folder("truth")
    empty = Sample(**{**sample.__dict__, "opacities": {"foreground": masks.astype(np.float32), BACKGROUND: 1.0 - masks}})
    empty.uvs = {layer: sample.uvs[BACKGROUND] for layer in sample.layers}
    empty.lights = {layer: sample.lights[BACKGROUND] for layer in sample.layers}
    empty.light_grids = {layer: sample.light_grids[BACKGROUND] for layer in sample.layers}
    whole = np.dstack([sample.atlases[BACKGROUND][..., :3], np.ones(sample.atlases[BACKGROUND].shape[:2], np.float32)])
    empty.atlases = {layer: whole for layer in sample.layers}
    empty.frames = (np.clip(empty.render(), 0, 1) * 255 + 0.5).astype(np.uint8)
    clip = write_clip(empty, folder)
    write_truth_fit(empty, clip)
    assert fit == clip.fit_folder("truth")
    weak = found(clip)
    assert list(weak)[0] == "indistinct" and weak["indistinct"].value == pytest.approx(1, abs=0.05)
    assert "masks.png" in str(weak["indistinct"])


def test_a_layer_that_swallows_the_other(fresh_clip: Clip, sample: Sample) -> None:
    weak = found(rewrite(fresh_clip, opacity=sample.opacities["foreground"] * 0.3))
    assert weak["swallowed"].value < 0.1
    everywhere = np.maximum(sample.opacities["foreground"], 0.9).astype(np.float32)
    assert found(rewrite(fresh_clip, opacity=everywhere))["grown"].value > 2


def test_masks_that_cannot_be_meant(fresh_clip: Clip, sample: Sample) -> None:
    masks = sample.opacities["foreground"] > 0.5
    opacity = sample.opacities["foreground"].copy()

    def weak_with(changed: np.ndarray) -> dict[str, Weakness]:
        rewrite_masks(fresh_clip, changed)
        opacity[:] = sample.opacities["foreground"] * changed
        return found(rewrite(fresh_clip, opacity=opacity))

    gone = masks.copy()
    gone[[4, 8]] = False
    assert weak_with(gone)["masks_missing"].frames == [4, 8]
    half = masks.copy()
    half[7, :, : half.shape[2] // 2] &= np.indices(half.shape[1:])[1][:, : half.shape[2] // 2] > half.shape[2]
    half[7, 34:] = False
    assert weak_with(half)["masks_jump"].frames == [7]
    assert "masks_empty" in weak_with(np.zeros_like(masks))
    assert "masks_full" in weak_with(np.ones_like(masks))
    few = masks.copy()
    few[2:] = False
    assert weak_with(few)["few_frames"].value == 2
    # An object that comes in late, or is hidden for a while, is nothing to complain about.
    late = masks.copy()
    late[:5] = False
    assert not weak_with(late).keys() & {"masks_missing", "masks_jump", "few_frames"}


def test_masks_that_are_missing_where_the_fit_knows_better(fresh_clip: Clip, sample: Sample) -> None:
    masks = sample.opacities["foreground"] > 0.5
    masks[5] = False
    assert "masks_missing" not in found(rewrite_masks(fresh_clip, masks))


def test_a_cut_inside(sample: Sample, tmp_path: Path) -> None:
    joined = Sample(**sample.__dict__)
    joined.frames = np.concatenate([sample.frames[:7], 255 - sample.frames[::-1, ::-1, ::-1][:5]])
    clip = write_clip(joined, tmp_path / "joined")
    write_truth_fit(sample, clip)
    weak = found(clip)
    assert list(weak)[0] == "flow_lost" and weak["flow_lost"].frames == [7] and "frame 6 to the next" in str(weak["flow_lost"])


def test_parallax(sample: Sample, tmp_path: Path) -> None:
    """A band of the background passes by faster than the rest and its mapping: no homography follows both."""
    height, width = sample.frames.shape[1:3]
    noise = np.random.default_rng(0).uniform(0, 255, (height, width + 80, 3)).astype(np.float32)
    picture = np.clip((cv2.GaussianBlur(noise, (0, 0), 1.5) - 127) * 4 + 127, 0, 255).astype(np.uint8)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    band = (y > height / 3) & (y < height * 2 / 3)
    shifts = [np.where(band, 6 * i, i).astype(np.float32) for i in range(FRAMES)]
    moving = Sample(**sample.__dict__)
    moving.frames = np.stack([cv2.remap(picture, x + shift, y, cv2.INTER_LINEAR) for shift in shifts])

    def mapping(shifts: list[np.ndarray]) -> dict[str, np.ndarray]:
        places = np.stack([np.stack([(x + shift) / width - 0.9, y / width - 0.3], -1) for shift in shifts])
        return {"foreground": sample.uvs["foreground"], BACKGROUND: places}

    clip = write_clip(moving, tmp_path / "parallax")
    moving.uvs = mapping([np.full_like(x, i) for i in range(FRAMES)])
    write_truth_fit(moving, clip)
    weak = found(clip)["parallax"]
    assert weak.layer == BACKGROUND and 0.25 < weak.value < 0.6 and "no single plane" in weak.sentence
    moving.uvs = mapping(shifts)  # a mapping that follows both: the same flow is no weakness
    write_truth_fit(moving, clip)
    assert "parallax" not in found(clip)


def test_frames_unlike_the_atlas(fresh_clip: Clip, sample: Sample) -> None:
    mask = sample.opacities["foreground"][9] > 0.5
    frame = sample.frames[9].copy()
    frame[mask] = 255 - frame[mask]
    write_image(fresh_clip.frame_path(9), frame)
    weak = found(fresh_clip)["worse_frames"]
    assert (weak.layer, weak.frames) == ("foreground", [9]) and "in frame 9" in weak.sentence


def test_a_halo_and_a_coarse_atlas(fresh_clip: Clip, sample: Sample) -> None:
    for i in range(FRAMES):
        mask = (sample.opacities["foreground"][i] > 0.5).astype(np.uint8)
        ring = (cv2.dilate(mask, np.ones((5, 5), np.uint8)) > 0) & (mask == 0)
        frame = sample.frames[i].copy()
        frame[ring] = 255 - frame[ring]
        write_image(fresh_clip.frame_path(i), frame)
    assert found(fresh_clip)["halo"].value > 0.1
    atlas = sample.atlases[BACKGROUND][::4, ::4]
    write_atlas(fresh_clip.fit_folder("truth"), BACKGROUND, atlas)
    weak = found(fresh_clip)["coarse_atlas"]
    assert weak.layer == BACKGROUND and weak.value < 0.7 and f"{len(atlas)}x{len(atlas)}" in weak.sentence


def test_numbers_that_are_missing_are_no_weakness(sample_clip: Clip) -> None:
    maps = Maps(sample_clip.fit_folder("truth"))
    empty = FrameSeries(layers={layer: defaultdict(list) for layer in maps.layers})
    empty.disagreement = {layer: np.zeros(0) for layer in maps.layers}
    assert weaknesses(empty, maps) == []
    nothing = FrameSeries(
        layers={layer: defaultdict(list, psnr=[math.nan] * 3, flow_off=[math.nan] * 3) for layer in maps.layers}
    )
    assert weaknesses(nothing, maps) == []


def test_flow_that_is_hardly_valid(sample_clip: Clip) -> None:
    maps = Maps(sample_clip.fit_folder("truth"))
    series = measure_frames(sample_clip, maps)
    series.whole["flow_valid"] = [0.05] * 11 + [math.nan]
    assert [weakness.kind for weakness in weaknesses(series, maps)] == ["untextured"]


def test_the_most_important_come_first_and_few_are_told() -> None:
    many = [Weakness("flow", "a", [], 1.0, f"sentence {i}", "advice") for i in range(TOLD + 2)]
    lines = worst_lines(many).splitlines()
    assert lines[0] == "weak: sentence 0; advice" and lines[-1] == "and 2 more: see metrics.json" and len(lines) == TOLD + 1


def test_what_is_written(fresh_clip: Clip, sample: Sample, tmp_path: Path) -> None:
    clip = rewrite(fresh_clip, opacity=sample.opacities["foreground"] * 0.3)
    maps = Maps(clip.fit_folder("truth"))
    for folder in (tmp_path / "one", tmp_path / "other"):
        folder.mkdir()
        weak = report_quality(folder, clip, measure_frames(clip, maps), maps)
    assert weak
    written = read_json(tmp_path / "one" / "metrics.json")
    assert written["weaknesses"][0]["sentence"] == weak[0].sentence
    assert len(written["series"]["layers"]["foreground"]["flow_disagreement"]) == FRAMES
    assert written["series"]["whole"]["flow_valid"][-1] is None
    assert written["slides"] and written["slides"][0].keys() == {"layer", "first", "last", "corners", "median", "p80"}
    slide = max(slide["p80"] for slide in written["slides"] if slide["layer"] == BACKGROUND)
    assert written["reconstruction"]["layers"][BACKGROUND]["slide"] == slide
    assert set(written["reconstruction"]["layers"]) == set(maps.layers)
    assert "NaN" not in (tmp_path / "one" / "metrics.json").read_text()
    assert json.dumps(written) == json.dumps(read_json(tmp_path / "other" / "metrics.json"))
    picture = (tmp_path / "one" / PLOT).read_bytes()
    assert picture == (tmp_path / "other" / PLOT).read_bytes()
    assert b"atplotlib" not in picture and b"tEXt" not in picture
    assert read_image(tmp_path / "one" / PLOT).shape[:2] == (900, 1000)


def test_without_its_library_all_but_the_plot_is_there(
    sample_clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "atlas.quality.plot", None)  # an ImportError from here on
    load_plot()
    maps = Maps(sample_clip.fit_folder("truth"))
    report_quality(tmp_path, sample_clip, measure_frames(sample_clip, maps), maps)
    assert "quality.png could not be made, all else is there" in capsys.readouterr().err
    assert read_json(tmp_path / "metrics.json")["digest"] and not (tmp_path / PLOT).exists()
