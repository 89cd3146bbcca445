"""Options of the stages as plans take them: every value that is taken comes back from the command line as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from atlas.errors import UserError
from atlas.system.command import parse_options
from scripts.plans import options as plans
from scripts.plans.options import STAGES, arguments_of, option_of, options_of, taken_options
from scripts.plans.places import Places

POSITIONAL = {
    "prepare": ["s.mp4", "clip"],
    "edit": ["clip", "--name", "n", "--layer", "l", "--editor", "e"],
    "aggregate": ["clip", "--edit", "e"],
    "render": ["clip", "--edit", "e"],
}
GIVEN: dict[str, dict[str, Any]] = {
    "prepare": {"masks": "box:1,2,3,4", "max-side": 320, "fps": 12, "frames": 5},
    "fit": {"preset": "best", "seconds": 20, "seed": 3, "iterations": None},
    "edit": {
        "prompt": '-5: a cat\'s "hat" \N{SNOWMAN}',
        "control": ["canny", "depth"],
        "control_scale": [1, 0.5],
        "canny": [50, 150],
    }
    | {"attend_control": True, "karras": True, "offline": False, "keyframes": 12, "strength": 0.1, "negative": ""}
    | {"lora": "a.safetensors:0.5", "keep": "mask.png", "start": "frames"},
    "aggregate": {"method": "mean", "match_gain": False, "match_shift": True, "steps": 7},
    "render": {"format": "png", "alpha": True, "crf": None, "light": "off"},
    "evaluate": {"weights": "none", "report": True, "points": "points.csv"},
}


@pytest.mark.parametrize("stage", STAGES)
def test_values_come_back_from_the_command_line(stage: str, tmp_path: Path) -> None:
    taken = taken_options(stage, GIVEN[stage], "jobs.yaml, edit 1", Places(tmp_path))
    words = [*POSITIONAL.get(stage, ["clip"]), *arguments_of(stage, taken)]
    parsed = parse_options(plans._TYPES[stage], words)
    assert {name: getattr(parsed, name) for name in taken} == taken
    assert all(value == tmp_path / GIVEN[stage][name] for name, value in taken.items() if isinstance(value, Path))


@pytest.mark.parametrize(
    ("stage", "name", "value", "said"),
    [
        ("fit", "seconds", "ten", "is not a number"),
        ("fit", "seconds", float("nan"), "is not a number"),
        ("fit", "seed", 1.5, "is not a whole number"),
        ("fit", "seed", True, "is not a whole number"),
        ("fit", "preset", "finest", "is not one of preview, standard"),
        ("fit", "preset", ["best"], "is not one of"),
        ("edit", "prompt", ["a"], "is not a text"),
        ("edit", "prompt", True, "is not a text"),
        ("edit", "prompt", {"a": 1}, "is not a text"),
        ("edit", "prompt", "a\0b", "NUL"),
        ("edit", "control", ["canny", "edges"], "is not one of"),
        ("edit", "canny", [1], "a list of 2 values"),
        ("edit", "karras", "yes", "is not true or false"),
        ("edit", "keep", 3, "is not a path"),
        ("edit", "keep", "", "is not a path"),
        ("edit", "colour", 1, "edit has no option 'colour'"),
        ("edit", "clip", "/etc", "edit has no option 'clip'"),
        ("render", "output", "/etc/passwd", "render has no option 'output'"),
        ("render", "force", True, "render has no option 'force'"),
    ],
)
def test_a_wrong_value_is_refused_in_one_line(stage: str, name: str, value: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^jobs.yaml, edit 1") as refused:
        taken_options(stage, {name: value}, "jobs.yaml, edit 1", Places(tmp_path))
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_an_option_has_the_field_s_name_and_the_command_line_s() -> None:
    for name in ("merge_steps", "merge-steps", "steps"):
        assert option_of("aggregate", name) is options_of("aggregate")["merge_steps"]
    assert option_of("edit", "start") is options_of("edit")["start_from"]


def test_places(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").touch()
    places = Places(tmp_path, (tmp_path, tmp_path.parent / "other"))
    assert places.path(Path("x/../y"), "") == tmp_path / "y"
    assert places.path(Path("../other/y"), "") == tmp_path.parent / "other" / "y"
    assert places.text("a.safetensors:0.5", "") == f"{tmp_path / 'a.safetensors'}:0.5"
    assert places.text("someone/model", "") == "someone/model"
    for path in ("/etc/passwd", "../x", f"{tmp_path}-more/x", "a/../../x"):
        with pytest.raises(UserError, match=r"entry.*out of the job file's reach"):
            places.path(Path(path), "entry")
        with pytest.raises(UserError, match="reach"):
            places.text(path, "entry")
    assert Places(tmp_path).path(Path("/etc"), "") == Path("/etc")
