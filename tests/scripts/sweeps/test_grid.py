"""Rows, tables and picture of a sweep, on figures that are made up."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atlas.errors import UserError
from atlas.storage.images import read_image
from atlas.system.command import parse_options
from scripts.plans.places import Places
from scripts.sweeps.axes import given_axes
from scripts.sweeps.figures import FIGURES, figures_of_report
from scripts.sweeps.grid import Axis, Value, combinations
from scripts.sweeps.plot import plot
from scripts.sweeps.sweep import SweepOptions
from scripts.sweeps.tables import markdown, write_tables


def axes_from(*words: str, folder: Path) -> list[Axis]:
    options = parse_options(SweepOptions, ["clip", "--output", str(folder), *words])
    return given_axes(options, Places(folder))


def test_every_option_of_every_stage_is_an_axis(tmp_path: Path) -> None:
    words = ["--presets", "preview", "best", "--seconds", "none", "20", "--seeds", "0", "1", "--fit-seed", "7", "--strategies"]
    words += ["random", "propagate", "--methods", "mean", "--strength", "0.5", "1", "--hold", "0.2", "--transfer", "additive"]
    words += [
        "--control",
        "canny",
        "canny+depth",
        "--match-gain",
        "false",
        "--merge-steps",
        "9",
        "--keyframes",
        "0,12",
        "auto:3",
    ]
    words += ["--max-side", "64", "--prompt", "a cat, a dog", "--start", "5", "--light", "off", "--weights", "none"]
    found = {axis.name: axis for axis in axes_from(*words, folder=tmp_path)}
    assert [value.options for value in found["preset"].values] == [{"fit": {"preset": "preview"}}, {"fit": {"preset": "best"}}]
    assert [value.options["fit"]["seconds"] for value in found["seconds"].values] == [None, 20.0]
    assert found["seed"].values[1].options == {"edit": {"seed": 1}, "aggregate": {"seed": 1}}
    assert found["fit_seed"].values[0].options == {"fit": {"seed": 7}}
    assert [value.options["edit"]["control"] for value in found["control"].values] == [("canny",), ("canny", "depth")]
    assert found["transfer"].stages == {"render", "evaluate"} and found["match_gain"].values[0].options["aggregate"] == {
        "match_gain": False
    }
    assert [value.label for value in found["keyframes"].values] == ["0,12", "auto:3"]
    assert found["prompt"].values[0].options == {"edit": {"prompt": "a cat, a dog"}}
    assert found["start"].values[0].options == {"prepare": {"start": 5}}
    assert [axis.name for axis in axes_from("--seed", "1", "1", folder=tmp_path)] == ["seed"]
    numbers = axes_from("--strength", "1e-1", ".5", "--seeds", "010", folder=tmp_path)
    assert {axis.name: [value.options["edit"][axis.name] for value in axis.values] for axis in numbers} == {
        "strength": [0.1, 0.5],
        "seed": [10],
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--strength", "much"], "--strength: 'much'"),
        (["--preset", "b"], "--preset: 'b'"),
        (["--offline"], "--offline has no value"),
        (["--seeds", "2024-13-45"], "--seed: '2024-13-45'"),
        (["--seeds", "12:30"], "--seed: '12:30'"),
        (["--seeds", "9" * 5000], "--seed: '999"),
        (["--seeds", "[" * 5000], "--seed: '"),
    ],
)
def test_a_value_that_suits_no_option_is_refused(words: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        axes_from(*words, folder=tmp_path)


AXES = [
    Axis(name, tuple(map(Value, values.split())))
    for name, values in {"clip": "a b", "strategy": "x y z", "seed": "0 1"}.items()
]


def test_rows_are_all_combinations_or_some_of_them() -> None:
    rows = combinations(AXES)
    assert len(rows) == 12 and rows[1].labels == {"clip": "a", "strategy": "x", "seed": "1"}
    assert len(combinations(AXES, limit=5)) == 5
    some = combinations(AXES, ["strategy=x,z", "seed=1"])
    assert [row.labels["strategy"] for row in some] == ["x", "z"] * 2
    for only, said in (("strategy", "write AXIS=VALUE"), ("steps=3", "write AXIS=VALUE"), ("seed=9", "has the values 0 and 1")):
        with pytest.raises(UserError, match=said):
            combinations(AXES, [only])
    with pytest.raises(UserError, match="--limit 0"):
        combinations(AXES, limit=0)


def results() -> list[dict[str, Any]]:
    """Of each clip and strategy two seeds; overlap grows with the strategy's letter, and one row failed."""
    found = []
    for row in combinations(AXES):
        value = {"x": 0.1, "y": 0.2, "z": 0.3}[row.labels["strategy"]] + 0.02 * int(row.labels["seed"])
        figures: dict[str, Any] = dict.fromkeys(FIGURES) | {"overlap": value, "psnr": 30.0, "cpu_seconds": 1.0, "peak_mb": None}
        found.append({"axes": row.labels, "made": "e", "status": "done", "line": "", "figures": figures})
    found[-1] |= {"status": "2", "line": "no | such <b>filter", "figures": dict.fromkeys([*FIGURES, "cpu_seconds", "peak_mb"])}
    return found


def test_the_table_has_means_over_seeds_and_marks_the_best() -> None:
    lines = markdown(["clip", "strategy", "seed"], results())
    assert lines[0] == "| clip | strategy | overlap | psnr | cpu_seconds |"
    assert lines[2] == "| a | x | **0.1100 ± 0.0141** | 30.00 ± 0.00 | 1.0 ± 0.0 |"  # nothing is best where all are the same
    assert lines[3].startswith("| a | y | 0.2100 ±") and lines[7].startswith("| b | z | 0.3000 |")
    assert "- not done: b, z, 1: no \\| such &lt;b>filter" in lines


def test_every_axis_is_a_column_of_the_csv(tmp_path: Path) -> None:
    write_tables(tmp_path, ["clip", "strategy", "seed"], results())
    with (tmp_path / "sweep.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 12 and rows[2] | {"clip": "a", "strategy": "y", "seed": "0", "status": "done"} == rows[2]
    assert float(rows[2]["overlap"]) == 0.2 and rows[-1]["overlap"] == "" and rows[-1]["status"] == "2"
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.read_csv(tmp_path / "sweep.csv")
    assert frame.groupby("strategy")["overlap"].mean().idxmin() == "x"


def test_the_picture_is_the_same_to_the_byte(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        plot(tmp_path / name, ["clip", "strategy", "seed"], results(), ("overlap", "warp_error"))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    picture = read_image(tmp_path / "a.png")
    assert picture.shape[1] >= 600 and np.unique(picture[..., :3].reshape(-1, 3), axis=0).shape[0] > 50


def test_figures_of_a_report() -> None:
    layers = {"a": {"edited": 0.2, "source": 0.1}, "b": None, "c": {"edited": 0.4, "source": 0.1}}
    report = {
        "edit": {"keyframe_overlap": layers, "warp_error": {"ratio": 1.5}, "coverage": {"a": 1.0, "b": 0.5}, "changed": None}
    }
    found = figures_of_report(report)
    assert found["overlap"] == pytest.approx(0.3) and found["warp_error"] == 1.5 and found["coverage"] == 0.75
    assert found["changed"] is None and set(found.values()) >= {None} and found["psnr"] is None
    assert set(figures_of_report({}).values()) == {None}
