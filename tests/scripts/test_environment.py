"""The environment that demo and tests set up: decisions and failures (the install itself is what runs these tests)."""

from __future__ import annotations

import ast
import json
import os
import sys
from pathlib import Path

import pytest

from scripts import environment

SCRIPTS = Path(environment.__file__).parent


@pytest.mark.parametrize("name", ["environment.py", "demo.py", "test.py"])
def test_needs_the_standard_library_alone(name: str) -> None:
    tree = ast.parse((SCRIPTS / name).read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    assert {module.split(".")[0] for module in imported} <= sys.stdlib_module_names | {"environment"}


def test_an_old_python_is_told_so() -> None:
    environment.check_version((3, 10))
    environment.check_version((3, 14))
    with pytest.raises(environment.SetupError, match=r"Python 3\.10 or newer is needed, this is 3\.9"):
        environment.check_version((3, 9))


@pytest.mark.parametrize(
    ("platform", "has_gpu", "wanted"),
    [("linux", False, True), ("linux", True, False), ("win32", False, False), ("darwin", False, False)],
)
def test_which_torch(platform: str, has_gpu: bool, wanted: bool) -> None:
    assert environment.wants_cpu_torch(platform, has_gpu) is wanted


def test_the_torch_it_installs_is_one_that_setup_cfg_allows() -> None:
    declared = (environment.ROOT / "setup.cfg").read_text(encoding="utf-8")
    assert environment.ANY_TORCH in declared.split()
    version = environment.CPU_TORCH.split("==")[1].split("+")[0]
    low, high = environment.ANY_TORCH.removeprefix("torch>=").split(",<")
    number = [tuple(map(int, text.split(".")[:2])) for text in (low, version, high)]
    assert number[0] <= number[1] < number[2]


def test_a_stamp_counts_for_the_same_requirements_only(tmp_path: Path) -> None:
    assert environment.installed_extras(tmp_path) is None
    stamp = tmp_path / "layered-atlas.json"
    stamp.write_text(json.dumps({"requirements": environment.requirements_digest(), "extras": ["test"]}))
    assert environment.installed_extras(tmp_path) == {"test"}
    stamp.write_text(json.dumps({"requirements": "of yesterday", "extras": ["test"]}))
    assert environment.installed_extras(tmp_path) is None
    for damaged in ("", "[]", "{}", "\0"):
        stamp.write_text(damaged)
        assert environment.installed_extras(tmp_path) is None


def test_a_broken_environment_does_not_count(tmp_path: Path) -> None:
    assert not environment._works(environment.venv_python(tmp_path))
    python = environment.venv_python(tmp_path)
    python.parent.mkdir()
    python.write_text("cut short")
    assert not environment._works(python)


@pytest.mark.skipif(os.name == "nt", reason="a shell script stands for a Python")
def test_a_python_without_venv_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without = tmp_path / "python"
    without.write_text('#!/bin/sh\necho "No module named venv" >&2\nexit 1\n')
    without.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(without))
    with pytest.raises(environment.SetupError, match="No module named venv.*python3-venv"):
        environment.make_venv(tmp_path / "env")


def test_status_of_children_is_passed_on() -> None:
    assert environment.call([sys.executable, "-c", "raise SystemExit(7)"]) == 7
    assert environment.call([sys.executable, "-c", "import os; assert os.path.exists('setup.cfg')"], environment.ROOT) == 0


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals")
def test_a_killed_child_has_a_status() -> None:
    assert environment.call([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]) == 137


def test_an_address_out_of_reach_is_harmless() -> None:
    assert not environment._reachable("http://127.0.0.1:9/none")
    assert not environment._reachable("no address")
