"""Deflickering measured at a size that says nothing about quality: figures are there, and of the right things."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from atlas.clip.clip import Clip
from atlas.errors import UserError
from scripts.benchmarks.methods.flicker import GIVEN, BenchFlickerOptions, bench_flicker
from scripts.benchmarks.methods.flicker_table import flicker_table

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).resolve().parents[4] / "scripts" / "bench_flicker.py"


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_flicker_goes_through_true_maps(sample_clip: Clip) -> None:
    truth = sample_clip.fit_folder("truth")
    options = BenchFlickerOptions(clip=sample_clip.folder, truth=truth, fit="truth", device="cpu", quiet=True)
    before = files(sample_clip.folder)
    found = bench_flicker(replace(options, disturbances="clean,cloud", ways="flow,atlas-delta,atlas-replace"))
    assert files(sample_clip.folder) == before
    assert (found["frames"], found["width"], found["height"], found["sample"]) == (12, 96, 64, True)
    assert list(found["rows"]) == ["clean", "cloud"] and list(found["rows"]["clean"])[0] == GIVEN
    clean, cloud = found["rows"]["clean"], found["rows"]["cloud"]
    assert clean[GIVEN]["psnr"] > 55 and abs(clean[GIVEN]["warp"] - 1) < 0.05
    assert cloud["atlas-delta"]["psnr"] > cloud[GIVEN]["psnr"] + 4 and cloud["atlas-delta"]["warp"] < cloud[GIVEN]["warp"]
    assert clean["flow"]["sharpness"] < clean["atlas-delta"]["sharpness"]
    assert cloud["flow"]["seconds"] > 0 and cloud["flow"]["peak_ram_mb"] > 50
    lines = flicker_table(found)
    assert lines[0] == "| dB / warp | given | flow | atlas-delta | atlas-replace |"
    given = cloud[GIVEN]
    assert lines[3].startswith(f"| cloud | {given['psnr']:.1f} / {given['warp']:.2f} | ")
    assert lines[-1].startswith("| peak MB | - | ")


def test_a_clip_by_a_map_of_its_colours(sample_clip: Clip) -> None:
    options = BenchFlickerOptions(clip=sample_clip.folder, fit="truth", device="cpu", quiet=True)
    found = bench_flicker(replace(options, disturbances="gain", ways="atlas"))
    assert not found["sample"]
    assert found["rows"]["gain"]["atlas"]["psnr"] > found["rows"]["gain"][GIVEN]["psnr"] + 3


def test_the_command_builds_and_fits_the_sample() -> None:
    size = ["--frames", "4", "--width", "64", "--height", "48", "--disturbances", "boil", "--ways", "atlas"]
    command = [sys.executable, str(SCRIPT), *size, "--json", "--quiet", "--device", "cpu"]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert found["sample"] and found["rows"]["boil"]["atlas"]["psnr"] > 15


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ways": "magic"}, "--ways magic: choose from flow, patches, prior"),
        ({"disturbances": " , "}, "choose from clean, gain"),
        ({"clip": Path("nowhere")}, "nowhere is not a clip folder"),
        ({"truth": Path("truth")}, "name that clip's folder as well"),
        ({"frames": 1}, "the sample needs"),
    ],
)
def test_what_cannot_be_measured(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        bench_flicker(replace(BenchFlickerOptions(quiet=True), **changes))  # type: ignore[arg-type]
