"""Methods side by side, with tiny weights: each edited, rendered and measured by the commands; the clip stays as it is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.storage.images import read_image
from atlas.storage.stamps import read_json
from scripts.benchmarks.bench import bench
from scripts.benchmarks.jobs import BenchOptions
from scripts.benchmarks.methods.methods import BenchMethodsOptions, bench_methods
from tests.edit import tiny

pytestmark = pytest.mark.slow
pytest.importorskip("diffusers", reason="diffusers is not installed: pip install -e .[diffusion]")


def files(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def asked(sample_clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> BenchMethodsOptions:
    folder = tmp_path_factory.mktemp("methods")
    return BenchMethodsOptions(
        clip=sample_clip.folder,
        fit="truth",
        model=str(tiny.save_pipeline(folder / "sd")),
        controlnet=str(tiny.save_controlnet(folder / "net")),
        recipes="fixed,img2img",
        prompt="a cat",
        steps=2,
        offline=True,
        device="cpu",
        pictures=folder / "pictures",
        quiet=True,
    )


def test_two_recipes(asked: BenchMethodsOptions) -> None:
    before = files(asked.clip)
    figures = bench_methods(asked)
    assert files(asked.clip) == before
    assert (figures["layer"], figures["prompt"]) == ("foreground", "a cat")
    assert [row["method"] for row in figures["methods"]] == ["fixed", "img2img"]
    for row in figures["methods"]:
        assert row["recipe"]["name"] == row["method"] and row["recipe"]["stages"][-1]["steps"] == 2
        assert row["measured"]["warp_error"]["ratio"] > 0 and "lpips" in row["measured"]["absent"]
        assert 0 < row["measured"]["changed"] < 1 and row["measured"]["sharpness"]["ratio"] > 0
        for stage in ("edit", "render"):
            assert row["cost"][stage]["wall_seconds"] > 0 and row["cost"][stage]["peak_ram_mb"] > 50
    fixed, img2img = (row["measured"]["pixel_mse"]["edit"] for row in figures["methods"])
    assert fixed != img2img
    assert asked.pictures is not None
    sheet = read_image(asked.pictures / "methods.png")
    assert sheet.shape[0] > 3 * 64 and sheet.shape[1] > 7 * 96


def test_weights_that_are_not_there_end_in_one_line(asked: BenchMethodsOptions, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="^[^:]*nowhere"):
        bench_methods(BenchMethodsOptions(**(vars(asked) | {"model": str(tmp_path / "nowhere"), "recipes": "fixed"})))


@pytest.mark.parametrize(
    ("given", "said"),
    [({"layer": "cat"}, "no layer 'cat'"), ({"layer": "all", "recipes": "propagate"}, "name one with --layer")],
)
def test_what_no_command_has_to_run_for(asked: BenchMethodsOptions, given: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        bench_methods(BenchMethodsOptions(**(vars(asked) | given)))


def test_in_a_bench(asked: BenchMethodsOptions, fresh_clip: Clip, tmp_path: Path) -> None:
    """A table, a sheet, and what was measured is not measured again."""
    shutil.move(fresh_clip.fit_folder("truth"), fresh_clip.fit_folder("default"))
    shared = {"model": asked.model, "controlnet": asked.controlnet, "prompt": "a cat", "offline": True, "device": "cpu"}
    options = BenchOptions(
        clips=(fresh_clip.folder,), parts="methods", recipes="fixed", output=tmp_path / "bench", quick=True, **shared
    )
    text = bench(options)
    assert "## Methods: clip" in text and "| fixed |" in text and 'foreground: "a cat", fit default.' in text
    assert text.rstrip() == (tmp_path / "bench" / "bench.md").read_text().rstrip()
    (row,) = read_json(tmp_path / "bench" / "bench.json")["edits"]
    assert row["part"] == "method-fixed" and row["figures"]["methods"][0]["recipe"]["stages"][0]["steps"] == 3
    assert read_image(tmp_path / "bench" / "methods-clip.png").shape[0] > 2 * 64

    strip, kept = (
        tmp_path / "bench" / "runs" / "edits" / "clip" / name for name in ("pictures/fixed.png", "method-fixed.json")
    )
    before = strip.stat().st_mtime_ns, kept.stat().st_mtime_ns
    assert bench(options).split("## Methods")[1] == text.split("## Methods")[1]
    assert (strip.stat().st_mtime_ns, kept.stat().st_mtime_ns) == before
