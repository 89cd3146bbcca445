"""What the pages know of a root: sources and clips are found, files have addresses, and text from files is no HTML."""

from __future__ import annotations

import os
import shutil

import pytest

from atlas.clip.clip import Clip
from atlas.clip.edits import Edit
from atlas.storage.images import read_image, write_image

pytest.importorskip("gradio", reason="the app needs gradio, fastapi and uvicorn: pip install -e .[ui]")

from scripts.webapp.clips import describe_clip
from scripts.webapp.pages.app import _look, make_pages
from scripts.webapp.pages.clip import clip_name
from scripts.webapp.pages.compare import compared_html, picked_edits
from scripts.webapp.pages.keyframes import make_again, picked_keyframes, with_keyframes
from scripts.webapp.pages.render import picked_edit
from scripts.webapp.pages.site import Site, edits_of, fits_of, fitting, lines, panel, picture, standing
from scripts.webapp.work import Work


@pytest.fixture
def site(fresh_clip: Clip) -> Site:
    root = fresh_clip.folder.parent
    (root / "films").mkdir()
    (root / "films" / "walk.mp4").write_bytes(b"")
    for index in range(2):
        write_image(root / "films" / "run" / "frames" / f"{index:05d}.png", fresh_clip.frame(index))
    (root / "films" / "linked").symlink_to("/etc")
    (root / "work" / "jobs").mkdir(parents=True)  # somebody's folder of that name, and no record of a job
    return Site(Work(root))


def test_sources_are_found_and_parts_of_clips_are_none(site: Site) -> None:
    assert site.sources() == ["films/run/frames", "films/walk.mp4"]
    assert site.clips() == ["clip"]
    assert clip_name(site, "films/walk.mp4") == "clips/walk" and clip_name(site, "films/run/frames") == "clips/run"
    assert site.clip("clip") is not None and site.clip("films") is None and site.clip("../clip") is None


def test_what_stands_changes_with_edits_and_what_is_fitted_does_not(site: Site, fresh_clip: Clip) -> None:
    stands, fitted = standing(site, "clip"), fitting(site, "clip")
    assert fits_of(fresh_clip) == ["truth"] and "truth" in fitted
    shutil.copytree(fresh_clip.folder / "fits" / "truth", fresh_clip.folder / "fits" / ".truth-making-1")
    assert fits_of(fresh_clip) == ["truth"], "a half-made fit is none"
    about = describe_clip(site.root, fresh_clip.folder)
    assert about["finished"] == ["truth"] and [fit["name"] for fit in about["fits"]] == ["truth"]
    Edit(fresh_clip.edit_folder("new"), "new", "truth").save()
    assert standing(site, "clip") != stands and fitting(site, "clip") == fitted


def test_addresses_have_versions(site: Site, fresh_clip: Clip) -> None:
    path = fresh_clip.frame_path(0)
    before = site.url(path)
    assert before.startswith("/files/clip/frames/00000.png?v=")
    write_image(path, read_image(path))
    assert site.url(path) != before


def test_text_from_files_is_no_html() -> None:
    odd = '<b onload="x">'
    for made in (lines([odd]), picture("/files/a.png", odd), panel("/paint", "1px", odd, clip=odd)):
        assert odd not in made and 'onload="x"' not in made


def test_a_keyframe_is_made_again_and_takes_its_place(site: Site, fresh_clip: Clip) -> None:
    values = {"layer": "foreground", "fit": "truth", "editor": "filter", "filter": "invert"}
    first = site.work.start("clip", "edit", values | {"name": "keys", "keyframes": "3,8"})
    assert first.wait(300) and first.state().name == "done", first.log()
    edit = Edit.open(fresh_clip, "keys")
    path = edit.keyframe_path("foreground", 8)
    other, made = edit.keyframe_path("foreground", 3).read_bytes(), path.read_bytes()
    write_image(path, read_image(path) // 2)
    again, thread = make_again(site.work, fresh_clip, edit, "foreground", 8)
    thread.join(300)
    assert again.state().name == "done", again.log()
    assert path.read_bytes() == made and edit.keyframe_path("foreground", 3).read_bytes() == other
    assert sorted(path.name for path in (fresh_clip.folder / "edits").iterdir() if path.is_dir()) == ["keys"]


def test_what_was_chosen_is_shown_as_long_as_it_is_there(site: Site, fresh_clip: Clip) -> None:
    for number, name in enumerate(("one", "two")):
        edit = Edit(fresh_clip.edit_folder(name), name, "truth", {"foreground": {"frames": [3]}})
        edit.save()
        os.utime(edit.folder / "edit.json", (number, number))
    edits = edits_of(fresh_clip)
    assert with_keyframes(fresh_clip) == []
    write_image(edits[0].keyframe_path("foreground", 3), read_image(fresh_clip.frame_path(3)))
    assert with_keyframes(fresh_clip) == ["one"]
    assert [picked_keyframes(["one", "two"], picked) for picked in (None, {"edit": "one"}, {"edit": "gone"})] == [
        "two",
        "one",
        "two",
    ]
    assert [picked_edit(edits, picked) for picked in (None, "one", "gone")] == ["two", "one", "two"]
    many = [str(number) for number in range(6)]
    assert [picked_edits(many, picked) for picked in (None, [], ["5", "gone", "1"])] == [many[:4], [], ["1", "5"]]
    html = compared_html(site, fresh_clip, ["two"])
    assert "Not rendered as mp4 or webm yet: two" in html and "<video" not in html
    (edits[1].folder / "video.webm").write_bytes(b"film")
    assert '<video src="/files/clip/edits/two/video.webm?v=' in compared_html(site, fresh_clip, ["two"])


def test_a_look_says_what_is_new(site: Site, fresh_clip: Clip) -> None:
    version, stands, fitted = _look(site, "clip", 4)
    assert (version, stands, fitted) == (5, standing(site, "clip"), fitting(site, "clip"))
    Edit(fresh_clip.edit_folder("newer"), "newer", "truth").save()
    assert _look(site, "clip", version)[0] == 6
    assert _look(site, "clip", version)[1] != stands and _look(site, "clip", version)[2] == fitted


def test_parts_are_made_anew_one_after_the_other(site: Site) -> None:
    """Gradio goes through all components of a page for each part, and fails where another part adds some meanwhile."""
    parts = [event for event in make_pages(site).fns.values() if event.renderable]
    assert len(parts) > 10
    assert {(part.concurrency_id, part.concurrency_limit, part.queue) for part in parts} == {("parts", 1, True)}
