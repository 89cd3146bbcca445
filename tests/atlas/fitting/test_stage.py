"""The fit on the smallest sample: what it leaves, how true it is, and that it survives whatever happens to it."""

from __future__ import annotations

import copy
import itertools
import json
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.fitting import presets
from atlas.fitting.budget import Budget
from atlas.fitting.run import FitRun
from atlas.fitting.stage import FitOptions, fit
from atlas.maps.maps import Maps
from atlas.masks.depth import depth_of
from atlas.metrics.definitions import iou
from atlas.model.checkpoint import open_model
from atlas.model.layered import LayeredAtlas
from atlas.quality.job import FitJob
from atlas.sample.files import write_clip
from atlas.sample.scene import Sample, make_sample
from atlas.storage.images import read_image, to_uint8, write_image
from atlas.storage.stamps import read_json
from atlas.storage.tensors import load_tensors
from atlas.system.command import parse_options
from atlas.system.cost import read_costs
from atlas.video.reading import probe

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "fit.py"
STEPS = 52
"""Gradient steps of the fit that most tests look at: more than are made between two saves of the state."""


def options(clip: Clip, **changes: object) -> FitOptions:
    return replace(FitOptions(clip=clip.folder, preset="preview", iterations=STEPS, device="cpu", quiet=True), **changes)


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a fit, by name."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def differing(one: Path, other: Path) -> list[str]:
    """Names of the files that two fits do not share to the byte."""
    first, second = contents(one), contents(other)
    return sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))


def copied(clip: Clip, folder: Path) -> Clip:
    shutil.copytree(clip.folder, folder)
    return Clip.open(folder)


@pytest.fixture(scope="session")
def fitted(sample_clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """The sample with the fit "default". Shared: only read it."""
    clip = copied(sample_clip, tmp_path_factory.mktemp("fitted") / "clip")
    fit(options(clip))
    return clip


@pytest.fixture
def fresh_fitted(fitted: Clip, tmp_path: Path) -> Clip:
    """A copy of `fitted` that a test may change."""
    return copied(fitted, tmp_path / "clip")


def true_places(sample: Sample, layer: str, i: int, j: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of a layer in frame i that frame j shows as well, (n, 2) int, and where it shows them, (n, 2) float32."""
    uv, target = sample.uvs[layer], sample.opacities[layer]
    rows, columns = np.nonzero(target[i] > 0.99)
    rows, columns = rows[::3], columns[::3]
    wanted = uv[i][rows, columns]
    everywhere = uv[j].reshape(-1, 2)
    nearest = np.array([np.argmin(((everywhere - place) ** 2).sum(-1)) for place in wanted])
    found = np.stack([nearest % 96, nearest // 96], -1).astype(np.float32)
    for _ in range(4):  # Newton's steps on the interpolated truth

        def at(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            return cv2.remap(uv[j], x[:, None], y[:, None], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[:, 0]

        x, y = found.T
        across, down = at(x + 0.5, y) - at(x - 0.5, y), at(x, y + 0.5) - at(x, y - 0.5)
        step = np.linalg.solve(np.stack([across, down], -1) + 1e-6 * np.eye(2), (wanted - at(x, y))[..., None])[..., 0]
        found = np.clip(found + np.clip(step, -1, 1), (0, 0), (95, 63)).astype(np.float32)
    x, y = found.T
    met = np.linalg.norm(at(x, y) - wanted, axis=-1) < 0.1 * 2 / len(sample.atlases[layer])
    visible = cv2.remap(target[j], x[:, None], y[:, None], cv2.INTER_LINEAR)[:, 0] > 0.99
    inside = (found > 1).all(1) & (x < 94) & (y < 62)
    keep = met & visible & inside
    return np.stack([columns, rows], -1)[keep], found[keep]


def missed(sample: Sample, clip: Clip, layer: str, i: int, j: int, name: str = "default") -> np.ndarray:
    """Texels (about pixels) between the places in a fit's atlas of a pixel of frame i and of the same point in frame j."""
    maps = Maps(clip.fit_folder(name))
    start, end = true_places(sample, layer, i, j)
    assert len(start) > 100
    here = maps.uv(layer, i)[start[:, 1], start[:, 0]]
    there = cv2.remap(maps.uv(layer, j), end[:, :1], end[:, 1:], cv2.INTER_LINEAR)[:, 0]
    return np.linalg.norm(here - there, axis=-1) * maps.atlas_size(layer)[0] / 2


def test_everything_is_there(fitted: Clip) -> None:
    folder = fitted.fit_folder("default")
    for name in ("config.json", "checkpoint.safetensors", "log.json", "metrics.json", "sheet.png", "stamp.json"):
        assert (folder / name).is_file(), name
    assert not (folder / "resume").exists(), "what a killed fit would need is not kept with a finished one"
    assert (read_json(folder / "config.json")["preset"], read_json(folder / "config.json")["version"]) == ("preview", 1)
    info = probe(folder / "preview.mp4")
    assert (info.frames, info.width, info.height, float(info.fps)) == (12, 3 * 96, 64, 24.0)
    sheet = read_image(folder / "sheet.png")
    assert sheet.shape[0] > 3 * 64 and sheet.shape[1] > 5 * 96
    maps = Maps(folder)
    assert (maps.layers, maps.frames, maps.height, maps.width) == (["foreground", "background"], 12, 64, 96)
    for layer in maps.layers:
        atlas = read_image(maps.atlas_path(layer))
        assert atlas.dtype == np.uint8 and atlas.shape[0] == atlas.shape[1] and atlas.shape[2] == 4
        assert maps.has_light(layer)
    model = open_model(folder)
    assert isinstance(model, LayeredAtlas) and model.shape.layers == ("foreground", "background")
    cost = read_costs(fitted.folder)["fit default"]
    assert cost["wall_seconds"] > 0 and cost["frames"] == 12
    assert cost["steps"] == STEPS and cost["samples_per_second"] > 0


def test_the_checkpoint_holds_what_the_maps_say(fitted: Clip) -> None:
    folder = fitted.fit_folder("default")
    model = open_model(folder)
    assert isinstance(model, LayeredAtlas)
    maps = Maps(folder)
    for layer, name in enumerate(maps.layers):
        uv = model.mappings[layer].at_frame(4, 64, 96).detach().numpy()
        np.testing.assert_allclose(np.clip(uv, -1, 1), maps.uv(name, 4), atol=1e-4)
        np.testing.assert_allclose(model.atlas(layer).numpy(), maps.atlas(name)[..., :3], atol=0.5 / 255 + 1e-4)


def test_the_layers_give_the_frames_back(fitted: Clip) -> None:
    found = read_json(fitted.fit_folder("default") / "metrics.json")["reconstruction"]
    assert found["whole"]["psnr"] > 30.0
    assert found["layers"]["foreground"]["psnr"] > 31.5 and found["layers"]["background"]["psnr"] > 29.5


def test_the_mapping_follows_the_truth(fitted: Clip, sample: Sample) -> None:
    for layer in sample.layers:
        for i, j in ((6, 0), (6, 11), (2, 3)):
            error = missed(sample, fitted, layer, i, j)
            assert np.median(error) < 0.5 and np.quantile(error, 0.9) < 1.5, (layer, i, j)
        assert np.median(missed(sample, fitted, layer, 0, 11)) < 0.5


def test_opacity_is_the_objects(fitted: Clip, sample: Sample) -> None:
    maps = Maps(fitted.fit_folder("default"))
    found = np.stack([maps.opacity("foreground", t) for t in range(12)])
    inside, truth = found > 0.5, sample.opacities["foreground"] > 0.5
    assert (inside & truth).sum() / (inside | truth).sum() > 0.97
    total = sum(np.stack([maps._opacity[layer][t].astype(int) for t in range(12)]) for layer in maps.layers)
    assert (total == 255).all()
    far = cv2.dilate(truth.any(0).astype(np.uint8), np.ones((25, 25))) == 0
    assert (found[:, far] == 0).all()


def test_light_and_atlas_stay_apart(fitted: Clip) -> None:
    """Gains are about 1: brightness belongs to the atlas."""
    maps = Maps(fitted.fit_folder("default"))
    for layer in maps.layers:
        gains = np.stack([maps.light(layer, t)[maps.opacity(layer, t) > 0.9].mean(0) for t in range(12)])
        assert np.abs(gains.mean(0) - 1).max() < 0.05
        assert np.isfinite(gains).all() and gains.min() > 0.5 and gains.max() < 2


def test_what_is_up_to_date_is_left_alone(fitted: Clip) -> None:
    before = {path: path.stat().st_mtime_ns for path in fitted.fit_folder("default").rglob("*")}
    assert "up to date" in fit(options(fitted))
    assert {path: path.stat().st_mtime_ns for path in fitted.fit_folder("default").rglob("*")} == before


def test_the_seed_decides(fitted: Clip, tmp_path: Path) -> None:
    clip = copied(fitted, tmp_path / "another place")
    fit(options(clip, name="again"))
    assert differing(clip.fit_folder("again"), fitted.fit_folder("default")) == []
    fit(options(clip, name="seed 1", seed=1))
    assert "checkpoint.safetensors" in differing(clip.fit_folder("again"), clip.fit_folder("seed 1"))


def test_a_killed_fit_goes_on_and_ends_the_same(fitted: Clip, fresh_clip: Clip) -> None:
    state = fresh_clip.fit_folder("default") / "resume" / "state.safetensors"
    command = [sys.executable, str(SCRIPT), str(fresh_clip.folder), "--preset", "preview", "--iterations", str(STEPS)]
    for moment in (3, 9):  # while registering, and between gradient steps
        running = subprocess.Popen([*command, "--device", "cpu", "--quiet"])
        try:
            deadline = time.monotonic() + 120
            while not (state.is_file() and load_tensors(state)[1]["done"] >= moment):
                assert running.poll() is None and time.monotonic() < deadline
                time.sleep(0.005)
        finally:
            running.kill()
            running.wait()
        done = load_tensors(state)[1]["done"]
        assert moment <= done < 14 and not (fresh_clip.fit_folder("default") / "config.json").exists()
    with pytest.raises(UserError, match="holds no finished fit"):
        Maps(fresh_clip.fit_folder("default"))
    fit(options(fresh_clip))
    assert differing(fresh_clip.fit_folder("default"), fitted.fit_folder("default")) == []


@pytest.mark.parametrize("steps", [1, STEPS + 1])  # 1: what the very last step ruined is found as well
def test_a_fit_that_turns_to_nan_says_where_and_keeps_what_was_good(
    steps: int, fresh_fitted: Clip, fitted: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(presets.PRESETS, "preview", replace(presets.PRESETS["preview"], learning_rate=1e30))
    with pytest.raises(UserError, match="turned to NaN at iteration 1: the last good checkpoint is kept") as caught:
        fit(options(fresh_fitted, iterations=steps))
    assert "\n" not in str(caught.value)
    folder = fresh_fitted.fit_folder("default")
    tensors, description = load_tensors(folder / "resume" / "state.safetensors")
    plan = presets.PRESETS["preview"]
    solved = 2 + plan.passes + (plan.passes > 0)  # the start and its light; passes, with light after them
    before_steps = 2 + len(plan.rounds) + solved  # two layers are chained; both are registered, then solved
    assert description["done"] == before_steps, "registration and the first atlases are kept"
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())
    # The fit that was there before is whole, and is what its stamp says.
    assert all(name.startswith("resume/") for name in differing(folder, fitted.fit_folder("default")))
    monkeypatch.undo()
    assert "up to date" in fit(options(fresh_fitted))


def test_another_fit_replaces_the_old_one_whole(fresh_fitted: Clip) -> None:
    folder = fresh_fitted.fit_folder("default")
    (folder / "notes.txt").write_text("of whoever looked at it")
    before = (folder / "checkpoint.safetensors").read_bytes()
    fit(options(fresh_fitted, iterations=None))
    assert (folder / "notes.txt").read_text() == "of whoever looked at it", "what somebody put there is not the fit's to delete"
    assert (folder / "checkpoint.safetensors").read_bytes() != before and not (folder / "resume").exists()
    assert read_json(folder / "config.json")["epochs"] == 0


def test_a_damaged_state_is_not_gone_on_with(fresh_clip: Clip, fitted: Clip) -> None:
    state = fresh_clip.fit_folder("default") / "resume" / "state.safetensors"
    state.parent.mkdir(parents=True)
    state.write_bytes(b"\x10\0\0\0\0\0\0\0 no checkpoint ")
    fit(options(fresh_clip, iterations=None))
    assert read_json(fresh_clip.fit_folder("default") / "metrics.json")["reconstruction"]["whole"]["psnr"] > 29.5


def test_a_changed_clip_is_fitted_again(fresh_clip: Clip) -> None:
    quick = options(fresh_clip, iterations=None)
    fit(quick)
    assert "up to date" in fit(quick)
    write_image(fresh_clip.mask_path("foreground", 3), 255 - fresh_clip.mask("foreground", 3))
    assert "up to date" not in fit(quick)


def test_two_objects(sample_clip_two: Clip, sample_two: Sample, tmp_path: Path) -> None:
    clip = copied(sample_clip_two, tmp_path / "clip")
    fit(options(clip, iterations=4))
    folder = clip.fit_folder("default")
    maps = Maps(folder)
    assert maps.layers == ["foreground-1", "foreground-2", "background"]
    for layer in maps.layers:
        assert read_image(maps.atlas_path(layer)).shape[2] == 4
        found = np.stack([maps.opacity(layer, t) for t in range(12)]) > 0.5
        truth = sample_two.opacities[layer] > 0.5
        assert (found & truth).sum() / (found | truth).sum() > 0.97, layer
    scores = read_json(folder / "metrics.json")["reconstruction"]
    assert scores["whole"]["psnr"] > 27.5 and scores["layers"]["foreground-2"]["psnr"] > 27.5
    assert np.median(missed(sample_two, clip, "foreground-2", 6, 3)) < 0.5


@pytest.mark.parametrize(("height", "width"), [(51, 77), (97, 55)])
def test_odd_and_portrait_clips(height: int, width: int, tmp_path: Path) -> None:
    clip = write_clip(make_sample(frames=6, height=height, width=width, seed=1), tmp_path / "clip")
    fit(options(clip, iterations=2))
    maps = Maps(clip.fit_folder("default"))
    assert (maps.height, maps.width) == (height, width)
    assert read_json(clip.fit_folder("default") / "metrics.json")["reconstruction"]["whole"]["psnr"] > 25


@pytest.fixture(scope="session")
def leaving() -> Sample:
    """The sample, whose object is gone in frames 5 to 7."""
    result = copy.deepcopy(make_sample(frames=12, height=64, width=96, objects=1, seed=0))
    result.opacities["foreground"][5:8] = 0
    result.opacities["background"][5:8] = 1
    result.frames = to_uint8(result.render())
    return result


def test_an_object_that_leaves_for_a_while(leaving: Sample, tmp_path: Path) -> None:
    clip = write_clip(leaving, tmp_path / "clip")
    fit(options(clip, iterations=4))
    maps = Maps(clip.fit_folder("default"))
    for t in range(12):
        assert (maps.opacity("foreground", t).max() > 0.9) == (not 5 <= t < 8)
    scores = read_json(maps.folder / "metrics.json")["reconstruction"]["layers"]
    assert scores["background"]["psnr"] > 29 and scores["foreground"]["psnr"] > 31
    for i, j in ((2, 3), (4, 8), (4, 11)):  # on both sides of the gap it is the same object
        assert np.median(missed(leaving, clip, "foreground", i, j)) < 0.5


@pytest.mark.parametrize("value", [0, 255])
def test_masks_without_an_object_or_a_background_end_well(value: int, fresh_clip: Clip) -> None:
    for t in range(12):
        write_image(fresh_clip.mask_path("foreground", t), np.full((64, 96), value, np.uint8))
    fit(options(fresh_clip, iterations=2))
    maps = Maps(fresh_clip.fit_folder("default"))
    seen = "foreground" if value else "background"
    assert maps.opacity(seen, 5).min() == 1
    metrics = (maps.folder / "metrics.json").read_text()
    found = json.loads(metrics, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert found["reconstruction"]["layers"][seen]["psnr"] > 15


@pytest.mark.parametrize(("seconds", "enough"), [(0.001, False), (6.0, True)])
def test_about_the_seconds_that_were_asked_for(
    fresh_clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, enough: bool
) -> None:
    monkeypatch.setattr("atlas.fitting.run.CHUNK", 2)
    # A clock that goes on by being read: on a slow machine six seconds are not enough, on a fast one they are many steps.
    clock = itertools.count(0, 0.15).__next__
    monkeypatch.setattr("atlas.fitting.run.Budget", partial(Budget, clock=clock))
    monkeypatch.setattr("atlas.fitting.refine.time", SimpleNamespace(perf_counter=clock))
    config = replace(presets.PRESETS["standard"], rounds=(8.0, 4.0, 2.0), passes=1)
    job = FitJob(fresh_clip, tmp_path / "resume", "", torch.device("cpu"), seconds, began=0.0, quiet=True)
    run = FitRun(job, config)
    run.begin()
    run.finish()
    assert run.rounds == (config.rounds if enough else config.rounds[:1])
    lights = [entry["kind"] for entry in run.log].count("light")
    assert lights > 2 if enough else lights == 1  # that without which there is no fit; one after the passes, one for each epoch
    assert bool(run.least()) is not enough
    assert enough or run.left_out() == "2 of 3 rounds of registration, 1 of 1 passes for the atlases, 400 of 400 gradient steps"


def test_a_budget_that_is_too_small_is_told(fresh_clip: Clip) -> None:
    said = fit(options(fresh_clip, preset="standard", iterations=None, seconds=0.05)).splitlines()
    assert re.fullmatch(r"it took \d+ s, not 0\.05: a fit of this clip needs that for the least, .*", said[1])


def test_what_cannot_be_fitted(fresh_clip: Clip) -> None:
    missing = "mps" if not torch.backends.mps.is_available() else "cuda"
    for changes, message in (
        ({"device": missing}, f"--device {missing}: torch finds no such device"),
        ({"seconds": 5.0}, "--seconds and --iterations exclude each other"),
        ({"iterations": None, "seconds": 0.0}, "give a positive number"),
        ({"iterations": -1}, "give 0 or more"),
        ({"name": "../out"}, "cannot name a folder"),
    ):
        with pytest.raises(UserError, match=message):
            fit(options(fresh_clip, **changes))
    fresh_clip.mask_path("foreground", 3).unlink()
    with pytest.raises(UserError, match=r"00003\.png is missing: run scripts/prepare\.py again"):
        fit(options(fresh_clip))
    assert [path.name for path in (fresh_clip.folder / "fits").iterdir()] == ["truth"]
    with pytest.raises(UserError, match="is not a clip folder"):
        fit(replace(options(fresh_clip), clip=fresh_clip.folder / "none"))


def test_a_clip_of_one_frame(fresh_clip: Clip) -> None:
    fresh_clip.frames, fresh_clip.source.indices = 1, [0]
    fresh_clip.save()
    with pytest.raises(UserError, match="has one frame: a fit needs at least two"):
        fit(options(fresh_clip))


def test_missing_flow(fresh_clip: Clip) -> None:
    (fresh_clip.folder / "flow" / "backward.npy").unlink()
    with pytest.raises(UserError, match=r"backward\.npy is missing or damaged"):
        fit(options(fresh_clip))
    assert not (fresh_clip.fit_folder("default") / "maps").exists()


def test_flow_that_is_no_number(fresh_clip: Clip) -> None:
    path = fresh_clip.folder / "flow" / "forward.npy"
    flow = np.load(path)
    flow[-1, 40:60, 40:60] = np.nan
    np.save(path, flow)
    with pytest.raises(UserError, match="flow holds what is no number, it is damaged"):
        fit(options(fresh_clip))
    assert not (fresh_clip.fit_folder("default") / "maps").exists()


def test_options_of_the_command() -> None:
    found = parse_options(FitOptions, ["somewhere", "--name", "a b", "--preset", "preview", "--seconds", "9", "--seed", "3"])
    assert (found.clip, found.name, found.preset, found.seconds, found.seed) == (Path("somewhere"), "a b", "preview", 9.0, 3)


def test_a_damaged_frame_leaves_nothing(fresh_clip: Clip) -> None:
    fresh_clip.frame_path(7).write_bytes(b"no image")
    with pytest.raises(UserError, match="00007.png is not a readable image"):
        fit(options(fresh_clip, name="spoilt"))
    assert not fresh_clip.fit_folder("spoilt").exists()


@pytest.mark.parametrize("wrong", [-4, 4])
def test_opacity_is_nearer_to_the_truth_than_bad_masks(fresh_clip: Clip, sample: Sample, wrong: int) -> None:
    given = []
    for t in range(fresh_clip.frames):
        mask = np.where(depth_of(fresh_clip.mask("foreground", t)) + wrong > 0, np.uint8(255), np.uint8(0))
        write_image(fresh_clip.mask_path("foreground", t), mask)
        given.append(mask)
    fit(FitOptions(clip=fresh_clip.folder, name="bad", preset="preview", quiet=True))
    maps = Maps(fresh_clip.fit_folder("bad"))
    truth = sample.opacities["foreground"]
    before = np.mean([iou(mask, true) for mask, true in zip(given, truth, strict=True)])
    after = np.mean([iou(maps.opacity("foreground", t), true) for t, true in enumerate(truth)])
    assert after > before + 0.05


def test_best_has_finer_atlases_without_pinholes(fitted: Clip, fresh_clip: Clip) -> None:
    fit(options(fresh_clip, name="best", preset="best", iterations=1))
    maps, usual = Maps(fresh_clip.fit_folder("best")), Maps(fitted.fit_folder("default"))
    for layer in maps.layers:
        assert maps.atlas_size(layer)[0] > 1.4 * usual.atlas_size(layer)[0]
        seen = (maps.atlas(layer)[..., 3] > 0).astype(np.uint8)
        np.testing.assert_array_equal(seen, cv2.morphologyEx(seen, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)))
