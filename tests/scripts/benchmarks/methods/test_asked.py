"""What methods are asked for: what is wrong is said before anything is copied or loaded; commands are as a user types them."""

from __future__ import annotations

from pathlib import Path

import pytest

from atlas.errors import UserError
from atlas.system.command import parse_options
from edit.editors import EditOptions
from edit.editors.choice import chosen_editor
from edit.recipes.presets import PRESETS
from scripts.benchmarks.methods.asked import KEYFRAMES, KNOWN, MethodsOptions
from scripts.benchmarks.methods.methods import BenchMethodsOptions


def test_all_recipes_and_keyframes_are_compared() -> None:
    assert MethodsOptions(model="m").chosen() == [*PRESETS, "propagate"]
    assert MethodsOptions(model="m", recipes=" fixed, layered ,fixed").chosen() == ["fixed", "layered"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"model": None}, "name one with --model"),
        ({"recipes": "layered,nonsense"}, "--recipes layered,nonsense: choose from layered, diffsynth"),
        ({"recipes": " , "}, "choose from layered"),
        ({"prompt": " "}, "--prompt is empty"),
        ({"steps": 0}, "--steps 0: give 1 or more"),
        ({"tune_steps": 0}, "--tune-steps 0: give 1 or more"),
    ],
)
def test_what_is_wrong_is_one_line(given: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        MethodsOptions(**({"model": "m"} | given)).chosen()  # type: ignore[arg-type]


@pytest.mark.parametrize("name", KNOWN)
def test_each_command_is_one_that_the_editor_takes(name: str, tmp_path: Path) -> None:
    asked = MethodsOptions(
        model=str(tmp_path), controlnet="some/net", prompt="a cat", steps=3, tune_steps=2, seed=4, offline=True
    )
    begin = ["clip", "--name", name, "--layer", "foreground"]
    options = parse_options(EditOptions, [*begin, *asked.edit_arguments(name)])
    chosen_editor(options).check_early()
    assert (options.prompt, options.seed, options.steps, options.offline) == ("a cat", 4, 3, True)
    assert options.model == str(tmp_path) and options.controlnet == ("some/net",)
    assert options.tune_steps == (2 if name in ("clip-tuning", "consistency-tuning") else None)
    assert options.target("foreground") == ("keyframes" if name == KEYFRAMES else "frames")


@pytest.mark.parametrize(
    "given", [{}, {"layer": "all", "steps": 4, "tune_steps": 5, "seed": 6, "offline": True, "controlnet": "a/b"}]
)
def test_the_bench_hands_on_what_it_was_asked(given: dict[str, object]) -> None:
    asked = MethodsOptions(model="owner/model", prompt="a cat, - by night", **given)  # type: ignore[arg-type]
    options = parse_options(BenchMethodsOptions, ["clip", *asked.arguments()])
    assert {name: getattr(options, name) for name in vars(asked)} == vars(asked)


def test_weights_are_named_by_their_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").mkdir()
    arguments = MethodsOptions(model="weights", controlnet="owner/weights").edit_arguments("fixed")
    assert arguments[arguments.index("--model") + 1] == str(tmp_path / "weights")
    assert arguments[arguments.index("--controlnet") + 1] == "owner/weights"
