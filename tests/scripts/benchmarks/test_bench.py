"""The bench: fits are measured in processes of their own, kept figures are used again, and nothing else is left behind."""

from __future__ import annotations

import copy
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.maps.maps import Maps
from atlas.storage.stamps import read_json
from scripts.benchmarks.bench import BenchOptions, bench, write_report
from scripts.benchmarks.clips import derived_clip, derived_fit, there_and_back
from scripts.benchmarks.fits import Wanted, run_fit
from scripts.benchmarks.report import above_start, markdown

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "bench.py"


def files(folder: Path) -> dict[str, int]:
    """All files below a folder, with the times of their last change."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def measured(sample_clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> tuple[BenchOptions, str]:
    """A bench of the sample, and what it said."""
    output = tmp_path_factory.mktemp("bench") / "out"
    truth = sample_clip.fit_folder("truth")
    clips = (sample_clip.folder,)
    options = BenchOptions(clips=clips, presets="preview", seconds="2", truth=truth, output=output, device="cpu", quiet=True)
    options = replace(options, parts="fits")
    before = files(sample_clip.folder)
    text = bench(options)
    assert files(sample_clip.folder) == before, "the clip stays as it is"
    return options, text


def test_figures_of_a_fit(measured: tuple[BenchOptions, str], sample_clip: Clip) -> None:
    options, text = measured
    report = read_json(options.output / "bench.json")
    (clip,) = report["clips"]
    assert (clip["frames"], clip["width"], clip["height"], clip["layers"]) == (12, 96, 64, ["foreground", "background"])
    (run,) = clip["runs"]
    assert (run["preset"], run["seconds"]) == ("preview", 2)
    for row in (clip["start"], run):
        assert row["wall_seconds"] > 0 and row["peak_ram_mb"] > 50 and row["peak_vram_mb"] is None
        assert row["whole"]["psnr"] > 18
        for layer in clip["layers"]:
            assert row["layers"][layer]["fold_share"] >= 0 and row["layers"][layer]["truth"]["points"] > 100
    assert clip["start"]["steps"] == 0
    gain = above_start(clip, run)
    assert gain is not None and gain > 0.5, "registration must be worth something"
    assert report["machine"]["versions"]["torch"] and report["machine"]["cores"] >= 1
    assert f"| preview | 2 | {run['wall_seconds']:.1f} | {run['whole']['psnr']:.2f} | {gain:+.2f} |" in text
    assert "chained start" in text and "truth px" in text and "VRAM |" not in text
    assert (options.output / "bench.md").read_text() == text + "\n"


def test_figures_are_used_again(measured: tuple[BenchOptions, str]) -> None:
    options, text = measured
    names = set(files(options.output))
    figures = {"runs/sample/bench-start.json", "runs/sample/bench-preview-2.json"}
    assert names == figures | {"bench.json", "bench.md", "bench.png"}
    before, plot = files(options.output / "runs"), (options.output / "bench.png").read_bytes()
    again = bench(options)
    assert files(options.output / "runs") == before, "nothing is measured twice"
    without_load = [[line for line in said.splitlines() if "load at the start" not in line] for said in (text, again)]
    assert without_load[0] == without_load[1]
    assert (options.output / "bench.png").read_bytes() == plot, "the same figures give the same picture"


def test_a_fit_that_fails_says_why(sample_clip_two: Clip, tmp_path: Path, measured: tuple[BenchOptions, str]) -> None:
    clip = derived_clip(sample_clip_two, tmp_path / "two", 3)
    row = run_fit(clip, Wanted("nla", 1.0, "cpu"), None, keep=False)
    assert row.keys() == {"preset", "seconds", "wall_seconds", "error"}
    assert "has 2 objects" in row["error"]
    assert not list((clip.folder / "fits").glob("*"))

    report = copy.deepcopy(read_json(measured[0].output / "bench.json"))
    report["clips"][0]["runs"].append(row)
    text = write_report(report, tmp_path / "report")
    assert "| nla | 1 |" in text and "| failed |" in text and "has 2 objects" in text


def test_a_report_without_a_start(measured: tuple[BenchOptions, str]) -> None:
    report: dict[str, Any] = copy.deepcopy(read_json(measured[0].output / "bench.json"))
    clip = report["clips"][0]
    clip["start"] = None
    clip["runs"][0] |= {"peak_vram_mb": 512.3, "device": "A GPU", "seconds": None}
    assert above_start(clip, clip["runs"][0]) is None
    text = markdown(report)
    assert "Chained start:" not in text and "| 512 |" in text and "- GPU: A GPU" in text and "| preview | own |" in text


def test_there_and_back() -> None:
    assert there_and_back(4, 11) == [0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2]
    assert there_and_back(2, 5) == [0, 1, 0, 1, 0]
    assert there_and_back(5, 3) == [0, 1, 2]


def test_a_longer_clip(sample_clip: Clip, tmp_path: Path) -> None:
    longer = derived_clip(sample_clip, tmp_path / "longer", 30)
    order = there_and_back(12, 30)
    assert (longer.frames, longer.layers) == (30, sample_clip.layers)
    forward, backward = sample_clip.flow("forward"), sample_clip.flow("backward")
    valid, valid_back = sample_clip.flow_validity("forward"), sample_clip.flow_validity("backward")
    for new, old in enumerate(order):
        assert longer.frame_path(new).samefile(sample_clip.frame_path(old)), "pictures are not copied"
        assert longer.mask_path("foreground", new).samefile(sample_clip.mask_path("foreground", old))
    flows = (longer.flow("forward"), longer.flow("backward"))
    validities = (longer.flow_validity("forward"), longer.flow_validity("backward"))
    for new, (here, there) in enumerate(zip(order, order[1:], strict=False)):
        wanted = (forward, backward, valid, valid_back) if there > here else (backward, forward, valid_back, valid)
        for one, other in zip((*flows, *validities), wanted, strict=True):
            assert np.array_equal(one[new], other[min(here, there)])


def test_the_same_clip_is_all_links(sample_clip: Clip, tmp_path: Path) -> None:
    same = derived_clip(sample_clip, tmp_path / "same", 12)
    assert (same.folder / "flow" / "forward.npy").samefile(sample_clip.folder / "flow" / "forward.npy")
    assert same.frame_path(11).samefile(sample_clip.frame_path(11)) and not (same.folder / "fits").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clips": ()}, "nothing to measure"),
        ({"clips": (Path("nowhere"),)}, "nowhere is not a clip folder"),
        ({"parts": "fits,edit"}, "--parts fits,edit: choose from fits, edits"),
        ({"parts": ","}, "--parts ,"),
        ({"presets": "preview,ultra"}, "no preset 'ultra'"),
        ({"presets": ","}, "nothing to measure"),
        ({"presets": "nla", "seconds": "own"}, "nla trains for hours"),
        ({"seconds": "60,soon"}, "--seconds soon"),
        ({"seconds": "-1"}, "--seconds -1"),
        ({"seconds": "inf"}, "--seconds inf"),
        ({"repeat": 1}, "--repeat 1"),
        ({"repeat": 20, "quick": True}, "exclude each other"),
        ({"truth": Path("nowhere")}, "holds no true maps"),
    ],
)
def test_wrong_requests(changes: dict[str, Any], message: str, sample_clip: Clip, tmp_path: Path) -> None:
    options = BenchOptions(clips=(sample_clip.folder,), output=tmp_path / "out", quiet=True)
    with pytest.raises(UserError, match=message):
        bench(replace(options, **changes))
    assert not (tmp_path / "out").exists()


def test_the_truth_of_another_clip(sample_clip: Clip, sample_clip_two: Clip, tmp_path: Path) -> None:
    options = BenchOptions(clips=(sample_clip_two.folder,), output=tmp_path / "out", truth=sample_clip.fit_folder("truth"))
    with pytest.raises(UserError, match="none of the clips is"):
        bench(options)
    with pytest.raises(UserError, match="two clips are in folders called 'sample'"):
        bench(replace(options, clips=(sample_clip.folder, sample_clip_two.folder)))
    with pytest.raises(UserError, match="--repeat and --truth exclude each other"):
        bench(replace(options, clips=(sample_clip.folder,), repeat=20))


def test_a_fit_of_another_length(sample_clip: Clip, tmp_path: Path) -> None:
    fit = sample_clip.fit_folder("truth")
    true = Maps(fit)
    for frames in (5, 30):
        derived_fit(fit, tmp_path / str(frames), frames)
        found = Maps(tmp_path / str(frames))
        assert (found.frames, found.layers) == (frames, true.layers)
        for new, old in enumerate(there_and_back(12, frames)):
            for layer in true.layers:
                for read in ("uv", "opacity", "light"):
                    assert np.array_equal(getattr(found, read)(layer, new), getattr(true, read)(layer, old))
        assert found.atlas_path("foreground").samefile(true.atlas_path("foreground"))
    derived_fit(fit, tmp_path / "same", 12)
    assert files(tmp_path / "same") == files(fit), "all links"


def test_a_clip_without_flow(sample_clip: Clip, tmp_path: Path) -> None:
    still = derived_clip(sample_clip, tmp_path / "still", 20, flow=False)
    assert still.frames == 20 and not (still.folder / "flow").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no signal that asks a process to end")
def test_stopped_it_leaves_nothing(sample_clip: Clip, tmp_path: Path) -> None:
    output = tmp_path / "out"
    command = [sys.executable, str(SCRIPT), str(sample_clip.folder), "--output", str(output), "--quiet"]
    process = subprocess.Popen(command)
    said = output / "clips" / "sample" / "said.txt"
    deadline = time.monotonic() + 60
    while not said.is_file():  # a fit has begun
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143
    assert not files(output) and not (output / "clips").exists()
