"""Sixty keyframes take no more memory than twelve."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from atlas.sample.files import write_clip, write_truth_fit
from atlas.sample.scene import make_sample
from edit.editors import EditOptions
from edit.stage import edit

ROOT = Path(__file__).resolve().parents[2]
MARGIN = 40.0
"""MB. A partial atlas of this clip is 11 MB with all that belongs to it."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of 60 frames of 240x136 with the edits `few` of 12 keyframes and `many` of all frames."""
    sample = make_sample(frames=60, height=136, width=240, objects=1, seed=0)
    clip = write_clip(sample, tmp_path_factory.mktemp("memory") / "clip")
    write_truth_fit(sample, clip, "truth")
    for name, chosen in (("few", {"keyframes": ",".join(map(str, range(0, 60, 5)))}), ("many", {"on": "frames"})):
        given = {"layer": "background", "fit": "truth", "editor": "filter", "filter": "recolour:color=red", "quiet": True}
        edit(EditOptions(clip=clip.folder, name=name, **(given | chosen)))  # type: ignore[arg-type]
    return clip.folder


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is in other units elsewhere")
@pytest.mark.parametrize("method", ["network", "mean", "median"])
def test_the_peak_does_not_grow_with_keyframes(folder: Path, method: str) -> None:
    peaks = []
    for name in ("few", "many"):
        command = [sys.executable, "-m", "tests.aggregate.memory_of_merging", str(folder), name, method]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        peaks.append(float(done.stdout))
    assert peaks[1] < peaks[0] + MARGIN, peaks
