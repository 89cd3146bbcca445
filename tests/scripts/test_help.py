"""Every command of a stage explains itself, and what it imports is there."""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edit.editors.filters import FILTERS

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


@pytest.mark.parametrize(
    "modules",
    [
        "edit.editors, edit.questions",
        "atlas.preparation.stage",
        "atlas.options.fit",
        "atlas.options.render",
        "atlas.options.aggregate",
        "atlas.options.evaluate",
        "atlas.options.export",
        "scripts.batches.batch",
        "scripts.sweeps.sweep",
    ],
)
def test_options_that_need_no_torch_load_none(modules: str) -> None:
    """What these commands load before they have something to do: torch would take several times as long as the rest."""
    root = str(SCRIPTS.parent)
    code = f"import sys; sys.path.insert(0, {root!r}); import {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(
    ("name", "arguments"), [("edit", ["--filter", "help"]), ("run", ["a.mp4", "clip", "--editor", "filter", "--filter=help"])]
)
def test_the_list_of_filters_is_an_answer_and_no_error(
    name: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="__main__")
    out, err = capsys.readouterr()
    assert stop.value.code == 0 and err == ""
    assert [line.partition(":")[0] for line in out.splitlines()] == list(FILTERS)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signal for one process alone")
@pytest.mark.parametrize("name", STAGES)
def test_ctrl_c_while_it_is_loading_is_one_line(name: str, tmp_path: Path) -> None:
    """What every script imports, slow to load: a module of that name that says so and waits."""
    # In naps: a signal that comes just before a long sleep begins would wait for its end.
    (tmp_path / "tyro.py").write_text("import time\nprint('loading', flush=True)\nfor _ in range(600):\n time.sleep(0.1)\n")
    start = "import runpy, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "  # pytest's may be another
    start += f"runpy.run_path({str(SCRIPTS / f'{name}.py')!r}, run_name='__main__')"
    process = subprocess.Popen(
        [sys.executable, "-c", start],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "loading\n"
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=30)[1]
    assert (process.returncode, said) == (130, "interrupted: run the same command again to go on\n")


def _started(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """demo.py or test.py with arguments; where it would go on to make an environment, it ends with status 77 instead."""
    start = f"""
import runpy, sys
sys.path.insert(0, {str(SCRIPTS)!r})
import environment
environment.enter = lambda *extras: sys.exit(77)
sys.argv = {[f"{name}.py", *arguments]!r}
runpy.run_path({str(SCRIPTS / f"{name}.py")!r}, run_name="__main__")
"""
    return subprocess.run([sys.executable, "-c", start], capture_output=True, text=True)


@pytest.mark.parametrize("name", ["demo", "test"])
def test_help_installs_nothing(name: str) -> None:
    done = _started(name, "--help")
    assert done.returncode == 0
    assert "virtual environment" in done.stdout


def test_the_demo_refuses_what_it_does_not_understand() -> None:
    done = _started("demo", "--frames", "3")
    assert done.returncode == 2
    assert done.stderr.startswith("error: --frames") and done.stderr.count("\n") == 1


def test_arguments_of_the_tests_go_on_to_pytest() -> None:
    assert _started("test", "-k", "files").returncode == 77
