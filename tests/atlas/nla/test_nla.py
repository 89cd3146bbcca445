"""The published Layered Neural Atlases: the networks against a plain evaluation, the loss against plain formulas, a fit."""

from __future__ import annotations

import itertools
import math
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
from torch import Tensor

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.fitting.stage import FitOptions, fit
from atlas.maps.maps import Maps
from atlas.model.checkpoint import load_nla_model, open_model
from atlas.model.nla import NlaModel, positional_encoding
from atlas.model.nla_config import NetworkShape, NlaConfig, baseline, published_config
from atlas.nla.run import NlaRun
from atlas.nla.training import PixelData, nla_loss
from atlas.quality.job import FitJob
from atlas.sample.files import write_clip
from atlas.sample.scene import make_sample
from atlas.storage.images import read_image
from atlas.storage.stamps import read_json
from atlas.storage.tensors import load_tensors, save_tensors
from atlas.system.command import parse_options
from atlas.video.reading import probe

SMALL = {
    "number_of_channels_mapping1": 20,
    "number_of_layers_mapping1": 3,
    "number_of_channels_mapping2": 17,
    "number_of_layers_mapping2": 3,
    "number_of_channels_atlas": 24,
    "positional_encoding_num_atlas": 4,
    "number_of_channels_alpha": 16,
    "number_of_layers_alpha": 4,
    "positional_encoding_num_alpha": 3,
    "samples_batch": 300,
    "pretrain_iter_number": 6,
}
STEPS = 30


def model_of(seed: int = 0, **changes: int | bool | float) -> NlaModel:
    return NlaModel(NlaConfig(31, 20, 7, **(SMALL | changes)), torch.Generator().manual_seed(seed))


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


# Fits


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


# The published config


PUBLISHED = {"resx": 768, "resy": 432, "maximum_number_of_frames": 70, "data_folder": "data/blackswan", "iters_num": 400000}


def test_published_configs_are_understood() -> None:
    config = published_config(PUBLISHED | {"number_of_channels_atlas": 33, "use_positional_encoding_mapping1": True})
    assert (config.resx, config.resy, config.maximum_number_of_frames) == (768, 432, 70)
    assert config.atlas == NetworkShape(2, 3, 33, 8, 10, (4, 7)) and config.mapping1.octaves == 4
    other = {name: value for name, value in PUBLISHED.items() if name != "maximum_number_of_frames"}
    assert published_config(other | {"number_of_frames": 41.0}).maximum_number_of_frames == 41


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resx": None}, "resx is None, not a whole number"),
        ({"resy": 10**9}, "not a whole number from 16 to 8192"),
        ({"maximum_number_of_frames": "70"}, "not a whole number"),
        ({"maximum_number_of_frames": True}, "not a whole number"),
        ({"number_of_channels_atlas": 10**12}, "number_of_channels_atlas is 1000000000000"),
        ({"number_of_channels_atlas": 8000, "number_of_channels_alpha": 8000}, "more than 20000000"),
        ({"number_of_layers_mapping1": 0}, "number_of_layers_mapping1 is 0"),
        ({"positional_encoding_num_alpha": 2.5}, "positional_encoding_num_alpha is 2.5"),
        ({"use_positional_encoding_mapping1": "no"}, "not true or false"),
        ({"uv_mapping_scale": float("nan")}, "uv_mapping_scale is nan"),
    ],
)
def test_absurd_configs_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        published_config(PUBLISHED | changes)
    for name in ("resx", "resy", "maximum_number_of_frames"):
        with pytest.raises(ValueError, match=f"{name}.* is missing"):
            published_config({key: value for key, value in PUBLISHED.items() if key != name})
    with pytest.raises(ValueError, match="no JSON object"):
        published_config([1, 2])
