"""Deflickering through the atlas: the way with its settings. What agreement does is tested in tests/atlas/maps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.maps.consensus import ConsensusSettings, through_atlas
from atlas.maps.maps import Maps, open_maps
from atlas.storage.images import to_float
from atlas.storage.stack import FrameStack
from edit.deflicker.atlas import AtlasDeflicker
from edit.deflicker.options import DeflickerOptions
from edit.deflicker.protocol import Guides


@pytest.fixture
def flicker(sample_clip: Clip, tmp_path: Path) -> FrameStack:
    stack = FrameStack(tmp_path / "given", (sample_clip.frames, sample_clip.height, sample_clip.width, 3))
    for index in range(len(stack)):
        stack[index] = to_float(sample_clip.frame(index)) * (0.9 if index % 2 else 1.0)
    return stack


@pytest.fixture
def guides(sample_clip: Clip) -> Guides:
    return Guides(lambda index: to_float(sample_clip.frame(index)), open_maps(sample_clip, "truth"))


@pytest.fixture
def deflickered(flicker: FrameStack, tmp_path: Path) -> Callable[..., np.ndarray]:
    def run(way: AtlasDeflicker, guides: Guides) -> np.ndarray:
        result = FrameStack(tmp_path / "result", flicker.shape)
        way.agree(flicker, guides, result)
        return np.stack(list(result))

    return run


def test_it_is_agreement_through_the_atlas(
    flicker: FrameStack, guides: Guides, deflickered: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    assert isinstance(guides.maps, Maps)
    for settings in ({}, {"form": "replace"}, {"robust": True, "window": 2}, {"gain": True}):
        expected = FrameStack(tmp_path / "expected", flicker.shape)
        through_atlas(flicker, guides.maps, guides.maps.layers, expected, ConsensusSettings(**settings))
        result = deflickered(AtlasDeflicker(trust=False, **settings), guides)
        assert np.array_equal(result, np.stack(list(expected))), settings
        assert result.mean((1, 2, 3)).std() < np.stack(list(flicker)).mean((1, 2, 3)).std()


def test_what_averaging_would_change_in_the_source_stays(
    flicker: FrameStack, guides: Guides, deflickered: Callable[..., np.ndarray]
) -> None:
    foreign = Guides(lambda index: np.full(flicker.shape[1:], index % 2, np.float32), guides.maps)
    changed = [np.abs(deflickered(AtlasDeflicker(trust=on), foreign) - np.stack(list(flicker))).mean() for on in (True, False)]
    assert changed[0] < 0.2 * changed[1]


def test_only_the_layers_that_were_edited_agree(
    flicker: FrameStack, guides: Guides, deflickered: Callable[..., np.ndarray]
) -> None:
    assert guides.maps is not None
    result = deflickered(AtlasDeflicker(), Guides(guides.source, guides.maps, ("foreground",)))
    background = guides.maps.opacity("foreground", 1) == 0
    assert np.array_equal(result[1][background], flicker[1][background])
    assert not np.array_equal(result[1], flicker[1])


def test_without_a_fit_it_says_so(flicker: FrameStack, guides: Guides, deflickered: Callable[..., np.ndarray]) -> None:
    with pytest.raises(UserError, match="needs a fit: run scripts/fit.py"):
        deflickered(AtlasDeflicker(), Guides(guides.source))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, AtlasDeflicker(gain=True)),
        ({"form": "replace", "window": 3}, AtlasDeflicker(form="replace", window=3, gain=True)),
        ({"trust": "off", "gain": "off", "robust": True}, AtlasDeflicker(robust=True, trust=False)),
    ],
)
def test_it_is_made_from_the_commands_options(given: dict[str, Any], expected: AtlasDeflicker) -> None:
    made = DeflickerOptions(clip=Path("clip"), edit="oil", way="atlas", **given).chosen()
    assert made == expected and made.identity() == expected.identity()


def test_each_setting_counts() -> None:
    settings: list[dict[str, Any]] = [
        {},
        {"form": "replace"},
        {"robust": True},
        {"window": 1},
        {"trust": False},
        {"gain": True},
    ]
    assert len({str(AtlasDeflicker(**one).identity()) for one in settings}) == len(settings)
