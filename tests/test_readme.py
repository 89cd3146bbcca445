"""README and docs: what they name is there, and the Python in them runs as it stands, on a clip of the tests' own."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from atlas.clip.clip import Clip
from atlas.fitting.stage import FitOptions, fit

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def folder(sample_clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the pages call car.mp4 and clips/car: the sample's first six frames."""
    folder = tmp_path_factory.mktemp("readme")
    for part, source in (("car.mp4", sample_clip.folder / "frames"), ("masks", sample_clip.folder / "masks" / "foreground")):
        (folder / part).mkdir()
        for number in range(6):
            (folder / part / f"{number:05d}.png").write_bytes((source / f"{number:05d}.png").read_bytes())
    return folder


@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_the_python_runs(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (text,) = PYTHON.findall((ROOT / page).read_text(encoding="utf-8"))
    assert 'masks="box:120,80,400,220"' in text, "the box is of another film than the tests'"
    monkeypatch.chdir(folder)
    names: dict[str, object] = {}
    exec(text.replace("box:120,80,400,220", "masks"), names)
    assert "edits" in capsys.readouterr().out
    assert os.path.isfile("clips/car/fits/default/maps/maps.json")
    assert "up to date" in fit(FitOptions(clip=Path("clips/car"), preset="preview", quiet=True)), "the command goes on with it"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_names_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    files = re.findall(r"`((?:atlas|edit|aggregate|scripts|tests|docs)/[\w/.]+\.(?:py|md|jpg))`", text)
    scripts = re.findall(r"(?:python3? |`)(scripts/\w+\.py)", text)
    missing = [link for link in links if not (page.parent / link).exists()]
    missing += [name for name in [*files, *scripts] if not (ROOT / name).exists()]
    assert not missing


def test_the_first_screen() -> None:
    """What it is, the picture, the two commands and one edit of one's own clip stand in the first 25 lines."""
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    first = "\n".join(lines[:25])
    for needed in ("docs/result.jpg", "scripts/demo.py", "scripts/test.py", "scripts/run.py car.mp4"):
        assert needed in first
    assert max(map(len, lines)) <= 140 and len(lines) < 60
