"""The scripts that measure edits, at sizes that say nothing about speed: that figures are there, and of the right things."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from atlas.clip.clip import Clip, Source
from atlas.errors import UserError
from atlas.maps.partial import Partial
from atlas.storage.images import write_image
from atlas.video.source import open_source
from scripts.bench_aggregate import BenchAggregateOptions, Disturbance, bench_aggregate, zero_filled_median
from scripts.bench_render import BenchRenderOptions, bench_render, no_source_size
from scripts.bench_shimmer import BenchShimmerOptions, bench_shimmer
from scripts.bench_splat import BenchSplatOptions, bench_splat
from scripts.benchmarks.pace import PaceOptions, pace

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts"


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_splatting() -> None:
    pytest.importorskip("scipy")
    found = bench_splat(BenchSplatOptions(width=64, height=48, size=160, quiet=True))
    assert found["times_faster"] > 5 and found["griddata_seconds"] > found["seconds_with_edges"]
    assert min(found["psnr"], found["psnr_with_edges"]) > found["griddata_psnr"] > 20
    assert found["holes"] == 0


def test_merging() -> None:
    options = BenchAggregateOptions(frames=10, width=96, height=64, seeds=1, size=100, steps=10, quiet=True)
    found = bench_aggregate(options)
    assert found["keyframes"] == [1, 3, 5, 7, 9]
    for layer in ("foreground", "background"):
        scores = found["disturbed"][layer]
        assert set(scores) == {"network", "mean", "median", "zero-filled median"}
        assert scores["network"] > scores["zero-filled median"] + 1.5
        assert found["undisturbed"][layer]["mean"] > scores["mean"] + 1
    assert found["cost"]["size"] == 100 and found["cost"]["wall_seconds"] > 0 and found["cost"]["cpu_seconds"] > 0


def test_keyframes_depart_from_each_other_and_not_together() -> None:
    options = BenchAggregateOptions(width=32, height=24)
    drawn = Disturbance.draw(options, 3)
    assert drawn.gains.log().sum().abs() < 1e-5 and drawn.gains.std() > 0.01
    assert torch.allclose(drawn.shifts.norm(dim=-1), torch.tensor(1.5)) and drawn.shifts.sum(0).abs().max() < 1e-5
    assert abs(float(drawn.grain.std()) - 0.03) < 0.002
    assert torch.equal(drawn.grain, Disturbance.draw(options, 3).grain)
    assert not torch.equal(drawn.grain, Disturbance.draw(options, 4).grain)


def test_the_published_median_has_zeros_where_nothing_was_seen() -> None:
    colour, zero = torch.full((2, 2, 6), 0.5), torch.zeros(2, 2)
    one, none = torch.ones(2, 2), torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    partials = [Partial(colour, zero, one, zero), Partial(colour, zero, none, zero), Partial(colour, zero, none, zero)]
    assert zero_filled_median(partials)[..., 0].tolist() == [[0.5, 0.0], [0.5, 0.5]]


def test_shimmer() -> None:
    found = bench_shimmer(BenchShimmerOptions(frames=6, width=96, height=64, squares="1,6", quiet=True))
    assert [one["square"] for one in found["squares"]] == [1, 6]
    assert found["worst_ratio"] == max(one["ratio"] for one in found["squares"]) <= 1.2
    assert found["squares"][0]["true_warp_error"] > found["squares"][0]["warp_error"] > 0


def test_rendering(fresh_clip: Clip, tmp_path: Path) -> None:
    """With a source twice as large, so that its size is rendered too."""
    for index in range(fresh_clip.frames):
        large = cv2.resize(fresh_clip.frame(index), (192, 128), interpolation=cv2.INTER_CUBIC)
        write_image(tmp_path / "large" / f"{index:05d}.png", large)
    source = open_source(tmp_path / "large")
    fresh_clip.source = Source(str(source.path), source.sha256, 192, 128, indices=list(range(12)))
    fresh_clip.save()
    before = files(fresh_clip.folder)
    found = bench_render(BenchRenderOptions(clip=fresh_clip.folder, fit="truth", frames=30, passes=1, quiet=True))
    assert files(fresh_clip.folder) == before
    for layer in ("foreground", "background"):
        assert found["layers"][layer]["first_frame_seconds"] > 0 and found["layers"][layer]["frames_per_second"] > 1
    pixels_away = found["untouched"]["fit"]["pixels"]
    assert 0.2 < found["untouched"]["fit"]["share"] < 1 and pixels_away > 12 * 96 * 64 * 0.2
    assert (found["untouched"]["source"]["width"], found["untouched"]["source"]["height"]) == (192, 128)
    assert [pixels["changed"] for pixels in found["untouched"].values()] == [0, 0]
    assert found["long"]["frames"] == 30 and found["long"]["peak_ram_mb"] > 50


def test_sources_that_are_left_out(fresh_clip: Clip) -> None:
    assert no_source_size(fresh_clip) == "the source has the fit's size"
    fresh_clip.source = replace(fresh_clip.source, path="/nowhere/to/be/found", width=192, height=128)
    assert "is gone" in (no_source_size(fresh_clip) or "")


def test_the_pace_of_an_edit_that_is_not_there(sample_clip: Clip) -> None:
    with pytest.raises(UserError, match="no edit 'none'"):
        pace(PaceOptions(clip=sample_clip.folder, edit="none"))


def test_what_fails_leaves_nothing(fresh_clip: Clip) -> None:
    atlas = fresh_clip.fit_folder("truth") / "layers" / "foreground" / "atlas.png"
    atlas.write_bytes(b"no image")
    with pytest.raises(UserError, match="not a readable image"):
        bench_render(BenchRenderOptions(clip=fresh_clip.folder, fit="truth", quiet=True))
    assert not list(fresh_clip.folder.glob(".bench-render-*"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keyframes": 1}, "--keyframes 1 of 32 frames"),
        ({"keyframes": 40}, "choose from 2 to 32"),
        ({"seeds": 0}, "nothing to measure"),
        ({"size": 4}, "nothing to measure"),
        ({"steps": 0}, "--steps 0"),
        ({"gain": 1.0}, "--gain below 1"),
        ({"noise": -0.1}, "0 or more"),
        ({"width": 4}, "the sample needs"),
    ],
)
def test_merging_that_cannot_be_measured(changes: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        bench_aggregate(replace(BenchAggregateOptions(quiet=True), **changes))


@pytest.mark.parametrize("squares", ["", "0", "-1", "2,x"])
def test_squares_that_are_none(squares: str) -> None:
    with pytest.raises(UserError, match="--squares"):
        bench_shimmer(BenchShimmerOptions(squares=squares))


def test_rendering_that_cannot_be_measured(sample_clip: Clip) -> None:
    usual = BenchRenderOptions(clip=sample_clip.folder, fit="truth", quiet=True)
    for changes, message in (
        ({"clip": Path("nowhere")}, "nowhere is not a clip folder"),
        ({"fit": "none"}, "no fit 'none'"),
        ({"frames": 1}, "nothing to measure"),
        ({"passes": 0}, "nothing to measure"),
    ):
        with pytest.raises(UserError, match=message):
            bench_render(replace(usual, **changes))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no signal that asks a process to end")
def test_stopped_it_takes_its_stage_with_it(fresh_clip: Clip) -> None:
    command = [sys.executable, str(SCRIPTS / "bench_render.py"), str(fresh_clip.folder), "--fit", "truth", "--quiet"]
    process = subprocess.Popen(command)
    deadline = time.monotonic() + 60
    while not list(fresh_clip.folder.glob(".bench-render-*/said.txt")):  # a stage has begun
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143
    assert not list(fresh_clip.folder.glob(".bench-render-*"))
    assert np.array_equal(Clip.open(fresh_clip.folder).frame(0), fresh_clip.frame(0))
