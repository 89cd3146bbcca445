"""Axes of a sweep from the command line: every option of every stage takes several values there."""

from __future__ import annotations

from dataclasses import field, make_dataclass
from typing import Annotated, Any

import tyro

from atlas.errors import UserError
from scripts.batches.files import read_plain
from scripts.plans.options import STAGES, Option, option_of, options_of, taken
from scripts.plans.places import Places
from scripts.sweeps.grid import Axis, Value

_PLURALS = {"preset": "presets", "seed": "seeds", "strategy": "strategies", "method": "methods", "recipe": "recipes"}
_BEFORE_EDITS = {"seed": "fit_seed"}
"""What fits have under the name of an option of edits, and is varied for itself."""
_EVALUATE = {"prompt": "evaluate_prompt"}
_UNASKED = ("\0",)
"""What an axis holds that is not on the command line: no word there can be this."""


def axes_of(stage: str) -> dict[str, str]:
    """Names of a stage's options as axes, and the options' own."""
    renamed = _BEFORE_EDITS if stage == "fit" else _EVALUATE if stage == "evaluate" else {}
    return {renamed.get(name, name): name for name in options_of(stage)}


def _settings() -> dict[str, list[tuple[str, str]]]:
    """For each axis the stages and options that it sets, in the order of the stages."""
    settings: dict[str, list[tuple[str, str]]] = {}
    for stage in STAGES:
        for axis, option in axes_of(stage).items():
            settings.setdefault(axis, []).append((stage, option))
    return settings


def axis_fields() -> type[Any]:
    """A dataclass with a field for each axis: its values as texts."""
    made = []
    for axis, options in _settings().items():
        stage, option = options[0]
        flag = next(one.flag for one in options_of(stage).values() if one.name == option)
        aliases = [f"--{_PLURALS[axis]}"] if axis in _PLURALS else []
        help_text = f"Of {', '.join(f'{stage}.py' for stage, _ in options)}: values of --{flag.replace('_', '-')}, as there."
        shown = tyro.conf.arg(name=axis.replace("_", "-"), aliases=aliases, help=help_text, help_behavior_hint="")
        made.append((axis, Annotated[tuple[str, ...], shown], field(default=_UNASKED, kw_only=True)))
    return make_dataclass("AxisOptions", made)


def given_axes(options: object, places: Places) -> list[Axis]:
    """The axes that a command line gives values of, in the order of the stages; UserError for a value that suits none."""
    axes = []
    for name, setting in _settings().items():
        texts = getattr(options, name)
        if not texts:
            flag = name.replace("_", "-")
            raise UserError(f"--{flag} has no value: give one or more, such as true and false where it is a switch")
        if texts != _UNASKED:
            axes.append(Axis(name, tuple(axis_value(name, setting, text, places) for text in dict.fromkeys(texts))))
    return axes


def axis_value(name: str, setting: list[tuple[str, str]], text: str, places: Places) -> Value:
    """A value of an axis from a text; UserError where it suits none of the options that the axis sets."""
    options: dict[str, dict[str, Any]] = {}
    for stage, option_name in setting:
        option = option_of(stage, option_name)
        assert option is not None
        options[stage] = {option_name: taken(option, _read(option, text), f"--{name.replace('_', '-')}", places)}
    return Value(text, options)


def _read(option: Option, text: str) -> Any:
    """What a text stands for, as far as the option takes it: itself, a number, true or false, none, or several with `+`."""
    for candidate in (text, _plain(text), [_plain(part) for part in text.split("+")]):
        try:
            option.taken(candidate)
        except ValueError:
            continue
        return candidate
    return text


def _plain(text: str) -> Any:
    return None if text == "none" else read_plain(text)
