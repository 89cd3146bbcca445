"""What every command shares: exit statuses and one-line errors."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
import tyro
from safetensors import SafetensorError

from atlas.errors import BusyError, UserError
from atlas.system.command import CommonOptions, parse_options, run_command
from atlas.system.progress import Progress


@dataclass(kw_only=True)
class ToyOptions(CommonOptions):
    """A command for the tests."""

    source: tyro.conf.Positional[Path]
    """Where from."""
    number: int = 3
    """How many."""
    share: float | None = None
    """How much of it."""
    way: Literal["left", "right"] = "left"
    """Where to."""


def run(stage, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["toy.py", *arguments])
    with pytest.raises(SystemExit) as stop:
        run_command(ToyOptions, stage)
    return stop.value.code


def raising(problem: BaseException):
    def stage(options: ToyOptions) -> None:
        raise problem

    return stage


def test_results_go_to_standard_output(monkeypatch, capsys) -> None:
    assert run(lambda o: f"{o.source} {o.number} {o.quiet}", monkeypatch, "a b.mp4", "--number", "5", "--quiet") == 0
    assert capsys.readouterr().out == "a b.mp4 5 True\n"
    assert run(lambda o: {"psnr": 30.5}, monkeypatch, "x") == 0
    assert capsys.readouterr().out == '{\n  "psnr": 30.5\n}\n'
    assert run(lambda o: None, monkeypatch, "x") == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("problem", [UserError("a.mp4 is damaged"), OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_an_error_stands_on_the_last_line_of_its_own_below_progress_bars(problem: BaseException, monkeypatch, capsys) -> None:
    def stage(options: ToyOptions) -> None:
        frames = iter(Progress(range(3), desc="work", unit="frame", quiet=False))
        for _ in frames:
            raise problem

    assert run(stage, monkeypatch, "x") in (2, 130)
    bar, said = capsys.readouterr().err.splitlines()[-2:]
    assert "work" in bar and said.startswith(("error: a.mp4", "error: no space", "interrupted"))


def test_a_user_error_is_one_line_and_status_two(monkeypatch, capsys) -> None:
    assert run(raising(UserError("a.mp4 is no video:\n convert it")), monkeypatch, "x") == 2
    assert capsys.readouterr() == ("", "error: a.mp4 is no video: convert it\n")


def test_somebody_at_work_is_one_line_and_status_three(monkeypatch, capsys) -> None:
    assert run(raising(BusyError("clip: edit.py (process 7 on a, since 12:00)\nis at work there")), monkeypatch, "x") == 3
    assert capsys.readouterr() == ("", "busy: clip: edit.py (process 7 on a, since 12:00) is at work there\n")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "Missing from toy.py: PATH Where from. (required): see --help"),
        (["x", "--number", "many"], "--number many: give a whole number"),
        (["x", "--number", "1.5"], "--number 1.5: give a whole number"),
        (["x", "--number"], "Missing value for argument '--number'. Expected 1 values: see --help"),
        (["x", "--share", "a half"], "--share a half: give a number"),
        (["x", "--way", "up"], "invalid choice 'up' for argument '--way'. Expected one of ('left', 'right'): see --help"),
        (["x", "--nummer", "1"], "Unrecognized options: --nummer, 1: perhaps you meant --number; see --help"),
        (["x", "--surprise", "1"], "Unrecognized options: --surprise, 1: see --help"),
        (["x", "y"], "Unrecognized options: y: see --help"),
    ],
)
@pytest.mark.parametrize("columns", ["40", "200"])
def test_a_wrong_command_line_is_one_line(monkeypatch, capsys, arguments: list[str], line: str, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert run(lambda o: None, monkeypatch, *arguments) == 2
    assert capsys.readouterr() == ("", f"error: {line}\n")


def test_help_is_no_error(monkeypatch, capsys) -> None:
    assert run(lambda o: None, monkeypatch, "--help") == 0
    out = capsys.readouterr().out
    assert "How many." in out and "Show no progress." in out


def test_interrupted(monkeypatch, capsys) -> None:
    assert run(raising(KeyboardInterrupt()), monkeypatch, "x") == 130
    assert "run the same command again" in capsys.readouterr().err


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT, errno.EEXIST])
def test_the_disk_is_the_users_to_mend(monkeypatch, capsys, number: int) -> None:
    assert run(raising(OSError(number, "x", "out/file.png")), monkeypatch, "x") == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1 and "out/file.png" in err


@pytest.mark.parametrize("kind", [RuntimeError, SafetensorError])
def test_a_full_disk_told_as_text(monkeypatch, capsys, kind: type[Exception]) -> None:
    assert run(raising(kind("write failed: No space left on device (os error 28)")), monkeypatch, "x") == 2
    assert "no space left" in capsys.readouterr().err


@pytest.mark.parametrize("problem", [RuntimeError("a bug"), OSError(errno.EBADF, "a bug"), ZeroDivisionError()])
def test_bugs_keep_their_traceback(monkeypatch, problem: Exception) -> None:
    monkeypatch.setattr("sys.argv", ["toy.py", "x"])
    with pytest.raises(type(problem)):
        run_command(ToyOptions, raising(problem))


def test_a_reader_that_went_away(monkeypatch) -> None:
    class Closed:
        def close(self) -> None: ...

    monkeypatch.setattr("sys.stderr", Closed())  # run_command closes it: not pytest's own
    assert run(raising(BrokenPipeError()), monkeypatch, "x") == 0


def test_options_have_defaults() -> None:
    options = parse_options(ToyOptions, ["in"])
    assert options == ToyOptions(source=Path("in"), number=3, quiet=False)
