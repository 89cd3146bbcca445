"""The bench's second half: parts are processes, what was measured is kept, what failed is told, the clip stays as it is."""

from __future__ import annotations

import copy
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.metrics.marked import COLUMNS
from atlas.storage.stamps import read_json, write_json
from scripts.benchmarks import parts
from scripts.benchmarks.bench import BenchOptions, bench, write_report
from scripts.benchmarks.jobs import edits_job, fits_jobs
from scripts.benchmarks.parts import FIT, GENERAL, OF_A_CLIP, EditsJob, Part, general, measure_clip
from scripts.benchmarks.targets import Figure, edits_markdown
from scripts.jobs.process import ROOT

MACHINE = {"name": "here", "commit": "0"}
TINY = ("--frames", "4", "--width", "64", "--height", "48", "--squares", "6")
SHIMMER = Part("shimmer", "bench_shimmer", TINY)
LEARNED, TRUTH = (replace(part, arguments=(*part.arguments, "--method", "mean")) for part in (OF_A_CLIP[0], OF_A_CLIP[3]))
"""Parts of a clip that take less time."""


def files(folder: Path) -> dict[str, int]:
    """All files below a folder, with the times of their last change."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def fitted(fresh_clip: Clip) -> Clip:
    """The sample with a fit of the usual name."""
    shutil.move(fresh_clip.fit_folder("truth"), fresh_clip.fit_folder(FIT))
    return fresh_clip


def job(clip: Clip, **changes: Any) -> EditsJob:
    return replace(EditsJob(clip, "sample", clip.frames, None, quick=False, device="cpu"), **changes)


def test_parts_are_scripts_that_are_there() -> None:
    for part in (*GENERAL, *OF_A_CLIP):
        code = part.code()
        assert code[0].is_file() and ROOT / "scripts" / f"{part.script}.py" in code
    (render,) = (part for part in OF_A_CLIP if part.name == "render")
    assert ROOT / "aggregate" / "averages.py" in render.code(), "what it runs as processes counts too"
    (flicker,) = general(["flicker"])
    assert ROOT / "edit" / "deflicker" / "prior.py" in flicker.code(), "what is imported by name as well"


def test_what_a_clip_has_parts_for(sample_clip: Clip) -> None:
    oracles = ["oracle-learned", "oracle-kept", "oracle-additive"]
    assert [part.name for part in job(sample_clip).parts] == [*oracles, "render"]
    assert "oracle-truth" in [part.name for part in job(sample_clip, truth=Path("truth")).parts]
    assert "points" in [part.name for part in job(sample_clip, points=Path("points.csv")).parts]
    assert [part.name for part in job(sample_clip, halves=("flicker",)).parts] == ["flicker-clip"]
    bare = replace(sample_clip, layers=["background"])
    assert [part.name for part in job(bare).parts] == ["render"]


def test_a_clip_is_measured_once(fitted: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the first frames alone: the fit and the truth are cut to them."""
    wrong = Part("oracle-additive", "oracle", ("--keyframes", "99"), masks=True)
    monkeypatch.setattr(parts, "OF_A_CLIP", (TRUTH, wrong))
    before, told = files(fitted.folder), list[str]()
    wanted = job(fitted, frames=8, truth=fitted.fit_folder(FIT))
    monkeypatch.chdir(tmp_path)  # folders are named from where the command was given
    rows = measure_clip(wanted, MACHINE, tmp_path / "runs", Path("clips") / "one", announce=told.append)
    assert told == ["sample, oracle-truth", "sample, oracle-additive"]
    assert files(fitted.folder) == before and not (tmp_path / "clips").exists()
    good, bad = rows
    assert good["figures"]["keyframes"] == [1, 4, 6] and good["figures"]["frames"] == 5
    assert good["figures"]["psnr"] > good["figures"]["no_edit_psnr"] + 8 and good["fit"] == FIT
    assert "choose from 1 to 7" in bad["error"] and "figures" not in bad

    monkeypatch.setattr(parts, "OF_A_CLIP", (TRUTH,))
    kept = files(tmp_path / "runs")
    assert measure_clip(wanted, MACHINE, tmp_path / "runs", tmp_path / "two", announce=told.append) == [good]
    assert files(tmp_path / "runs") == kept == {"sample/oracle-truth.json": kept["sample/oracle-truth.json"]}


def test_other_inputs_are_measured_again(fitted: Clip) -> None:
    part, usual = OF_A_CLIP[0], job(fitted)
    key = parts._key(part, usual, MACHINE)
    assert parts._key(part, usual, MACHINE | {"commit": "1"}) == key
    assert parts._key(part, usual, MACHINE | {"name": "there"}) != key
    assert parts._key(part, job(fitted, frames=8), MACHINE) != key
    shutil.copy(fitted.frame_path(1), fitted.frame_path(0))
    assert parts._key(part, usual, MACHINE) != key


def test_a_clip_that_a_file_has_points_of_is_held_against_them(
    fitted: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = tmp_path / "points.csv"
    points.write_text(f"{','.join(COLUMNS)}\n{fitted.name},96,64,9,5.5,60.5,11,5.5,60.5\n")
    monkeypatch.setattr(parts, "OF_A_CLIP", [part for part in OF_A_CLIP if part.points])
    options = BenchOptions(clips=(fitted.folder,), points=points, output=tmp_path / "out", quiet=True)
    (fits,) = fits_jobs(options)
    wanted = edits_job(fits, options)
    assert wanted.points == points
    (row,) = measure_clip(wanted, MACHINE, tmp_path / "runs", tmp_path / "place", announce=lambda name: None)
    assert row["part"] == "points" and row["figures"]["points"]["points"] == 1
    key = parts._key(wanted.parts[0], wanted, MACHINE)
    points.write_text(points.read_text() + f"{fitted.name},96,64,9,5.5,60.5,12,5.5,60.5\n")
    assert parts._key(wanted.parts[0], wanted, MACHINE) != key
    assert edits_job(replace(fits, frames=10), options).points is None, "no point is marked in the first frames"
    points.write_text(points.read_text().replace("5.5", "left"))
    with pytest.raises(UserError, match="line 2: x_a is 'left'"):
        edits_job(fits, options)


def test_a_clip_without_a_fit_gets_one(sample_clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "OF_A_CLIP", (LEARNED,))
    wanted = job(sample_clip, quick=True)
    assert not wanted.has_fit
    write_json(tmp_path / "place" / "clip" / "clip.json", "what a killed run left")
    (row,) = measure_clip(wanted, MACHINE, tmp_path / "runs", tmp_path / "place", announce=lambda name: None)
    assert row["fit"] == "preview, made here" and row["figures"]["map"] == "orange", "one map is enough to see that it works"
    assert row["figures"]["psnr"] > row["figures"]["no_edit_psnr"] + 3
    assert not sample_clip.fit_folder(FIT).exists()


def test_the_bench_of_edits_alone(fitted: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "GENERAL", (SHIMMER,))
    monkeypatch.setattr(parts, "OF_A_CLIP", ())
    options = BenchOptions(clips=(fitted.folder,), parts="edits", output=tmp_path / "out", quiet=True)
    text = bench(options)
    assert "| squares of 6 texels |" in text and "at most 1.2" in text and "mask IoU" not in text
    assert set(files(tmp_path / "out")) == {"bench.json", "bench.md", "runs/edits/shimmer.json"}
    (row,) = read_json(tmp_path / "out" / "bench.json")["edits"]
    assert row["figures"]["worst_ratio"] > 0 and row["wall_seconds"] > 0
    kept = files(tmp_path / "out" / "runs")
    assert f"{row['figures']['worst_ratio']:.2f}" in bench(options)
    assert files(tmp_path / "out" / "runs") == kept, "nothing is measured twice"
    broken = replace(SHIMMER, arguments=("--squares", "none"))
    monkeypatch.setattr(parts, "GENERAL", (broken,))
    with pytest.raises(UserError, match="nothing came to its end: --squares none"):
        bench(options)


def test_the_bench_of_flicker_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a clip: on the sample, with no fits and none of the parts about edits."""
    size = ("--frames", "4", "--width", "64", "--height", "48", "--disturbances", "cloud", "--ways", "flow,atlas")
    monkeypatch.setattr(parts, "GENERAL", (SHIMMER, Part("flicker", "bench_flicker", size, half="flicker")))
    options = BenchOptions(clips=(), parts="flicker", output=tmp_path / "out", quiet=True)
    text = bench(options)
    assert "## Flicker" in text and "Sample: 4 frames of 64x48." in text and "## Shimmer" not in text
    (row,) = read_json(tmp_path / "out" / "bench.json")["edits"]
    measured = row["figures"]["rows"]["cloud"]
    better = measured["atlas"]["psnr"] - measured["given"]["psnr"]
    assert f"| cloud: atlas above given | {better:+.2f} dB | at least 5 dB |" in text
    with pytest.raises(UserError, match="name the folder of a prepared clip"):
        bench(replace(options, parts="flicker,fits"))


def test_targets() -> None:
    rate = Figure("rate", 70.4, ".0f", target=60)
    assert rate.met is True and rate.cells() == ["rate", "70", "at least 60", "yes"]
    late = Figure("late", 1.31, ".2f", "s", 1.0, "at most")
    assert late.met is False and late.cells() == ["late", "1.31 s", "at most 1 s", "**no**"]
    assert Figure("alone", 3.0).cells() == ["alone", "3.00", "-", "-"]
    assert Figure("none", None, target=3).cells() == ["none", "-", "at least 3", "-"]
    assert Figure("changed", 0, "d", target=0, bound="at most").met is True


def test_every_figure_stands_beside_its_target(tmp_path: Path) -> None:
    scores = {"network": 34.0, "mean": 34.5, "median": 33.0, "zero-filled median": 31.0}
    cost = {"size": 1000, "wall_seconds": 25.0, "cpu_seconds": 8.0}
    oracle = {"layer": "foreground", "keyframes": [2, 6, 10], "map": "orange", "psnr": 44.0, "no_edit_psnr": 13.0}
    poster = {"map": "poster", "psnr": 25.0}
    layers = {"foreground": {"frames_per_second": 99.6, "first_frame_seconds": 0.3}}
    untouched = {"fit": {"width": 96, "height": 64, "pixels": 500, "changed": 1}, "source": {"left_out": "it is gone"}}
    long = {"frames": 1000, "peak_ram_mb": 600.0, "encoded_frames_per_second": 40.0}
    splat = {"griddata_seconds": 10.0, "seconds_with_edges": 0.2, "times_faster": 100, "psnr": 30.0}
    aggregate = {"keyframes": [1, 2, 3], "disturbed": {"foreground": scores}, "undisturbed": {"foreground": scores}}
    marked = {"points": 7, "d_avg": 80.0, "worst": 6.72, "file": "davis.csv", "layer": "foreground"}
    marked |= {"row": 130, "frame_a": 0, "frame_b": 39}
    render = {"width": 96, "height": 64, "layers": layers, "untouched": untouched, "long": long}
    ways = {"given": (25.0, 9.0), "flow": (27.0, 0.5), "patches": (31.5, 1.0), "atlas": (32.0, 0.7)}
    cloud = {way: {"psnr": psnr, "warp": warp, "sharpness": 0.9} for way, (psnr, warp) in ways.items()}
    cloud["atlas"] |= {"seconds": 3.0, "peak_ram_mb": 500.0}
    flicker = {"frames": 12, "width": 96, "height": 64, "sample": True, "rows": {"cloud": cloud}}
    found: list[dict[str, Any]] = [
        {"part": "splat", "clip": None, "load": 0.1, "figures": splat | {"griddata_psnr": 25.0, "psnr_with_edges": 31.0}},
        {"part": "aggregate", "clip": None, "load": 0.2, "figures": aggregate | {"cost": cost}},
        {"part": "shimmer", "clip": None, "load": None, "figures": {"squares": [{"square": 1, "ratio": 1.3}]}},
        {"part": "flicker", "clip": None, "load": 0.6, "figures": flicker},
        {"part": "flicker-clip", "clip": "swan", "load": 0.7, "figures": flicker | {"sample": False}},
        {"part": "oracle-learned", "clip": "swan", "load": 0.3, "fit": "default", "figures": [oracle, oracle | poster]},
        {"part": "oracle-kept", "clip": "swan", "load": 0.3, "fit": "default", "figures": oracle | {"psnr": 30.0}},
        {"part": "oracle-additive", "clip": "swan", "load": 0.3, "fit": "default", "figures": oracle | {"psnr": 29.0}},
        {"part": "oracle-truth", "clip": "swan", "load": 0.4, "fit": "default", "error": "no such truth"},
        {"part": "points", "clip": "swan", "load": 0.4, "fit": "default", "figures": {"points": marked}},
        {"part": "render", "clip": "swan", "load": 0.5, "figures": render},
    ]
    lines = edits_markdown(copy.deepcopy(found))
    for expected in (
        "| partial atlas: times faster | 50 | at least 100 | **no** |",
        "| partial atlas: to the true atlas | 31.00 dB | at least 25 dB | yes |",
        "| foreground, disturbed: network above zero-filled median | +3.00 dB | at least 1.5 dB | yes |",
        "| foreground, disturbed: network above the best other | -0.50 dB | at least 0 dB | **no** |",
        "| foreground, undisturbed: network | 34.00 dB | at least 38 dB | **no** |",
        "| network, 3 keyframes in 1000x1000 texels: wall seconds | 25.0 s | at most 20 s | **no** |",
        "| `swan` foreground, 3 keyframes, fit default: orange | 44.00 dB | at least 45 dB | **no** |",
        "| `swan` foreground, 3 keyframes, fit default: orange, no edit at all | 13.00 dB | - | - |",
        "| `swan` foreground, 3 keyframes, fit default: poster | 25.00 dB | - | - |",
        "| `swan` foreground, 3 keyframes, fit default: orange, `--colours kept` | 30.00 dB | - | - |",
        "| `swan` foreground, 3 keyframes, fit default: orange, `--colours kept --transfer additive` | 29.00 dB | - | - |",
        "| `swan` oracle-truth | failed | - | - |",
        "`swan` oracle-truth: no such truth",
        "| `swan` fit default, 7 points: d_avg | 80.0 | at least 85 | **no** |",
        "| `swan` fit default, 7 points: the worst, line 130 of davis.csv, foreground, frame 0 to 39 "
        "| 6.72 px | at most 5 px | **no** |",
        "| `swan` 96x64, foreground edited: frames per second | 100 | at least 60 | yes |",
        "| `swan` 96x64, foreground edited: first frame after | 0.30 s | at most 1 s | yes |",
        "| `swan` 96x64, 1000 frames: peak RAM | 600 MB | at most 2048 MB | yes |",
        "| `swan` 96x64 (fit): changed of 500 untouched pixels | 1 | at most 0 | **no** |",
        "| `swan` untouched pixels at the source's size: it is gone | - | - | - |",
        "| squares of 1 texels | 1.30 | at most 1.2 | **no** |",
        "Sample: 12 frames of 96x64.",
        "| cloud | 25.0 / 9.00 | 27.0 / 0.50 | 31.5 / 1.00 | 32.0 / 0.70 |",
        "| seconds, most | - | - | - | 3.0 |",
        "| cloud: atlas above given | +7.00 dB | at least 5 dB | yes |",
        "| cloud: warp of atlas | 0.70 | at least 0.85 | **no** |",
        "| cloud: warp of atlas | 0.70 | at most 1.3 | yes |",
        "| cloud: atlas above the better of flow and patches | +0.50 dB | at least 1 dB | **no** |",
        "`swan`: 12 frames of 96x64.",
        "Load before: splat 0.10.",
    ):
        assert expected in lines
    assert lines.count("| cloud: atlas above given | +7.00 dB | at least 5 dB | yes |") == 1, "clips have no targets"
    machine = {"name": "m", "processor": "p", "cores": 2, "usable_cores": 2, "ram_gb": 1.0, "system": "s"}
    machine |= {"python": "3", "versions": {}, "commit": None, "environment": {}}
    text = write_report({"command": "bench.py", "machine": machine, "load": 1.0, "clips": [], "edits": found}, tmp_path)
    assert text.endswith("\n".join(lines)) and not (tmp_path / "bench.png").exists()
