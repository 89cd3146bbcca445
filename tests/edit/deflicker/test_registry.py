"""The ways of deflickering by their names, and the options that each takes."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from atlas.errors import UserError
from edit.deflicker.options import DeflickerOptions
from edit.deflicker.protocol import Deflicker
from edit.deflicker.registry import WAYS, Registered, registered

ROOT = Path(__file__).resolve().parents[3]


def _options(way: str, **given: Any) -> DeflickerOptions:
    return DeflickerOptions(clip=Path("clip"), edit="oil", way=way, **given)


@pytest.mark.parametrize("name", WAYS)
def test_every_way_is_made_from_options_and_says_what_decides_its_result(name: str) -> None:
    way = _options(name).chosen()
    assert isinstance(way, WAYS[name].load()) and isinstance(way, Deflicker)
    assert way.meaning == WAYS[name].meaning
    json.dumps(way.identity())


@pytest.mark.parametrize("name", WAYS)
def test_its_own_options_change_it(name: str) -> None:
    given: dict[str, Any] = {"window": 7, "form": "replace", "robust": True, "trust": "off", "gain": "off", "mode": "fast"}
    given |= {"start": "flow", "epochs": 3, "detail": "prior", "irt": True, "seed": 11}
    for option in WAYS[name].options:
        assert _options(name, **{option: given[option]}).chosen() != _options(name).chosen(), option


def test_every_option_is_shared_or_belongs_to_a_way() -> None:
    known = {field.name for field in fields(DeflickerOptions)}
    shared = {"quiet", "wait", "clip", "edit", "way", "name", "fit", "device"}
    assert known - shared == {option for way in WAYS.values() for option in way.options}


@pytest.mark.parametrize(
    ("way", "given", "said"),
    [
        ("dream", {}, "there is no way 'dream' of deflickering: --with is one of atlas, patches, prior, flow"),
        ("atlas", {"epochs": 3}, "--epochs is for --with prior, not --with atlas: leave one of them out"),
        ("prior", {"window": 3}, "--window is for --with atlas or patches or flow, not --with prior"),
        ("flow", {"robust": True}, "--robust is for --with atlas, not --with flow"),
        ("flow", {"window": 0}, "--window 0 is out of range: choose a whole number from 1 to 1000000"),
        ("patches", {"seed": -1}, "--seed -1 is out of range"),
        ("prior", {"seed": 2**63}, f"--seed {2**63} is out of range"),  # more than torch takes
        ("prior", {"epochs": 10**20}, f"--epochs {10**20} is out of range"),
        ("flow", {"fit": ""}, "'' cannot name a folder of this fit"),  # not the edit's own
    ],
)
def test_wrong_options_are_named(way: str, given: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as problem:
        _options(way, **given).chosen()
    assert str(problem.value).startswith(said) and "\n" not in str(problem.value)


def test_the_default_name_is_that_of_edit_and_way() -> None:
    assert _options("atlas").new_name == "oil-atlas"
    assert replace(_options("flow"), name="calm").new_name == "calm"


def test_what_is_no_way_of_deflickering_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WAYS, "clip", Registered("no way", "atlas.clip.clip:Clip", ()))
    with pytest.raises(TypeError, match="is no subclass"):
        registered("clip").load()


def test_options_load_no_torch() -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import edit.deflicker.options; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
