"""The app over a folder that holds the sample clip, and what must not be reached from there."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from atlas.clip.clip import Clip

sys.path.insert(0, str(Path(__file__).parent))  # served.py, which the tests of this folder share
pytest.importorskip("gradio", reason="the app's packages are not installed: pip install -e .[ui]")

from served import Served, serving


@pytest.fixture(scope="module")
def root(sample_clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with the clip `swan`, and beside it a secret, to which links lead."""
    top = tmp_path_factory.mktemp("app")
    (top / "secret.txt").write_text("secret")
    (top / "outside").mkdir()
    (top / "outside" / "secret.png").write_bytes((sample_clip.folder / "frames" / "00000.png").read_bytes())
    root = top / "root"
    root.mkdir()
    shutil.copytree(sample_clip.folder, root / "swan")
    (root / "link.txt").symlink_to(top / "secret.txt")
    (root / "linked").symlink_to(top / "outside")
    (root / ".hidden").write_text("secret")
    (root / "page.html").write_text("<script>alert(1)</script>")
    if hasattr(os, "mkfifo"):
        os.mkfifo(root / "pipe")
    return root


@pytest.fixture(scope="module")
def app(root: Path) -> Iterator[Served]:
    """The app over `root`, for tests that leave it as it is."""
    with serving(root) as served:
        yield served
