"""Change and sharpness of edits whose frames are known: nothing done, a blur, one layer edited, frames deflickered."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from atlas.clip.clip import Clip
from atlas.clip.edits import Edit
from atlas.evaluation.edit import measure_edit
from atlas.evaluation.learned import Learned, LearnedOptions
from atlas.maps.maps import Maps
from atlas.metrics.definitions import laplacian_energy
from atlas.rendering.frames import Rendering
from atlas.sample.scene import Sample
from atlas.storage.images import to_uint8, write_image
from atlas.storage.stamps import read_json


def edited(clip: Clip, name: str, frames: list[np.ndarray], layer: str = "all", **said: object) -> Edit:
    """An edit on frames that shows these, (H, W, 3) uint8."""
    edit = Edit(clip.edit_folder(name), name, "truth", {layer: {"editor": "images", "on": "frames"} | said})
    edit.save()
    for index, frame in enumerate(frames):
        alpha = np.ones(frame.shape[:2], np.float32)
        if layer != "all":
            alpha = Maps(clip.fit_folder("truth")).opacity(layer, index)
        write_image(edit.keyframe_path(layer, index), np.dstack([frame, to_uint8(alpha)]))
    return edit


def measured(clip: Clip, name: str) -> dict[str, object]:
    return measure_edit(Rendering.open(clip.folder, name), Learned.open(LearnedOptions(weights="none")))


def blurred(frames: np.ndarray) -> list[np.ndarray]:
    return [cv2.GaussianBlur(frame, (0, 0), 1.5) for frame in frames]


def test_doing_nothing_changes_nothing_and_a_blur_is_told(fresh_clip: Clip, sample: Sample) -> None:
    edited(fresh_clip, "same", list(sample.frames))
    same = measured(fresh_clip, "same")
    assert same["changed"] == 0 and same["sharpness"]["ratio"] == 1 and same["warp_error"]["ratio"] == 1  # type: ignore[index]
    frames = blurred(sample.frames)
    edited(fresh_clip, "blurred", frames)
    found = measured(fresh_clip, "blurred")
    energies = [np.mean([laplacian_energy(frame) for frame in clip]) for clip in (frames, sample.frames)]
    change = np.mean([np.abs(a / 255.0 - b / 255.0).mean() for a, b in zip(frames, sample.frames, strict=True)])
    assert found["sharpness"] == pytest.approx({"edit": energies[0], "source": energies[1], "ratio": energies[0] / energies[1]})
    assert found["sharpness"]["ratio"] < 0.2 and found["changed"] == pytest.approx(change, rel=1e-5)  # type: ignore[index]
    assert found["warp_error"]["ratio"] < 1 and "sharpness_kept" not in found  # type: ignore[index]
    assert read_json(fresh_clip.edit_folder("blurred") / "metrics.json")["sharpness"] == found["sharpness"]


def test_only_the_edited_layers_count(fresh_clip: Clip, sample: Sample) -> None:
    inverted = [255 - frame for frame in sample.frames]
    edited(fresh_clip, "inverted", inverted, "foreground")
    found = measured(fresh_clip, "inverted")
    maps = Maps(fresh_clip.fit_folder("truth"))
    expected = []
    for index, frame in enumerate(sample.frames):
        inside = maps.opacity("foreground", index) > 0.98
        expected.append(np.abs(255 - 2 * frame[inside].astype(int)).mean() / 255)
    assert found["changed"] == pytest.approx(np.mean(expected), rel=0.05)
    assert found["sharpness"]["ratio"] == pytest.approx(1, abs=0.05)  # type: ignore[index]


def test_deflickered_frames_are_compared_with_what_they_were(fresh_clip: Clip, sample: Sample) -> None:
    noise = np.random.default_rng(0).integers(-20, 21, sample.frames.shape)
    noisy = np.clip(sample.frames + noise, 0, 255).astype(np.uint8)
    edited(fresh_clip, "noisy", list(noisy))
    edited(fresh_clip, "calm", blurred(noisy), deflicker={"way": "flow", "edit": "noisy"})
    kept = measured(fresh_clip, "calm")["sharpness_kept"]
    energies = [np.mean([laplacian_energy(frame) for frame in frames]) for frames in (blurred(noisy), noisy)]
    assert kept == {"from": "noisy", "ratio": pytest.approx(energies[0] / energies[1])} and energies[0] < 0.1 * energies[1]
    fresh_clip.edit_folder("noisy").joinpath("edit.json").unlink()
    found = measured(fresh_clip, "calm")
    assert "sharpness_kept" not in found
    assert "'noisy' that it was deflickered from cannot be rendered" in found["absent"]["sharpness_kept"]  # type: ignore[index]


def test_a_single_frame_and_missing_keyframes_are_told(fresh_clip: Clip, sample: Sample) -> None:
    request = {"foreground": {"editor": "filter"}, "background": {"editor": "atlas"}}
    edit = Edit(fresh_clip.edit_folder("one"), "one", "truth", request)
    edit.save()
    for layer in request:
        write_image(edit.atlas_path(layer), to_uint8(sample.atlases[layer]))
    keyframe = np.dstack([sample.frames[3], np.full(sample.frames[3].shape[:2], 255, np.uint8)])
    write_image(edit.keyframe_path("foreground", 3), keyframe)
    absent = measured(fresh_clip, "one")["absent"]
    assert isinstance(absent, dict) and "keyframe_fidelity of foreground" not in absent
    assert absent["keyframe_overlap of foreground"] == "there is one keyframe"
    assert absent["keyframe_fidelity of background"] == absent["keyframe_overlap of background"] == "there are no keyframes"
