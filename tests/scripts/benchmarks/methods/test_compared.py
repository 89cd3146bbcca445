"""Methods as parts of a bench: a part for each recipe, measured again where what it left is gone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.storage.images import read_image
from scripts.benchmarks.jobs import BenchOptions, edits_job, fits_jobs
from scripts.benchmarks.methods.asked import KNOWN, MethodsOptions
from scripts.benchmarks.methods.compared import method_parts, show_methods
from scripts.benchmarks.methods.sheet import columns, write_strip
from scripts.benchmarks.parts import EditsJob
from scripts.jobs.process import ROOT


def test_a_part_for_each_recipe(sample_clip: Clip, tmp_path: Path) -> None:
    parts = method_parts(MethodsOptions(model="a/b"), sample_clip, "cpu", tmp_path / "pictures", quick=False)
    assert [part.name for part in parts] == [f"method-{name}" for name in KNOWN]
    for part, name in zip(parts, KNOWN, strict=True):
        assert part.arguments[-2:] == ("--recipes", name) and "--steps" not in part.arguments
        assert part.leaves == tmp_path / "pictures" / f"{name}.png"
    code = parts[0].code()
    for file in (
        "edit/recipes/presets.py",
        "edit/deflicker/atlas.py",
        "edit/strategies/propagate.py",
        "atlas/rendering/stage.py",
    ):
        assert ROOT / file in code, "what runs as a process or is imported by its name counts"


def test_whole_frames_have_no_keyframes_and_quick_is_few_steps(sample_clip: Clip, tmp_path: Path) -> None:
    asked = MethodsOptions(model="a/b", layer="all", recipes="fixed,propagate,rave", steps=7)
    parts = method_parts(asked, sample_clip, "cpu", tmp_path, quick=True)
    assert [part.name for part in parts] == ["method-fixed", "method-rave"]
    arguments = parts[0].arguments
    assert arguments[arguments.index("--steps") + 1] == "7" and arguments[arguments.index("--tune-steps") + 1] == "3"


def test_what_is_wrong_is_said_before_anything_is_measured(sample_clip: Clip) -> None:
    options = BenchOptions(clips=(sample_clip.folder,), parts="methods", quick=True)
    (job,) = fits_jobs(options)
    with pytest.raises(UserError, match="name one with --model"):
        edits_job(job, options)
    with pytest.raises(UserError, match="--layer cat: .* has the layers foreground, background; or choose all"):
        edits_job(job, replace(options, model="a/b", layer="cat"))
    assert edits_job(job, replace(options, model="a/b", parts="edits")).methods == ()
    made = edits_job(job, replace(options, model="a/b", recipes="fixed"))
    assert [part.name for part in made.parts] == ["method-fixed"]


def test_other_weights_are_other_figures(sample_clip: Clip, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    found = []
    for text in ("{}", "[]"):
        (tmp_path / "model" / "model_index.json").write_text(text)
        asked = MethodsOptions(model=str(tmp_path / "model"), recipes="fixed")
        found += method_parts(asked, sample_clip, "cpu", tmp_path, quick=False)
    assert found[0].arguments == found[1].arguments and found[0].made_from != found[1].made_from


def test_the_sheet_of_what_they_left(sample_clip: Clip, tmp_path: Path) -> None:
    parts = method_parts(MethodsOptions(model="a/b", recipes="fixed,rave"), sample_clip, "cpu", tmp_path, quick=False)
    show_methods(parts, 12, tmp_path / "sheet.png")
    assert not (tmp_path / "sheet.png").exists()
    for name in ("source", "rave"):
        write_strip(tmp_path / f"{name}.png", (np.full((40, 60, 3), 99, np.uint8) for _ in columns(12)))
    show_methods(parts, 12, tmp_path / "sheet.png")
    assert 2 * 40 < read_image(tmp_path / "sheet.png").shape[0] < 3 * 40
    show_methods((), 12, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_a_job_without_methods_has_none(sample_clip: Clip) -> None:
    assert not [part for part in EditsJob(sample_clip, "sample", 12, None, True, "cpu").parts if part.half == "methods"]
