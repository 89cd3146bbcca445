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
    assert script.commands([]) == [["pytest", "-q"]]
    assert script.commands(["--quick", "tests/edit"]) == [["pytest", "-q", "-m", "not slow", "tests/edit"]]
    *checks, tests = script.commands(["-k", "maps", "--checks"])
    assert [check[0] for check in checks] == ["ruff", "ruff", "mypy"] and tests == ["pytest", "-q", "-k", "maps"]


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
