"""A choice beside a preset replaces that choice alone; what cannot be is refused before anything is loaded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from atlas.errors import UserError
from edit.recipes.options import FramesOptions, for_clip, resolved
from edit.recipes.presets import PRESETS, preset_help
from edit.recipes.recipe import Finish, Recipe, Sample, Tune, attending, steps_at


def made(
    recipe: str | None = None,
    strength: float | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    **given: Any,
) -> Recipe:
    return resolved(FramesOptions(recipe=recipe, **given), strength=strength, steps=steps, guidance=guidance)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_alone_is_what_the_table_says(name: str) -> None:
    assert made(name).stages == PRESETS[name].stages and made(name).name == name
    assert f"{name}: {PRESETS[name].meaning}" in preset_help().splitlines()[list(PRESETS).index(name)]


def test_ours_is_the_default() -> None:
    assert made().name == "layered"


SINGLE: list[tuple[str, dict[str, Any], str, Any]] = [
    ("layered", {"noise": "own"}, "noise", "own"),
    ("layered", {"attend": "track"}, "attend", "track"),
    ("layered", {"agree": "flow"}, "agree", "flow"),
    ("layered", {"agree_at": "0.5"}, "agree_at", "0.5"),
    ("layered", {"agree_form": "direct"}, "agree_form", "direct"),
    ("layered", {"agree_window": 3}, "agree_window", 3),
    ("layered", {"agree_robust": True}, "agree_robust", True),
    ("layered", {"steps": 7}, "steps", 7),
    ("layered", {"steps": 20}, "steps", 20),
    ("diffsynth", {"guidance": 9.0}, "guidance", 9.0),
    ("diffsynth", {"attend_control": False}, "attend_control", False),
    ("img2img", {"strength": 0.75}, "strength", 0.75),
    ("img2img", {"start_from": "noise"}, "start", "noise"),
    ("co-denoise", {"stride": 4}, "stride", 4),
]


@pytest.mark.parametrize(("recipe", "given", "name", "value"), SINGLE)
def test_a_choice_replaces_that_choice_alone(recipe: str, given: dict[str, Any], name: str, value: Any) -> None:
    stages = PRESETS[recipe].stages
    expected = tuple(replace(stage, **{name: value}) if isinstance(stage, Sample) else stage for stage in stages)
    assert made(recipe, **given).stages == expected


def test_of_several_samplings_that_which_made_the_choice_is_changed() -> None:
    first, tune, last = PRESETS["consistency-tuning"].stages
    assert isinstance(first, Sample) and isinstance(last, Sample)
    assert made("consistency-tuning", agree_at="0.3").stages == (replace(first, agree_at="0.3"), tune, last)
    assert made("consistency-tuning", window=4).stages == (first, tune, replace(last, window=4, stride=2))
    assert made("consistency-tuning", attend="self").stages == (first, tune, replace(last, attend="self"))
    both = made("consistency-tuning", noise="atlas", steps=5).stages
    assert both == (replace(first, noise="atlas", steps=5), tune, replace(last, noise="atlas", steps=5))


def test_agreement_is_taken_out_and_put_in() -> None:
    (sample,) = made("layered", agree="none", finish="none").stages
    assert isinstance(sample, Sample) and (sample.agree, sample.agree_at) == ("none", "")
    (sample,) = made("fixed", agree="atlas").stages
    assert isinstance(sample, Sample) and (sample.agree, sample.agree_at) == ("atlas", "0.2-0.85")


def test_tuning_is_taken_out_put_in_and_changed() -> None:
    assert [stage.kind for stage in made("clip-tuning", tune="none").stages] == ["sample"]
    tune, sample = made("img2img", tune="clip", tune_steps=5, tune_with="lora:4", tune_pairs=30).stages
    assert tune == Tune(on="clip", steps=5, how="lora:4", pairs=30) and sample == PRESETS["img2img"].stages[0]
    changed = made("consistency-tuning", tune_rate=1e-5).stages[1]
    assert changed == replace(PRESETS["consistency-tuning"].stages[1], rate=1e-5)  # type: ignore[type-var]


def test_finishing_is_replaced_as_a_whole() -> None:
    sample, *_ = PRESETS["diffsynth"].stages
    assert made("diffsynth", finish="none").stages == (sample,)
    assert made("diffsynth", finish="atlas, tone:1.2:1").stages == (sample, Finish("atlas"), Finish("tone:1.2:1"))


def test_windows_of_a_preset_are_cut_to_the_clip_and_those_of_the_user_are_not() -> None:
    (sample,) = for_clip(made("co-denoise"), FramesOptions(), 10).stages
    assert isinstance(sample, Sample) and (sample.window, sample.stride) == (10, 8)
    (sample,) = for_clip(made("co-denoise"), FramesOptions(), 1).stages
    assert isinstance(sample, Sample) and (sample.window, sample.stride) == (0, 0)
    with pytest.raises(UserError, match="--window 16 is longer than the clip: it has 10 frames"):
        for_clip(made("co-denoise", window=16), FramesOptions(window=16), 10)


def test_what_needs_a_fit_is_named() -> None:
    needs = {name: made(name).needs_fit() for name in PRESETS}
    assert needs == dict.fromkeys(PRESETS) | {"layered": "--noise atlas", "consistency-tuning": "--agree fusion"}
    assert made("fixed", finish="atlas").needs_fit() == "--finish atlas"
    assert made("fixed", attend="track").needs_fit() == "--attend track"
    assert made("img2img", tune="clip", tune_pairs=2).needs_fit() == "--tune-pairs above 1"


def test_shares_of_the_schedule_are_the_published_steps() -> None:
    assert steps_at("0.2,0.45,0.7,0.95", 20) == {4, 9, 14, 19}
    assert steps_at("0.2-0.85", 20) == set(range(4, 18))
    assert steps_at("0", 20) == {0} and steps_at("1", 20) == {19} and steps_at("0-1", 3) == {0, 1, 2}
    assert steps_at("", 20) == set()
    assert steps_at("0.2,0.45,0.7,0.95", 2) == {0, 1}


def test_whom_frames_attend_to() -> None:
    assert attending("anchors") == ("anchors", 4) and attending("anchors:7") == ("anchors", 7)
    assert attending("anchors:first") == ("anchors", None) and attending("grid:3") == ("grid", 3)
    for wrong in ("", "anchors:0", "anchors:x", "grid", "grid:1", "track:first", "self:2", "anchors:²", "track:" + "9" * 5000):
        with pytest.raises(UserError, match="--attend"):
            attending(wrong)


def test_the_line_that_is_printed_says_what_was_chosen() -> None:
    line = str(made("layered", steps=8, agree_window=2))
    assert line == (
        "recipe layered: sample(noise=atlas, attend=anchors, agree=atlas, agree-at=0.2-0.85, agree-window=2, steps=8)"
        " -> finish(by=atlas)"
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"recipe": ""}, "there is no recipe ''"),
        ({"recipe": "img2img", "strength": 1.5}, "--strength 1.5 is out of range"),
        ({"recipe": "fixed", "steps": 0}, "--steps 0 is out of range"),
        ({"recipe": "fixed", "guidance": float("nan")}, "--guidance nan is out of range"),
        ({"recipe": "fixed", "window": -1}, "--window -1"),
        ({"recipe": "fixed", "window": 1}, "--window 1"),
        ({"recipe": "fixed", "start_from": "edit:"}, "--start 'edit:' is not understood"),
        ({"recipe": "fixed", "tune": "all"}, "--tune 'all' is not understood"),
        ({"recipe": "clip-tuning", "tune_rate": 0.0}, "--tune-rate 0 is out of range"),
        ({"recipe": "clip-tuning", "tune_pairs": 0}, "--tune-pairs 0 is out of range"),
        ({"recipe": "layered", "agree_window": -1}, "--agree-window -1"),
        ({"recipe": "layered", "agree_at": "1,2"}, "--agree-at 1,2"),
        ({"recipe": "layered", "agree_at": "nan"}, "--agree-at 'nan' is not understood"),
        ({"recipe": "diffsynth", "agree_robust": True}, "--agree-robust is for --agree atlas, not --agree patches"),
        ({"recipe": "consistency-tuning", "agree_window": 2}, "--agree-window is for --agree atlas or patches or flow, not"),
        (
            {"recipe": "fixed", "agree": "fusion", "agree_form": "direct"},
            "--agree-form is for --agree atlas or patches or flow",
        ),
        ({"recipe": "layered", "strength": 0.5}, "--strength 0.5 is for frames that start from a picture"),
        (
            {"recipe": "diffsynth", "attend": "anchors"},
            "--window 16 with --attend anchors, which sees all frames: say --window 0",
        ),
    ],
)
def test_a_choice_that_no_clip_could_be_edited_by_is_refused(given: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError) as problem:
        made(**given)
    assert expected in str(problem.value)


def test_how_frames_agree_is_a_choice_of_the_stage_in_which_they_do() -> None:
    first, _, last = made("consistency-tuning", agree="atlas", agree_window=2, agree_robust=True, agree_form="direct").stages
    assert isinstance(first, Sample) and (first.agree_window, first.agree_robust, first.agree_form) == (2, True, "direct")
    assert last == PRESETS["consistency-tuning"].stages[-1]
