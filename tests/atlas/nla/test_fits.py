"""Fits of the published Layered Neural Atlases: what they leave, learn, and go on with."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.fitting.stage import FitOptions, fit
from atlas.maps.maps import Maps
from atlas.model.checkpoint import load_nla_model, open_model
from atlas.model.nla import NlaModel
from atlas.model.nla_config import NlaConfig
from atlas.nla.run import NlaRun
from atlas.quality.job import FitJob
from atlas.sample.files import write_clip
from atlas.sample.scene import make_sample
from atlas.storage.images import read_image
from atlas.storage.stamps import read_json
from atlas.storage.tensors import load_tensors, save_tensors
from atlas.system.command import parse_options
from atlas.video.reading import probe
from tests.atlas.nla.small import SMALL, STEPS


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks, batches and pretraining that a test can afford; all else as published."""
    monkeypatch.setattr("atlas.fitting.kinds.baseline", lambda w, h, n, seed: NlaConfig(w, h, n, seed=seed, **SMALL))


def options(clip: Clip, **changes: object) -> FitOptions:
    return replace(FitOptions(clip=clip.folder, preset="nla", iterations=STEPS, device="cpu", quiet=True), **changes)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def small_clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """5 frames of 48x32. Shared: only read it."""
    return write_clip(make_sample(frames=5, height=32, width=48, seed=0), tmp_path_factory.mktemp("small") / "clip")


@pytest.fixture
def fresh_clip(small_clip: Clip, tmp_path: Path) -> Clip:
    """A copy of it that a test may change."""
    shutil.copytree(small_clip.folder, tmp_path / "clip")
    return Clip.open(tmp_path / "clip")


@pytest.fixture(scope="module")
def fitted(small_clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """The small clip with the fit "default" of `STEPS` steps. Shared: only read it."""
    folder = tmp_path_factory.mktemp("nla") / "clip"
    shutil.copytree(small_clip.folder, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("atlas.fitting.kinds.baseline", lambda w, h, n, seed: NlaConfig(w, h, n, seed=seed, **SMALL))
        assert "sheet.png" in fit(options(Clip.open(folder)))
    return Clip.open(folder)


def test_a_fit_leaves_what_every_fit_leaves(fitted: Clip, small: None) -> None:
    folder = fitted.fit_folder("default")
    assert not (folder / "resume").exists()
    for name in ("config.json", "checkpoint.safetensors", "log.json", "metrics.json", "sheet.png", "stamp.json"):
        assert (folder / name).is_file(), name
    config = read_json(folder / "config.json")
    assert (config["preset"], config["iters_num"], config["uv_mapping_scale"]) == ("nla", STEPS, 0.8)
    assert probe(folder / "preview.mp4").frames == 5
    maps = Maps(folder)
    model = load_nla_model(folder / "checkpoint.safetensors")
    uv, opacity = model.frame_maps(4, torch.empty(1, 32, 48))
    for layer, name in enumerate(maps.layers):
        assert not maps.has_light(name)
        np.testing.assert_allclose(maps.uv(name, 4), uv[layer].numpy(), atol=2e-5)
        np.testing.assert_allclose(maps.opacity(name, 4), opacity[layer].numpy(), atol=0.5 / 255 + 1e-6)
        assert read_image(maps.atlas_path(name)).shape[2] == 4
    assert "up to date" in fit(options(fitted))


def test_training_learns(fresh_clip: Clip, small: None) -> None:
    fit(options(fresh_clip, iterations=100))
    log = read_json(fresh_clip.fit_folder("default") / "log.json")
    losses = {kind: [entry["loss"] for entry in log if entry["kind"] == kind] for kind in {entry["kind"] for entry in log}}
    assert set(losses) == {"pretrain foreground", "pretrain background", "train"}
    assert len(losses["train"]) == 4 and losses["train"][-1] < 0.8 * losses["train"][0]


def test_the_mappings_begin_as_a_scaled_frame(fresh_clip: Clip, tmp_path: Path) -> None:
    config = NlaConfig(48, 32, 5, **(SMALL | {"iters_num": 0, "pretrain_iter_number": 60, "learning_rate": 2e-3}))
    run = NlaRun(FitJob(fresh_clip, tmp_path / "resume", "made from", torch.device("cpu"), quiet=True), config)
    run.begin()
    run.finish()
    uv, _ = run.model.frame_maps(3, torch.empty(1, 32, 48))
    wanted = torch.stack(torch.meshgrid(torch.arange(48) / 24 - 1, torch.arange(32) / 24 - 1, indexing="xy"), -1) * 0.8
    assert (uv - wanted).norm(dim=-1).mean() < 0.1


def test_the_seed_decides(fitted: Clip, fresh_clip: Clip, small: None) -> None:
    """The same seed in another place gives the same bytes, another seed another fit."""
    fit(options(fresh_clip))
    assert contents(fresh_clip.fit_folder("default")) == contents(fitted.fit_folder("default"))
    fit(options(fresh_clip, iterations=1, seed=1, name="other"))
    fit(options(fresh_clip, iterations=1, name="this"))
    other, this = (contents(fresh_clip.fit_folder(name))["checkpoint.safetensors"] for name in ("other", "this"))
    assert other != this


PROGRAM = """
import sys
from pathlib import Path
from atlas.fitting import kinds, stage
from atlas.model.nla_config import NlaConfig
kinds.baseline = lambda w, h, n, seed: NlaConfig(w, h, n, seed=seed, **{small})
stage.fit(stage.FitOptions(clip=Path(sys.argv[1]), preset="nla", iterations={steps}, device="cpu", quiet=True))
"""


def reached(state: Path) -> tuple[int, int]:
    """Phase and steps that a running fit has saved."""
    try:
        saved = load_tensors(state)[1]
    except UserError:  # not there yet, or being replaced at this moment
        return -1, 0
    return saved["phase"], saved["done"]


@pytest.mark.parametrize(("phase", "done"), [(0, 25), (2, 25)])  # while mappings learn to begin with, and after
def test_a_killed_fit_goes_on_and_ends_the_same(phase: int, done: int, fitted: Clip, fresh_clip: Clip, small: None) -> None:
    state = fresh_clip.fit_folder("default") / "resume" / "state.safetensors"
    program = PROGRAM.format(small=SMALL, steps=STEPS)
    running = subprocess.Popen([sys.executable, "-c", program, str(fresh_clip.folder)], cwd=Path(__file__).parents[3])
    try:
        deadline = time.monotonic() + 60
        while reached(state) < (phase, done):
            assert running.poll() is None and time.monotonic() < deadline
            time.sleep(0.002)
    finally:
        running.kill()
        running.wait()
    assert not (fresh_clip.fit_folder("default") / "config.json").exists()
    fit(options(fresh_clip))
    assert contents(fresh_clip.fit_folder("default")) == contents(fitted.fit_folder("default"))


def test_a_fit_that_turns_to_nan(fresh_clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(NlaConfig(48, 32, 5, **SMALL), learning_rate=1e30)
    monkeypatch.setattr("atlas.fitting.kinds.baseline", lambda *_: config)
    with pytest.raises(UserError, match="turned to NaN at iteration 1: the last good checkpoint is kept") as caught:
        fit(options(replace(fresh_clip), iterations=1))
    assert "\n" not in str(caught.value)
    tensors, description = load_tensors(fresh_clip.fit_folder("default") / "resume" / "state.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values()) and description["done"] == 0


def test_about_the_seconds_that_were_asked_for(fresh_clip: Clip, small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock of its own, 20 ms further each time it is asked: the machine's speed does not decide."""
    steps, ends = [], []
    for seconds in (0.001, 4.0):
        ticks = itertools.count(0, 0.02)
        monkeypatch.setattr("atlas.nla.run.time", SimpleNamespace(perf_counter=ticks.__next__))
        monkeypatch.setattr("atlas.fitting.stage.began", lambda options: 0.0)
        monkeypatch.setattr("atlas.fitting.stage.waited", lambda: 0.0)
        fit(options(fresh_clip, iterations=None, seconds=seconds))
        ends.append(next(ticks))
        log = read_json(fresh_clip.fit_folder("default") / "log.json")
        steps.append(log[-1]["iteration"])
    assert steps[0] == 1 and steps[1] > 10
    assert 2.0 < ends[1] < 4.0, "training uses what the maps and pictures will not need, and no more"


def test_what_nla_does_not_do(fresh_clip: Clip, fresh_clip_two: Clip) -> None:
    with pytest.raises(UserError, match="has 2 objects, --preset nla knows one foreground: use --preset standard"):
        fit(options(fresh_clip_two))
    assert not fresh_clip_two.fit_folder("default").exists()
    for changes, message in (
        ({"seconds": 5.0}, "--seconds and --iterations exclude each other"),
        ({"iterations": -1}, "give 0 or more"),
    ):
        with pytest.raises(UserError, match=message):
            fit(options(fresh_clip, **changes))
    fresh_clip.frame_path(4).write_bytes(b"no image")
    with pytest.raises(UserError, match="00004.png is not a readable image"):
        fit(options(fresh_clip, name="spoilt"))
    assert not fresh_clip.fit_folder("spoilt").exists()


def test_a_damaged_state_is_not_gone_on_with(fresh_clip: Clip, tmp_path: Path) -> None:
    config = NlaConfig(48, 32, 5, **(SMALL | {"iters_num": 25}))
    folder = tmp_path / "resume"
    folder.mkdir()
    (folder / "state.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0 no checkpoint ")
    run = NlaRun(FitJob(fresh_clip, folder, "made from", torch.device("cpu"), quiet=True), config)
    run.begin()
    assert (run.phase, run.done) == (0, 0) and load_tensors(folder / "state.safetensors")[1]["made_from"] == "made from"
    shutil.rmtree(folder)


def test_options_of_the_command() -> None:
    assert parse_options(FitOptions, ["somewhere", "--preset", "nla"]).preset == "nla"


def test_a_fit_is_opened_by_what_made_it(fitted: Clip, tmp_path: Path) -> None:
    assert isinstance(open_model(fitted.fit_folder("default")), NlaModel)
    tensors, description = load_tensors(fitted.fit_folder("default") / "checkpoint.safetensors")
    for damage in ({"number_of_channels_atlas": 2500}, {"resx": "wide"}, {"number_of_layers_alpha": 5}):
        save_tensors(tmp_path / "checkpoint.safetensors", tensors, {"nla": description["nla"] | damage})
        with pytest.raises(UserError, match="damaged or of another version"):
            load_nla_model(tmp_path / "checkpoint.safetensors")
