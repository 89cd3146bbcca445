"""Methods side by side, with tiny weights: each edited, rendered and measured by the commands; the clip stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.storage.images import read_image
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
    with pytest.raises(UserError, match="no method came to its end: .*nowhere"):
        bench_methods(BenchMethodsOptions(**(vars(asked) | {"model": str(tmp_path / "nowhere"), "recipes": "fixed"})))


@pytest.mark.parametrize(
    ("given", "said"),
    [({"layer": "cat"}, "no layer 'cat'"), ({"layer": "all", "recipes": "propagate"}, "name one with --layer")],
)
def test_what_no_command_has_to_run_for(asked: BenchMethodsOptions, given: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        bench_methods(BenchMethodsOptions(**(vars(asked) | given)))
