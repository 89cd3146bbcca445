"""The page on methods says of each preset what it is, and what it shows on the command line can be asked for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from atlas.system.command import parse_options
from edit.editors import EditOptions
from edit.recipes.options import resolved
from edit.recipes.presets import PRESETS
from edit.recipes.recipe import Sample

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "methods.md").read_text(encoding="utf-8")
ASKED = sorted({asked.replace("\n", " ") for asked in re.findall(r"`(--recipe \S+ --[^`]+)`", PAGE)})
BY_ANOTHER = {"diffsynth-released": "diffsynth"}  # rows that begin as another's


def row(name: str) -> str:
    (line,) = [line for line in PAGE.splitlines() if line.startswith("|") and f"`{name}`" in line.split("|")[1]]
    return line


@pytest.mark.parametrize("name", PRESETS)
def test_each_preset_has_a_row_with_every_number_that_is_not_usual(name: str) -> None:
    line = row(name) + (row(BY_ANOTHER[name]) if name in BY_ANOTHER else "")
    for sample in (stage for stage in PRESETS[name].stages if isinstance(stage, Sample)):
        usual = Sample()
        for value, normal, text in (
            (sample.steps, usual.steps, f"{sample.steps} steps"),
            (sample.guidance, usual.guidance, f"guidance {sample.guidance:g}"),
            (sample.strength, usual.strength, f"strength {sample.strength:g}"),
        ):
            assert value == normal or text in line, text
        if sample.window and "as `co-denoise`" not in line:
            assert f"windows of {sample.window}" in line


@pytest.mark.parametrize("asked", ASKED)
def test_what_the_page_shows_beside_a_recipe_replaces_a_choice(asked: str) -> None:
    given = ["clips/car", "--name", "a", "--layer", "all", "--editor", "diffusion", "--prompt", "a cat", "--on", "frames"]
    options = parse_options(EditOptions, [*given, *asked.split()])
    recipe = resolved(options, strength=options.strength, steps=options.steps, guidance=options.guidance)
    assert recipe.stages != PRESETS[recipe.name].stages


def test_the_page_shows_some() -> None:
    assert len(ASKED) >= 3
