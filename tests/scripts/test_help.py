"""Every command of a stage explains itself, and what it imports is there."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
STAGES = sorted(path.stem for path in SCRIPTS.glob("*.py") if path.stem not in ("environment", "demo", "test"))


@pytest.mark.parametrize("name", STAGES)
def test_help(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="__main__")
    assert stop.value.code == 0
    assert "--quiet" in capsys.readouterr().out
