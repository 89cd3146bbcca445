"""Rendering is measured at a size that says nothing about speed: the clip stays as it is, what is stopped leaves nothing."""

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

from atlas.clip.clip import Clip, Source
from atlas.errors import UserError
from atlas.storage.images import write_image
from atlas.video.source import open_source
from scripts.benchmarks.edits.pace import PaceOptions, pace
from scripts.benchmarks.edits.rendering import BenchRenderOptions, bench_render, no_source_size

SCRIPTS = Path(__file__).resolve().parents[4] / "scripts"


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


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
