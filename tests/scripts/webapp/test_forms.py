"""Forms of the stages: the fields are the options, what is filled in becomes the command, and refusals find their field."""

from __future__ import annotations

import sys
import threading
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from atlas.errors import UserError
from atlas.system.command import parse_options
from scripts.webapp.forms import STAGES, FormError, arguments_of, field_of, form_of, options_of, parsed, values_of

NEEDED: dict[str, dict[str, Any]] = {
    "prepare": {"source": "film.mp4"},
    "fit": {},
    "edit": {"name": "gold", "layer": "foreground", "editor": "filter"},
    "aggregate": {"edit": "gold"},
    "render": {"edit": "gold"},
    "deflicker": {"edit": "gold", "way": "flow"},
    "evaluate": {},
    "export": {"output": "out"},
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path)
    return (tmp_path / "root").resolve()


@pytest.mark.parametrize("stage", STAGES)
def test_every_option_is_a_field_with_its_help(stage: str) -> None:
    names = {field.name for field in form_of(stage)}
    assert names == {field.name for field in fields(options_of(stage))} - {"clip", "quiet"}
    assert all(field.help and field.group for field in form_of(stage))


def test_fields_are_of_their_kind() -> None:
    fit = {field.name: field for field in form_of("fit")}
    assert (fit["preset"].kind, fit["preset"].choices) == ("choice", ("preview", "standard", "best", "nla"))
    assert (fit["preset"].default, fit["preset"].option) == ("standard", "--preset")
    assert (fit["seconds"].kind, fit["seconds"].default, fit["seconds"].optional) == ("number", None, True)
    assert fit["name"].help == "Name of the fit: a clip can have several."
    edit = {field.name: field for field in form_of("edit")}
    assert edit["prompt"].group == "Options of --editor diffusion." and edit["editor"].required
    assert (edit["control"].count, edit["control"].kind, edit["canny"].count) == (None, "choice", 2)
    assert (edit["image"].kind, edit["start_from"].option) == ("path", "--start")
    prepare = {field.name: field for field in form_of("prepare")}
    assert (prepare["source"].option, prepare["source"].required, prepare["max_side"].option) == ("", True, "--max-side")


def test_no_such_stage() -> None:
    for stage in ("demo", "", "../fit", "__init__"):
        with pytest.raises(UserError, match="no stage"):
            form_of(stage)


@pytest.mark.parametrize(
    ("stage", "values"),
    [
        ("prepare", {"source": "film.mp4", "masks": "box:1,2,30,40", "max_side": 512.0, "fps": 12.5, "cuts": "ignore"}),
        ("fit", {"preset": "preview", "iterations": 40, "seconds": "60", "device": "cpu", "wait": True}),
        ("edit", NEEDED["edit"] | {"editor": "diffusion", "prompt": "-a swan/duck: --gold, (red:1.2)", "negative": "--x"}),
        ("edit", NEEDED["edit"] | {"control": ["canny", "depth"], "canny": [10, 20], "prompt_at": "0:a\n12:b c"}),
        ("edit", NEEDED["edit"] | {"attend_control": "False", "start_from": "edit:other", "control_scale": [0.5, -1]}),
        ("edit", NEEDED["edit"] | {"model": "stabilityai/sd-turbo", "lora": ["models/look.safetensors:0.8"]}),
        ("aggregate", {"edit": "gold", "match_gain": False, "merge_steps": 10}),
        ("render", {"edit": "gold", "crf": 0, "alpha": True, "format": "webm", "output": "out/film.webm"}),
        ("deflicker", {"edit": "gold", "way": "atlas", "robust": True}),
    ],
)
def test_there_and_back(stage: str, values: dict[str, Any], root: Path) -> None:
    """What is filled in arrives as the options of the command, and comes out of them again."""
    arguments = arguments_of(stage, values, root, root / "clip")
    options = parse_options(options_of(stage), arguments)
    assert vars(options)["clip"] == root / "clip"
    for name, value in values.items():
        parsed = vars(options)[name]
        if isinstance(parsed, Path):
            assert parsed == root / value
        elif isinstance(value, list):
            assert list(parsed) == value
        elif name == "prompt_at":
            assert parsed == ("0:a", "12:b c")
        else:
            assert str(parsed) == str(value) or float(parsed) == float(value)
    assert arguments_of(stage, values_of(stage, arguments), root, root / "clip") == arguments


@pytest.mark.parametrize("stage", STAGES)
def test_what_is_left_empty_is_left_to_the_command(stage: str, root: Path) -> None:
    empty = {field.name: value for field in form_of(stage) for value in ("", None, []) if not field.required}
    defaults = {field.name: field.default for field in form_of(stage) if not field.required}
    plain = arguments_of(stage, NEEDED[stage], root, root / "clip")
    assert arguments_of(stage, empty | NEEDED[stage], root, root / "clip") == plain
    assert arguments_of(stage, defaults | NEEDED[stage], root, root / "clip") == plain


@pytest.mark.parametrize(
    ("stage", "values", "name", "words"),
    [
        ("fit", {"preset": "fast"}, "preset", "take one of preview, standard"),
        ("fit", {"seconds": "long"}, "seconds", "no number"),
        ("fit", {"seed": 1.5}, "seed", "no whole number"),
        ("fit", {"seed": True}, "seed", "no true or false"),
        ("fit", {"seed": [1]}, "seed", "single value"),
        ("fit", {"wait": "yes"}, "wait", "on or off"),
        ("fit", {"name": "a" * 20000}, "name", "too long"),
        ("fit", {"bogus": 1}, "", "no option 'bogus'"),
        ("fit", {"clip": "other"}, "", "no option 'clip'"),
        ("fit", {"quiet": True}, "", "no option 'quiet'"),
        ("edit", NEEDED["edit"] | {"canny": [1]}, "canny", "2 values"),
        ("edit", NEEDED["edit"] | {"control": ["canny", "--output"]}, "control", "no choice"),
        ("edit", NEEDED["edit"] | {"lora": ["--model", "x"]}, "lora", "begin with '-'"),
        ("edit", NEEDED["edit"] | {"name": ""}, "name", "needed"),
        ("prepare", {}, "source", "needed"),
    ],
)
def test_what_is_wrong_is_told_at_its_field(stage: str, values: dict[str, Any], name: str, words: str, root: Path) -> None:
    with pytest.raises(FormError) as told:
        arguments_of(stage, values, root, root / "clip")
    assert list(told.value.errors) == [name] and words in told.value.errors[name]


OUTSIDE = [
    "../secret",
    "/etc/passwd",
    "link/secret",
    "link",
    "a/../../secret",
    "C:\\x",
    "C:/x",
    "..",
    "..\\secret",
    "\\\\host\\share",
]


@pytest.mark.parametrize("stage", STAGES)
def test_no_field_takes_a_path_outside(stage: str, root: Path) -> None:
    """Every field of text or path, each way of writing it, also inside what a command takes apart."""
    for field in form_of(stage):
        if field.kind not in ("text", "path"):
            continue
        ways = (
            ["{}"] if field.kind == "path" else ["{}", "lut:file={}", "{}:0.8", "a={},b=1", "edit:{}", "points:{};x", "a, {}"]
        )
        for way in ways:
            for outside in OUTSIDE:
                text = way.format(outside)
                value = text if field.count == 1 else [text]
                with pytest.raises(FormError) as told:
                    arguments_of(stage, NEEDED[stage] | {field.name: value}, root, root / "clip")
                assert list(told.value.errors) == [field.name], (field.name, text)


@pytest.mark.parametrize(
    ("stage", "message", "values", "name"),
    [
        ("fit", "--device cuda: torch finds no such device here; use --device cpu", {}, "device"),
        ("prepare", "--masks box:1,2,3 is not understood: give box:x,y,w,h in the source's pixels", {}, "masks"),
        ("prepare", "/data/root/film.mp4 is missing: check the path", {"source": "/data/root/film.mp4"}, "source"),
        ("aggregate", "--no-match-gain is odd", {}, "match_gain"),
        ("edit", "--start frames is for --on frames", {}, "start_from"),
        ("render", "/data/root/swan has no edit 'gold' (its edits: none yet): make it", {"edit": "gold"}, "edit"),
        ("edit", "/data/swan has no fit 'default' (its fits: a): run scripts/fit.py /data/swan --name default", {}, "fit"),
        ("edit", "/data/swan has no layer 'sky': choose one of foreground", {"layer": "sky", "prompt": "sky"}, "layer"),
        ("edit", "keyframe 99 is past the end: the clip has frames 0 to 11", {}, "keyframes"),
        ("run", "--masks box:1 is not understood", {}, ""),
        ("fit", "no space left on the device", {}, ""),
        ("fit", "a thing with --unknown option", {"name": "xy"}, ""),
    ],
)
def test_a_commands_error_finds_its_field(stage: str, message: str, values: dict[str, Any], name: str) -> None:
    assert field_of(stage, message, values) == name


def test_what_the_parser_refuses_is_short(root: Path) -> None:
    with pytest.raises(FormError) as told:
        arguments_of("deflicker", {"edit": "gold", "way": ""}, root, root / "clip")
    assert list(told.value.errors) == ["way"]
    assert values_of("fit", ["--bogus"]) == {}


def test_requests_at_once_get_their_own_refusals() -> None:
    """The parser writes to the process's streams: one request must not read another's, nor leave them exchanged."""
    streams, refusals = (sys.stdout, sys.stderr), dict[str, set[str]]()

    def ask(option: str) -> None:
        for _ in range(10):
            with pytest.raises(UserError) as refusal:
                parsed("fit", ["/clip", option])
            refusals.setdefault(option, set()).add(str(refusal.value))

    threads = [threading.Thread(target=ask, args=(f"--bogus-{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (sys.stdout, sys.stderr) == streams
    assert len(refusals) == 6 and all(len(texts) == 1 and option in min(texts) for option, texts in refusals.items())
