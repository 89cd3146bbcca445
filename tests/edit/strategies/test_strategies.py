"""What each strategy starts from, and what a strategy has to say of itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from atlas.errors import UserError
from atlas.system.command import parse_options
from edit.diffusion.denoise import Start
from edit.editors import EditOptions
from edit.strategies import STRATEGIES, Registered
from edit.strategies.propagate import known_cells
from edit.strategies.protocol import Propagated, Strategy, View
from edit.strategies.random import Random


def view(index: int = 3, position: int = 1, **changes: Any) -> View:
    coverage = np.zeros((32, 32), np.float32)
    coverage[:, :16] = 1
    known = Propagated(np.full((32, 32, 3), 0.7, np.float32), coverage, np.ones((32, 32), np.float32))
    given: dict[str, Any] = {"seed": 5, "shape": (4, 8, 8), "first_shape": (4, 8, 8), "strength": 0.8, "hold": 0.25}
    given |= {
        "encode": lambda image, generator: torch.full((1, 4, 8, 8), float(image.mean())),
        "previous": lambda: np.full((16, 40, 3), 0.2, np.float32),
        "propagated": lambda: known,
    }
    return View(index=index, position=position, **(given | changes))


def test_the_first_keyframe_is_the_same_under_all() -> None:
    starts = [STRATEGIES[name]().start(view(position=0)) for name in STRATEGIES]
    expected = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    assert all(torch.equal(start.noise, expected) and start.known is None for start in starts)


def test_random_draws_anew_and_fixed_does_not() -> None:
    randoms = [STRATEGIES["random"]().start(view(index)).noise for index in (3, 4, 3)]
    assert not torch.equal(randoms[0], randoms[1]) and torch.equal(randoms[0], randoms[2])
    assert not torch.equal(randoms[0], STRATEGIES["random"]().start(view(3, seed=6)).noise)
    large = STRATEGIES["random"]().start(view(3, seed=2**64 - 1)).noise
    assert not torch.equal(large, STRATEGIES["random"]().start(view(3, seed=2**64 - 2)).noise)
    fixed = STRATEGIES["fixed"]()
    assert torch.equal(fixed.start(view(3)).noise, fixed.start(view(4, position=0)).noise)
    larger = fixed.start(view(3, shape=(4, 8, 12))).noise
    assert torch.equal(larger[..., :8], fixed.start(view(3)).noise) and torch.equal(larger[..., 8:], larger[..., :4])


def test_sequential_starts_from_the_one_before() -> None:
    start = STRATEGIES["sequential"]().start(view())
    assert start.known is not None and start.mask is None and start.strength == 0.8
    assert float(start.known.mean()) == pytest.approx(0.2)


def test_propagate_knows_what_was_seen() -> None:
    start = STRATEGIES["propagate"]().start(view())
    assert start.known is not None and start.mask is not None and (start.strength, start.hold) == (0.8, 0.25)
    assert start.mask[..., :4].all() and not start.mask[..., 4:].any()
    assert float(start.known.mean()) == pytest.approx(0.7)


@pytest.mark.parametrize("name", ["propagate", "sequential"])
def test_at_strength_1_it_is_random(name: str) -> None:
    start = STRATEGIES[name]().start(view(strength=1.0))
    assert start.known is None and torch.equal(start.noise, STRATEGIES["random"]().start(view()).noise)


def test_a_cell_is_known_where_most_of_the_layer_in_it_is() -> None:
    opacity, coverage = np.zeros((8, 16), np.float32), np.zeros((8, 16), np.float32)
    opacity[:, 6:] = 1  # a quarter of the first cell, all of the second
    coverage[:, 6:11] = 1  # all of the layer in the first cell, three eighths of it in the second
    assert known_cells(Propagated(np.zeros((8, 16, 3), np.float32), coverage, opacity), (1, 2)).flatten().tolist() == [
        True,
        False,
    ]


def test_a_strategy_says_what_it_depends_on() -> None:
    with pytest.raises(TypeError, match="the strategy Toy has to say what it depends on: all, last, first, none"):

        class Toy(Strategy):
            def start(self, view: View) -> Start:
                return STRATEGIES["random"]().start(view)

    with pytest.raises(TypeError, match="the strategy Derived has to say what it depends on"):

        class Derived(Random):
            pass

    with pytest.raises(TypeError, match="the strategy Odd has to say what it depends on"):

        class Odd(Strategy):
            depends_on = "some"  # type: ignore[assignment]

            def start(self, view: View) -> Start:
                return STRATEGIES["random"]().start(view)


def test_what_is_registered_is_a_strategy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STRATEGIES, "toy", Registered("for a test", dict))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="dict in STRATEGIES is no subclass of edit.strategies.protocol.Strategy"):
        STRATEGIES["toy"]()


def test_the_command_offers_what_is_registered(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_options(EditOptions, ["--help"])
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert f"--strategy {{None,{','.join(STRATEGIES)}}}" in said
    assert all(f"{name}: {strategy.meaning}" in said for name, strategy in STRATEGIES.items())
    with pytest.raises(UserError, match="--strategy"):
        parse_options(EditOptions, ["clip", "--name", "x", "--layer", "y", "--editor", "diffusion", "--strategy", "none"])
