"""Marked points in an evaluation: which of a file are the clip's, and where their numbers are shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.evaluation.measures import points_measures
from atlas.evaluation.points import measure_points, points_of
from atlas.evaluation.report import printed
from atlas.evaluation.stage import EvaluateOptions, evaluate
from atlas.evaluation.table import table
from atlas.maps.maps import Maps
from atlas.metrics.mapping import find_places
from atlas.metrics.marked import COLUMNS
from atlas.sample.scene import Sample

HEADER = ",".join(COLUMNS)
POINTS: dict[str, Any] = {
    **{"file": "davis.csv", "d_avg": 80.04, "points": 7, "median": 1.5, "worst": 6.72, "row": 130, "layer": "car"},
    **{"frame_a": 0, "frame_b": 39, "left_out": 2},
    "layers": {"car": {"d_avg": 80.04, "points": 7, "median": 1.5, "worst": 6.72}},
}


def write(folder: Path, *rows: str) -> Path:
    path = folder / "points.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return path


def true_row(clip: Clip, x: int, y: int, frames: tuple[int, int], slide: float = 0.0) -> str:
    """A row for the middle of a pixel of the object, marked `slide` pixels right of where it truly goes."""
    truth = Maps(clip.fit_folder("truth"))
    place = find_places(truth, "foreground", frames[1], truth.uv("foreground", frames[0])[y, x][None])[0]
    ends = [frames[0], x + 0.5, y + 0.5, frames[1], place[0] + 0.5 + slide, place[1] + 0.5]
    return ",".join(map(str, (clip.name, clip.width, clip.height, *ends)))


def test_the_clip_goes_by_the_name_of_its_source_as_well(sample_clip: Clip, tmp_path: Path) -> None:
    path = write(tmp_path, "swan,96,64,0,1,1,5,2,2")
    for source in ("/films/swan.mp4", "/davis/480p/swan", "/davis/swan/frames"):
        clip = replace(sample_clip, name="mine", source=replace(sample_clip.source, path=source))
        assert len(points_of(clip, path).points) == 1
    with pytest.raises(UserError, match="has no points of mine or goose or goose.mp4 or films, only of swan"):
        points_of(replace(sample_clip, name="mine", source=replace(sample_clip.source, path="/films/goose.mp4")), path)


def test_frames_of_a_clip_that_starts_late(sample_clip: Clip, tmp_path: Path) -> None:
    path = write(tmp_path, *(f"{sample_clip.name},96,64,{a},1,1,{b},2,2" for a, b in ((20, 31), (0, 25), (22, 40))))
    for indices in ([], [*range(20, 32)]):
        clip = replace(sample_clip, source=replace(sample_clip.source, start=20, indices=indices))
        marked = points_of(clip, path)
        assert [(point.frame_a, point.frame_b) for point in marked.points] == [(0, 11)] and marked.left_out == 2
    with pytest.raises(UserError, match="line 2: the clip shows the source's frames 0 to 11"):
        points_of(sample_clip, path)


def test_what_is_shown_of_them(sample_clip: Clip) -> None:
    report: dict[str, Any] = {"clip": "car", "frames": 40, "width": 96, "height": 64, "fit": "default", "cost": {}}
    report |= {"reconstruction": {"whole": {}, "layers": {}}, "points": POINTS}
    assert table(report).splitlines()[-5:] == [
        "marked points              d_avg    points median px  worst px",
        "  all                       80.0         7      1.50      6.72",
        "  car                       80.0         7      1.50      6.72",
        "  worst: line 130 of davis.csv, car, frame 0 to 39",
        "  2 more are marked in frames of the source that the clip leaves out",
    ]
    assert "leaves out" not in table(report | {"points": POINTS | {"left_out": 0}})
    measures = points_measures(POINTS)
    assert [(measure.name, measure.value) for measure in measures] == [
        (
            "marked points, d_avg",
            "80.0 (7 points; car 80.0; 2 more are marked in frames of the source that the clip leaves out)",
        ),
        ("marked points, the worst", "6.72 (line 130 of davis.csv, car, frame 0 to 39)"),
    ]
    assert all(measure.reading for measure in measures)


def test_the_score_of_each_layer(sample_clip: Clip, sample: Sample, tmp_path: Path) -> None:
    maps = Maps(sample_clip.fit_folder("truth"))
    rows, columns = np.nonzero(maps.opacity("foreground", 3) > 0.99)
    middle = int(columns[len(columns) // 2]), int(rows[len(rows) // 2])
    marks = [true_row(sample_clip, *middle, (3, 5), slide) for slide in (0, 3)]
    background = f"{sample_clip.name},96,64,3,5.5,60.5,3,5.5,60.5"  # where it is, in the same frame
    found = measure_points(maps, points_of(sample_clip, write(tmp_path, *marks, background)))
    assert found["points"] == 3 and found["row"] == 3 and found["layer"] == "foreground"
    assert found["worst"] == pytest.approx(3 * 256 / 96, abs=0.05)
    assert found["layers"]["background"]["d_avg"] == 100 and found["layers"]["foreground"]["d_avg"] == pytest.approx(60)
    assert found["file"] == "points.csv" and found["left_out"] == 0


@pytest.mark.slow
def test_points_are_evaluated(fresh_clip: Clip, tmp_path: Path) -> None:
    maps = Maps(fresh_clip.fit_folder("truth"))
    rows, columns = np.nonzero(maps.opacity("foreground", 3) > 0.99)
    path = write(tmp_path, true_row(fresh_clip, int(columns[40]), int(rows[40]), (3, 7)), "goat,1,1,0,0,0,1,0,0")
    asked = EvaluateOptions(clip=fresh_clip.folder, fit="truth", points=path, quiet=True)
    report = evaluate(asked)
    assert report["points"]["points"] == 1 and report["points"]["d_avg"] == 100 and report["points"]["worst"] < 0.05
    assert "marked points" in table(report) and "points" not in evaluate(replace(asked, points=None))
    with pytest.raises(UserError, match="--points are of a fit, and --compare is of edits"):
        printed(replace(asked, compare=("a", "b")))
    path.write_text(HEADER)
    (fresh_clip.fit_folder("truth") / "metrics.json").unlink()
    with pytest.raises(UserError, match="has no points of"):
        evaluate(asked)
    assert not (fresh_clip.fit_folder("truth") / "metrics.json").exists(), "told before anything is measured"
