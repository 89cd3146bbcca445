"""docs/tour.ipynb: its code runs from top to bottom on the sample, ends with the table, and shows what is stored in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOUR = ROOT / "docs" / "tour.ipynb"
pytestmark = pytest.mark.slow


def shown(notebook: Any) -> list[list[str]]:
    """The kinds of output of each cell of code, warnings apart."""

    def kinds(cell: Any) -> set[str]:
        outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        return {kind for output in outputs for kind in output.get("data", {output.output_type: ""})}

    return [sorted(kinds(cell)) for cell in notebook.cells if cell.cell_type == "code"]


def test_the_tour_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed: pip install -e .[test]")
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed: pip install -e .[test]")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    folder = tmp_path / "docs"
    folder.mkdir()
    notebook, stored = nbformat.read(TOUR, 4), nbformat.read(TOUR, 4)
    nbformat.validate(notebook)
    resources = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=resources).execute()

    table = notebook.cells[-2].outputs[-1].data["text/markdown"].splitlines()
    assert [row.split("|")[1].strip() for row in table[2:]] == ["teal", "swapped", "painted"]
    numbers = [[float(cell.strip().rstrip("%")) for cell in row.split("|")[2:-1]] for row in table[2:]]
    assert all(0 < changed <= 100 and 0 < edit < 0.02 and 0 < film < 0.02 for changed, edit, film in numbers)
    assert (tmp_path / "data/tour/clip/edits/painted/video.mp4").is_file()

    assert shown(stored) == shown(notebook)
    assert stored.cells[-2].outputs[-1].data["text/markdown"].splitlines()[:2] == table[:2]


def test_what_is_stored_is_small_and_of_no_machine() -> None:
    text = TOUR.read_text(encoding="utf-8")
    assert len(text) < 400_000
    assert not any(word in text for word in ("/home/", "/Users/", "/tmp/", "site-packages", '"stderr"'))
