"""Bars of a plan: what a stage tells in its progress file stands on the screen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.plans.bars import Bars
from scripts.plans.engines.protocol import Outputs
from scripts.plans.plan import Task
from scripts.plans.state import State


def test_bars_follow_the_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("scripts.plans.bars._PAUSE", 0.0)
    task, state = Task.of("fit", ["x.py"], tmp_path, "fit swan"), State(tmp_path)
    progress = Outputs.of(tmp_path, task, None).progress
    progress.parent.mkdir()
    with Bars(state, 5, 1, quiet=False) as bars:
        state.started(task)
        bars.started(task)
        (bar,) = (one._bar for one in bars._stages.values())
        seen = []
        for lines in ("", _line("read", 3, 10), _line("read", 5, 10) + _line("steps", 2, None), "[" * 10_000 + '\n{"done": '):
            with progress.open("a") as stream:
                stream.write(lines)
            bars.tick()
            seen.append((bar.name, bar.n, bar.total))
        assert seen == [("fit swan", 0, None), ("fit swan: read", 3, 10), *[("fit swan: steps", 2, None)] * 2]
        state.ended(task, 2, line="why")
        bars.ended(task, is_final=True)
        assert (bars._whole.n, bars._stages) == (2, {})
    assert "2/5" in (shown := capsys.readouterr().err) and "1 failed" in shown


def _line(name: str, done: int, total: int | None) -> str:
    return json.dumps({"stage": "fit", "name": name, "done": done, "total": total}) + "\n"
