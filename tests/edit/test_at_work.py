"""Which stages exclude each other on one clip: those alone of which one writes what the other reads or writes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from aggregate.stage import AggregateOptions, aggregate
from atlas.clip.at_work import at_work, making_clip
from atlas.clip.clip import Clip
from atlas.errors import BusyError, UserError
from atlas.evaluation.report import printed
from atlas.evaluation.stage import EvaluateOptions
from atlas.fitting.stage import FitOptions, fit
from atlas.rendering.stage import RenderOptions, render
from atlas.storage.lease import lease as leases
from atlas.storage.lease.owner import machine
from edit.deflicker.options import DeflickerOptions
from edit.deflicker.stage import deflicker
from edit.editors import EditOptions
from edit.stage import edit


def _edit(clip: Path, name: str) -> object:
    given = {"editor": "filter", "filter": "invert", "keyframes": "0,6", "fit": "truth", "layer": "foreground"}
    return edit(EditOptions(clip=clip, name=name, quiet=True, **given))


STAGES: dict[str, Callable[[Path], object]] = {
    "fit": lambda clip: fit(FitOptions(clip=clip, name="truth", quiet=True, device="cpu", iterations=0)),
    "edit red": lambda clip: _edit(clip, "red"),
    "edit blue": lambda clip: _edit(clip, "blue"),
    "aggregate": lambda clip: aggregate(AggregateOptions(clip=clip, edit="red", method="mean", quiet=True, device="cpu")),
    "render": lambda clip: render(RenderOptions(clip=clip, edit="red", quiet=True, device="cpu")),
    "evaluate": lambda clip: printed(EvaluateOptions(clip=clip, edit="red", quiet=True, device="cpu")),
    "deflicker": lambda clip: deflicker(DeflickerOptions(clip=clip, edit="red", way="atlas", quiet=True, device="cpu")),
}


@pytest.fixture
def clip(fresh_clip: Clip, monkeypatch: pytest.MonkeyPatch) -> Path:
    _edit(fresh_clip.folder, "red")
    monkeypatch.setattr(leases, "_PATIENCE", 0.0)
    return fresh_clip.folder


def _outcome(stage: Callable[[Path], object], clip: Path) -> type[BaseException] | None:
    """What a stage ends with in another thread, as in another process."""
    found: list[type[BaseException] | None] = []

    def run() -> None:
        try:
            stage(clip)
            found.append(None)
        except (BusyError, UserError) as problem:
            found.append(type(problem))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.parametrize(
    ("held", "busy", "free"),
    [
        ("clip", STAGES.keys(), set()),
        ("fits/truth", STAGES.keys(), set()),
        ("edits/red", {"edit red", "aggregate", "render", "evaluate", "deflicker"}, {"edit blue"}),
        ("edits/blue", {"edit blue"}, {"edit red", "render"}),
    ],
)
def test_who_is_kept_out(clip: Path, held: str, busy: set[str], free: set[str]) -> None:
    with making_clip(clip) if held == "clip" else at_work(clip, writes=[clip / held]):
        outcomes = {name: _outcome(STAGES[name], clip) for name in [*busy, *free]}
    assert {name for name, outcome in outcomes.items() if outcome is BusyError} == set(busy)
    assert not [path for path in clip.rglob(".*lease*")]


def test_readers_go_on_beside_each_other(clip: Path) -> None:
    with at_work(clip, reads=[clip / "fits" / "truth", clip / "edits" / "red"]):
        assert _outcome(STAGES["edit blue"], clip) is None
        assert _outcome(STAGES["edit red"], clip) is BusyError
        assert _outcome(STAGES["fit"], clip) is BusyError


def test_what_a_killed_reader_left_half_made_goes(fresh_clip: Clip) -> None:
    """Evaluating draws a picture in the folder of the fit, which it only reads."""
    fit = fresh_clip.fit_folder("truth")
    left, ours = (fit / f".quality-making-{machine()}-{process}-x.png" for process in (2**30, os.getppid()))
    left.touch(), ours.touch()
    with at_work(fresh_clip.folder, reads=[fit]):
        assert not left.exists() and ours.exists()
