"""A pair of commands at once, and two that are killed; `scripts/bench_together.py` runs many."""

from __future__ import annotations

from pathlib import Path

import pytest

from atlas.errors import UserError
from scripts.benchmarks.together import TogetherOptions, differing, held, together


@pytest.mark.slow
def test_pairs_and_kills() -> None:
    report = together(TogetherOptions(pairs=1, kills=2, only=("edit another layer",), quiet=True))
    assert len(report.lines) == 3 and not report.problems, str(report)


def test_a_command_that_is_unknown() -> None:
    with pytest.raises(UserError, match="none of the commands"):
        together(TogetherOptions(only=("paint",)))


def test_what_is_lost_is_seen(tmp_path: Path) -> None:
    (tmp_path / "edit.json").write_text('{"layers": {"a": 1, "b": 2}}')
    (tmp_path / "00000.png").write_bytes(b"1")
    before = held(tmp_path)
    (tmp_path / "edit.json").write_text('{"layers": {"b": 2, "a": 1}}')
    assert not differing(held(tmp_path), before)
    (tmp_path / "edit.json").write_text('{"layers": {"b": 2}}')
    (tmp_path / "00000.png").unlink()
    assert differing(held(tmp_path), before) == ["00000.png", "edit.json"]
