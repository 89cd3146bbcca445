"""The environment that demo and tests set up: decisions and failures (the install itself is what runs these tests)."""

from __future__ import annotations

import ast
import configparser
import json
import os
import re
import sys
from pathlib import Path

import pytest

from scripts import environment

SCRIPTS = Path(environment.__file__).parent
MODULES = {"scikit-image": "skimage", "opencv-python-headless": "cv2", "imageio": "PIL", "pyyaml": "yaml"}
"""What is imported of a package that goes by another name; Pillow is what comes with imageio."""


def declared() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(environment.ROOT / "setup.cfg", encoding="utf-8")
    return parser


def packages(text: str) -> list[str]:
    """Names of the packages in a list of requirements, without versions."""
    lines = (line for line in text.splitlines() if line.strip() and not line.startswith("#"))
    return [re.split(r"[<>=!~ ;]", line.strip())[0] for line in lines]


def imported(files: list[Path]) -> set[str]:
    """Names of the top modules that these files import anywhere."""
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("name", ["environment.py", "demo.py", "test.py"])
def test_needs_the_standard_library_alone(name: str) -> None:
    assert imported([SCRIPTS / name]) <= sys.stdlib_module_names | {"environment"}


def test_every_package_that_is_asked_for_is_imported() -> None:
    used = imported(
        [file for part in ("atlas", "edit", "aggregate", "scripts") for file in (environment.ROOT / part).rglob("*.py")]
    )
    for name in packages(declared()["options"]["install_requires"]):
        assert MODULES.get(name, name.replace("-", "_")) in used


def test_the_tests_get_the_packages_of_what_they_test() -> None:
    """Without them the tests of prompts, of the export, of masks and of the app skip, and nobody notices."""
    asked = packages(declared()["options.extras_require"]["test"])
    assert {"layered-atlas[cluster,diffusion,exr,salient,ui]", "playwright"} <= set(asked)


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
