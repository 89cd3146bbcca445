"""Progress: a bar for people, lines of JSON for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from atlas.system.progress import PROGRESS_FILE, Bar, Progress


@pytest.fixture
def lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that bars write their lines to."""
    path = tmp_path / "progress.jsonl"
    monkeypatch.setenv(PROGRESS_FILE, str(path))
    monkeypatch.setattr("sys.argv", ["scripts/fit.py"])
    return path


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("quiet", [False, True])
def test_lines_tell_where_an_iteration_stands(lines: Path, quiet: bool) -> None:
    assert list(Progress("abc", "read", unit="frame", quiet=quiet)) == ["a", "b", "c"]
    first, *_, last = read(lines)
    assert first.pop("time") <= last.pop("time")
    assert first == {"stage": "fit", "unit": "frame", "name": "read", "done": 0, "total": 3, "note": ""}
    assert last == {"stage": "fit", "unit": "frame", "name": "read", "done": 3, "total": 3, "note": ""}


def test_an_item_counts_once_the_work_on_it_is_done(lines: Path) -> None:
    bar = Progress((n for n in range(3)), "read", 3, unit="frame", quiet=True)
    assert [bar.n for _ in bar] == [0, 1, 2]
    assert bar.n == 3


def test_an_iteration_left_early_says_how_far_it_came(lines: Path) -> None:
    with pytest.raises(ValueError, match="damaged"):
        for item in Progress(range(5), "read", unit="frame", quiet=True):
            if item == 2:
                raise ValueError("damaged")
    assert read(lines)[-1]["done"] == 2


def test_many_steps_write_few_lines(lines: Path) -> None:
    for _ in Progress(range(5000), "fit", unit="step", quiet=True):
        pass
    assert len(read(lines)) < 100
    assert read(lines)[-1]["done"] == 5000


def test_a_bar_moved_by_hand_tells_its_plan_name_and_note(lines: Path) -> None:
    with Bar("fit", 4, unit="unit", quiet=True, initial=1) as bar:
        bar.plan(6)
        bar.rename("fit (maps)")
        bar.note("30.12 dB")
        bar.update(2)
    last = read(lines)[-1]
    assert (last["name"], last["done"], last["total"], last["note"]) == ("fit (maps)", 3, 6, "30.12 dB")


def test_a_bar_that_restarts_counts_from_zero(lines: Path) -> None:
    with Bar("edit", 4, unit="step", quiet=True) as bar:
        bar.update(4)
        bar.restart()
        bar.update()
    assert read(lines)[-1]["done"] == 1


def test_the_bar_is_shown_on_standard_error_unless_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    list(Progress(range(2), "shown", unit="frame", quiet=False))
    list(Progress(range(2), "hidden", unit="frame", quiet=True))
    out, err = capsys.readouterr()
    assert out == ""
    assert "shown: 100%" in err and "2/2" in err
    assert "hidden" not in err


def test_a_file_that_cannot_be_written_stops_no_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PROGRESS_FILE, str(tmp_path / "missing" / "progress.jsonl"))
    assert sum(Progress(range(4), "read", unit="frame", quiet=True)) == 6
