"""Sweeps of real stages on the smallest sample: what is shared runs once, and the table orders what should be ordered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from atlas.clip.clip import Clip
from atlas.clip.edits import Edit
from atlas.errors import UserError
from atlas.storage.stamps import digest
from atlas.system.command import parse_options
from scripts.plans.allotment import Allotment
from scripts.plans.plan import Plan
from scripts.sweeps.share import ShareOptions, share
from scripts.sweeps.studies import STUDIES
from scripts.sweeps.sweep import SweepOptions, planned, sweep
from scripts.sweeps.variant import VariantOptions, fit_variant
from tests.edit import tiny


def options_of(clip: Clip, folder: Path, *words: str) -> SweepOptions:
    return parse_options(SweepOptions, [str(clip.folder), "--output", str(folder), "--quiet", *words])


def rows_in(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((folder / "sweep.json").read_text())["rows"]
    return rows


def test_what_is_shared_runs_once(fresh_clip: Clip, tmp_path: Path) -> None:
    words = [
        "--fitted",
        "truth",
        "--filter",
        "hue",
        "--keyframes",
        "auto:2",
        "--methods",
        "mean",
        "median",
        "--transfer",
        "local",
    ]
    words += ["additive", "--figures-only", "--weights", "none"]
    sweep(options_of(fresh_clip, tmp_path / "sweep", *words))
    plan, _ = Plan.read(tmp_path / "sweep")
    stages = [task.stage for task in plan]
    assert {stage: stages.count(stage) for stage in set(stages)} == {"edit": 1, "share": 3, "aggregate": 2, "evaluate": 4}
    rows = rows_in(tmp_path / "sweep")
    assert [row["status"] for row in rows] == ["done"] * 4
    # A copy of an edit gives what the edit would have given.
    by_axes = {(row["axes"]["method"], row["axes"]["transfer"]): row for row in rows}
    alone = tmp_path / "alone"
    sweep(options_of(fresh_clip, alone, *[word for word in words if word not in ("mean", "local")]))
    (row,) = rows_in(alone)
    figures, shared = (dict(one["figures"]) for one in (row, by_axes["median", "additive"]))
    for one in (figures, shared):
        del one["cpu_seconds"], one["peak_mb"]
    assert figures == shared

    before = (tmp_path / "sweep" / "state.jsonl").read_bytes()
    sweep(options_of(fresh_clip, tmp_path / "sweep", *words))
    assert (tmp_path / "sweep" / "state.jsonl").read_bytes() == before


def test_propagated_keyframes_agree_better_than_random_ones(fresh_clip: Clip, tmp_path: Path) -> None:
    model, controlnet = tiny.save_pipeline(tmp_path / "sd"), tiny.save_controlnet(tmp_path / "controlnet")
    words = ["--fitted", "truth", "--study", "fig11", "--only", "strategy=random,propagate", "--model", str(model)]
    words += ["--controlnet", str(controlnet), "--steps", "4", "--offline", "true", "--method", "mean", "--keyframes", "auto:3"]
    told = sweep(options_of(fresh_clip, tmp_path / "sweep", *words, "--weights", "none", "--figures-only"))
    overlaps = {row["axes"]["strategy"]: row["figures"]["overlap"] for row in rows_in(tmp_path / "sweep")}
    assert overlaps["propagate"] < overlaps["random"]
    assert f"| propagate | **{overlaps['propagate']:.4f}** |" in told
    assert (tmp_path / "sweep" / "sweep.png").is_file()


@pytest.mark.parametrize("name", STUDIES)
def test_the_plan_of_each_study(name: str, sample_clip: Clip, tmp_path: Path) -> None:
    from scripts.sweeps.sweep import _axes, combinations

    options, study = options_of(sample_clip, tmp_path, "--study", name), STUDIES[name]
    rows = combinations(_axes(options, study))
    plan, about = planned(options, study, rows, tmp_path, Allotment())
    assert len(about["rows"]) == len(rows) == len(study.axis().values)
    fits = [task for task in plan if task.stage == "fit"]
    assert len(fits) == (len(rows) if name == "fit" else 1)
    assert len({task.id for task in plan if task.stage == "evaluate"}) == len(rows)


def test_a_copy_holds_what_later_stages_read(fresh_clip: Clip, tmp_path: Path) -> None:
    from edit.editors import EditOptions
    from edit.stage import edit

    words = ["--name", "a", "--layer", "foreground", "--fit", "truth", "--editor", "filter", "--filter", "hue", "--quiet"]
    edit(parse_options(EditOptions, [str(fresh_clip.folder), *words]))
    share(ShareOptions(clip=fresh_clip.folder, edit="a", name="b"))
    first, second = (Edit.open(fresh_clip, name) for name in "ab")
    assert second.layers == first.layers
    assert digest(first.keyframes_folder("foreground")) == digest(second.keyframes_folder("foreground"))
    again = edit(parse_options(EditOptions, [str(fresh_clip.folder), "--name", "b", *words[2:]]))
    assert again.up_to_date  # it is the edit that would have been made under this name
    for name, said in (("a", "is the edit itself"), ("../c", "cannot name")):
        with pytest.raises(UserError, match=said):
            share(ShareOptions(clip=fresh_clip.folder, edit="a", name=name))
    with pytest.raises(UserError, match="has no edit"):
        share(ShareOptions(clip=fresh_clip.folder, edit="none", name="c"))


def test_a_variant_of_a_preset(fresh_clip: Clip) -> None:
    fit_variant(VariantOptions(clip=fresh_clip.folder, name="v", preset="preview", rounds=0, without=("rigidity",), quiet=True))
    config = json.loads((fresh_clip.fit_folder("v") / "config.json").read_text())
    assert config["rounds"] == [] and config["losses"]["rigidity"] == 0.0
    for options, said in (
        (dict(without=("beauty",)), "choose from"),
        (dict(rounds=-1), "0 or more"),
        (dict(preset="nla"), "nla"),
    ):
        with pytest.raises(UserError, match=said):
            fit_variant(VariantOptions(clip=fresh_clip.folder, name="w", **options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--study", "fig12"], "choose from fig11"),
        (["--method", "mean"], "does not say how to edit"),
        (["--max-side", "64", "--filter", "hue"], "is prepared already"),
        (["--fitted", "truth", "--preset", "best"], "--fitted uses a fit as it is"),
        (["--workers", "0"], "--workers 0"),
    ],
)
def test_wrong_options_leave_nothing(words: list[str], said: str, sample_clip: Clip, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        sweep(options_of(sample_clip, tmp_path / "sweep", *words))
    assert not (tmp_path / "sweep").exists()
