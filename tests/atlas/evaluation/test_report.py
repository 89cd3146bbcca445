"""report.html and the comparison: whole, self-contained, and true to the numbers."""

from __future__ import annotations

import base64
import os
import platform
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from atlas.clip.clip import Clip
from atlas.clip.edits import Edit
from atlas.errors import UserError
from atlas.evaluation.measures import edit_measures, fit_measures
from atlas.evaluation.report import printed
from atlas.evaluation.stage import EvaluateOptions
from atlas.metrics.marked import COLUMNS
from atlas.sample.scene import Sample
from atlas.storage.images import to_uint8, write_image
from atlas.storage.stamps import read_json
from atlas.system.cost import measured
from atlas.video.reading import probe


class Page(HTMLParser):
    """What a browser would fetch, show and read."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "poster") and value]

    def handle_data(self, data: str) -> None:
        self.text += data


def make_edit(clip: Clip, sample: Sample, name: str, factor: float) -> Edit:
    atlas = sample.atlases["foreground"].copy()
    atlas[..., :3] *= factor
    request = {"editor": "filter", "filter": "<b>dim</b>"}
    edit = Edit(clip.edit_folder(name), name, "truth", {"foreground": request})
    edit.save()
    write_image(edit.atlas_path("foreground"), to_uint8(atlas))
    keyframe = np.concatenate([sample.frames[3], np.full((*sample.frames[3].shape[:2], 1), 255, np.uint8)], -1)
    write_image(edit.keyframe_path("foreground", 3), keyframe)
    return edit


def options(clip: Clip, **changes: object) -> EvaluateOptions:
    return EvaluateOptions(clip=clip.folder, quiet=True, **changes)  # type: ignore[arg-type]


def test_a_report_needs_nothing_beside_it(fresh_clip: Clip, sample: Sample, tmp_path: Path) -> None:
    edit = make_edit(fresh_clip, sample, "a & b", 0.6)
    with measured(fresh_clip.folder, "render a & b"):
        pass
    points = tmp_path / "<i>.csv"
    points.write_text(f"{','.join(COLUMNS)}\n{fresh_clip.name},96,64,3,5.5,60.5,3,5.5,60.5\n")
    said = printed(options(fresh_clip, edit="a & b", report=True, points=points))
    assert str(edit.folder / "report.html") in str(said)
    page = Page((edit.folder / "report.html").read_text(encoding="utf-8"))
    assert len(page.links) >= 3 and all(link.startswith("data:") for link in page.links)
    assert not {"script", "b", "i"} & {*page.tags}  # what users typed is text
    assert "100.0 (1 point; background 100.0)" in page.text and "(line 2 of <i>.csv, background, frame 3 to 3)" in page.text
    assert "a & b" in page.text and "<b>dim</b>" in page.text and "How far it reaches" in page.text
    film = next(link for link in page.links if link.startswith("data:video/mp4;base64,"))
    (tmp_path / "film.mp4").write_bytes(base64.b64decode(film.partition(",")[2]))
    info = probe(tmp_path / "film.mp4")
    assert (info.frames, info.width, info.height, info.fps) == (12, 192, 64, 24)
    found = read_json(edit.folder / "metrics.json")
    assert f"{found['warp_error']['ratio']:.3f}" in page.text and f"{found['coverage']['foreground']:.1%}" in page.text
    assert f"{platform.node()}, {os.cpu_count()} cores" in page.text  # of what it cost
    assert "object_consistency" in page.text and "--lpips-weights names it" in page.text


def test_every_number_says_how_to_read_it(fresh_clip: Clip, sample: Sample) -> None:
    make_edit(fresh_clip, sample, "one", 0.6)
    found = printed(options(fresh_clip, edit="one", json=True))
    assert isinstance(found, dict) and "report" not in found
    rows = edit_measures(found["edit"]) + fit_measures(found["reconstruction"])
    names = " ".join(row.name for row in rows)
    for name in (
        "warp error",
        "long-term",
        "pixel-MSE",
        "coverage, foreground",
        "keyframes off by",
        "PSNR",
        "folded",
        "mask IoU",
    ):
        assert name in names
    assert all(row.value and row.reading and "\n" not in row.reading for row in rows)
    assert not (fresh_clip.edit_folder("one") / "report.html").exists()


def test_several_edits_in_one_table(fresh_clip: Clip, sample: Sample) -> None:
    for name, factor in (("dark", 0.4), ("darker", 0.2)):
        make_edit(fresh_clip, sample, name, factor)
    with measured(fresh_clip.folder, "render dark"):
        pass
    said = str(printed(options(fresh_clip, compare=("dark", "darker"), report=True)))
    first, *rows = said.splitlines()
    assert re.fullmatch(r" +dark +darker", first)
    off = next(row for row in rows if row.startswith("keyframes off by"))
    values = [float(number) for number in re.findall(r"\d\.\d+", off)]
    assert len(values) == 2 and values[0] < values[1]
    for name in ("warp error, over the source's", "changed", "sharpness, over the source's", "coverage, foreground"):
        row = next(row for row in rows if row.startswith(name + "  "))
        assert len(re.findall(r"\d+\.\d+", row)) == 2
    assert re.fullmatch(r"render, s / MB +\d+\.\d / \d+ +-", next(row for row in rows if row.startswith("render")))
    page = Page((fresh_clip.folder / "edits" / "comparison.html").read_text(encoding="utf-8"))
    assert "sharpness, over the source's" in page.text and "render, s / MB" in page.text and "how to read it" in page.text
    assert page.tags.count("video") == 2 and all(link.startswith("data:") for link in page.links)
    numbers = printed(options(fresh_clip, compare=("dark", "darker"), json=True))
    assert isinstance(numbers, dict) and list(numbers["edits"]) == ["dark", "darker"]
    assert numbers["edits"]["dark"]["changed"] < numbers["edits"]["darker"]["changed"]
    assert numbers["edits"]["dark"]["cost"]["render"]["peak_ram_mb"] > 0 and numbers["edits"]["darker"]["cost"] == {}
    written = read_json(fresh_clip.edit_folder("dark") / "metrics.json")
    assert written == {key: value for key, value in numbers["edits"]["dark"].items() if key != "cost"}
    other = printed(options(fresh_clip, compare=("darker", "dark"), json=True))
    assert isinstance(other, dict) and list(other["edits"]) == ["darker", "dark"]


def test_what_cannot_be_reported(fresh_clip: Clip, sample: Sample) -> None:
    make_edit(fresh_clip, sample, "one", 0.5)
    for changes, said in (
        ({"report": True}, "name it with --edit"),
        ({"compare": ("one",)}, "at least two"),
        ({"compare": ("one", "none")}, "no edit 'none'"),
        ({"compare": ("one", "two"), "edit": "one"}, "leave out --edit"),
        ({"edit": "none", "report": True}, "no edit 'none'"),
    ):
        with pytest.raises(UserError, match=said):
            printed(options(fresh_clip, **changes))
    assert not (fresh_clip.edit_folder("one") / "metrics.json").exists()
