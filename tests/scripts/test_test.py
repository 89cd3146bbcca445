"""scripts/test.py: what its options run, what --quick leaves out, and that what fails ends it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import SLOW

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """scripts/test.py as a module; it finds its neighbours in its own folder."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    from scripts import test

    return test


def test_options_come_before_what_goes_to_pytest(script: ModuleType) -> None:
    assert script.commands([], 1) == [["pytest", "-q"]]
    assert script.commands(["--quick", "tests/edit"], 1) == [["pytest", "-q", "-m", "not slow", "tests/edit"]]
    *checks, tests = script.commands(["-k", "maps", "--checks"], 1)
    assert [check[0] for check in checks] == ["ruff", "ruff", "mypy"] and tests == ["pytest", "-q", "-k", "maps"]


@pytest.mark.parametrize("arguments", [[], ["tests/edit", "tests/atlas/maps", "-x"], ["--durations=5"]])
def test_folders_are_shared_among_workers(script: ModuleType, arguments: list[str]) -> None:
    for cores, workers in ((1, []), (2, ["-n", "2"]), (64, ["-n", "4"])):
        [[_, _, *rest]] = script.commands(arguments, cores)
        assert rest == [*workers, *(["--dist", "worksteal"] if workers else []), *arguments]


@pytest.mark.parametrize(
    "arguments", [["tests/test_imports.py"], ["a.py::test_x"], ["no-such"], ["-k", "maps"], ["--pdb"], ["-s"]]
)
def test_what_is_few_or_watched_runs_in_one_process(script: ModuleType, arguments: list[str]) -> None:
    assert script.commands(arguments, 8) == [["pytest", "-q", *arguments]]


def test_a_failure_in_a_worker_can_be_read(script: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text("def test_one():\n    assert 6 * 7 == 41, 'six times seven'\n")
    [[_, *arguments]] = script.commands([str(tmp_path)], 2)
    command = [sys.executable, "-m", "pytest", *arguments, "-c", str(ROOT / "setup.cfg")]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 1 and "AssertionError: six times seven" in ended.stdout, ended
    assert "1 failed" in ended.stdout


def test_what_fails_ends_it(script: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(script, "CHECKS", (("ruff", "check", "no-such-folder"),))
    assert script.run(["--checks", "no-such-test"]) == 1
    assert "no-such-folder" in "".join(capfd.readouterr())
    assert script.run(["no-such-test"]) == 4, "pytest's status for a path that is not there"


def test_what_quick_leaves_out() -> None:
    folders = ["tests/atlas/fitting", "tests/edit/diffusion"]
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-m", "not slow", *folders]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "fitting/test_tracking.py" in listed and "diffusion/test_crop.py" in listed
    assert "fitting/test_stage.py" not in listed and "test_weights.py::test_a_single_file" not in listed


@pytest.mark.parametrize("name", SLOW)
def test_slow_modules_are_there(name: str) -> None:
    assert (ROOT / "tests" / name).exists(), f"tests/{name} was moved or renamed: correct SLOW in tests/conftest.py"
