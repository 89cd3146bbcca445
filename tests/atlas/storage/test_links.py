"""Links in a clip's folder: those that lead out of it are refused, and what they lead to stays as it is."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from aggregate.stage import AggregateOptions, aggregate
from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.fitting.stage import FitOptions, fit
from atlas.preparation.building_site import building_site
from atlas.preparation.stage import PrepareOptions, prepare
from atlas.rendering.stage import RenderOptions, render
from atlas.storage.atomic import atomic_file, atomic_folder
from atlas.storage.images import write_image
from atlas.storage.links import refuse_outward_links, remove
from atlas.storage.stamps import write_json
from edit.editors import EditOptions
from edit.stage import edit

PRIVATE = np.full((64, 96, 3), (201, 17, 93), np.uint8)


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """A folder of somebody's own, beside the clip; nothing in it may be read or changed."""
    folder = tmp_path / "private"
    for name in ("00003.png", "foreground/00003.png", "background/00003.png"):
        write_image(folder / name, PRIVATE)
    write_json(folder / "notes.json", {"version": 1})
    return folder


def _state(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}


def _put(link: Path, target: Path) -> None:
    remove(link)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target)


def _edited(clip: Clip, **options: str) -> None:
    request = {"editor": "filter", "filter": "invert", "keyframes": "0,6"} | options
    edit(EditOptions(clip=clip.folder, name="red", layer="foreground", fit="truth", quiet=True, **request))  # type: ignore[arg-type]


STAGES: list[Callable[[Clip], object]] = [
    lambda clip: Clip.open(clip.folder),
    lambda clip: fit(FitOptions(clip=clip.folder, preset="preview", quiet=True)),
    lambda clip: _edited(clip, filter="grey"),
    lambda clip: aggregate(AggregateOptions(clip=clip.folder, edit="red", method="mean", quiet=True)),
    lambda clip: render(RenderOptions(clip=clip.folder, edit="red", format="png", quiet=True)),
    lambda clip: prepare(PrepareOptions(source=clip.folder.parent / "source", clip=clip.folder, quiet=True)),
]

PLACES = {
    "clip.json": "notes.json",
    "cost.json": "notes.json",
    "stamp.json": "notes.json",
    "frames/00003.png": "00003.png",
    "frames": "",
    "masks/foreground": "foreground",
    "fits/default": "",
    "fits/truth/layers/foreground/atlas.png": "00003.png",
    "edits": "",
    "edits/red/keyframes": "",
    "edits/red/keyframes/foreground/00006.png": "00003.png",
    "edits/red/keyframes/.foreground-making-x": "foreground",
    "edits/red/.keyframes-making-x-old": "",
    "edits/red/cache": "",
    "replaced": "",
    "nowhere": "not there",
}


@pytest.mark.parametrize("place", PLACES)
def test_a_link_out_of_the_clip_is_refused_by_every_stage(place: str, fresh_clip: Clip, private: Path) -> None:
    _edited(fresh_clip)
    for i in range(2):
        write_image(fresh_clip.folder.parent / "source" / f"{i}.png", PRIVATE)
    _put(fresh_clip.folder / place, private / PLACES[place])
    before, listed = _state(private), sorted(os.listdir(fresh_clip.folder))
    for stage in STAGES:
        with pytest.raises(UserError, match="copy what it leads to in its place") as refused:
            stage(fresh_clip)
        assert str(fresh_clip.folder / place) in str(refused.value) and "\n" not in str(refused.value)
    assert _state(private) == before and sorted(os.listdir(fresh_clip.folder)) == listed


def test_the_clip_may_be_reached_by_a_link_and_hold_links_that_stay_inside(fresh_clip: Clip, tmp_path: Path) -> None:
    link = tmp_path / "shortcut"
    link.symlink_to(fresh_clip.folder)
    third = fresh_clip.frame_path(3)
    remove(third)
    third.symlink_to(fresh_clip.frame_path(2))  # absolute, by the real name
    fresh_clip.frame_path(4).unlink()
    fresh_clip.frame_path(4).symlink_to("00002.png")
    (fresh_clip.folder / "loop").symlink_to("loop")
    opened = Clip.open(link)
    assert np.array_equal(opened.frame(3), opened.frame(2)) and np.array_equal(opened.frame(4), opened.frame(2))


def test_a_neighbour_whose_name_begins_alike_is_outside(fresh_clip: Clip) -> None:
    beside = fresh_clip.folder.with_name(fresh_clip.folder.name + "-2")
    beside.mkdir()
    (fresh_clip.folder / "fits" / "other").symlink_to(beside)
    with pytest.raises(UserError, match="fits/other is a link out of"):
        Clip.open(fresh_clip.folder)
    (fresh_clip.folder / "fits" / "other").unlink()
    (fresh_clip.folder / "fits" / "other").symlink_to("../..")
    with pytest.raises(UserError, match="is a link out of"):
        Clip.open(fresh_clip.folder)


def test_a_pipe_in_a_clip_is_refused_and_not_waited_for(fresh_clip: Clip) -> None:
    os.mkfifo(fresh_clip.folder / "cost.json")
    with pytest.raises(UserError, match="cost.json is no file but a pipe"):
        Clip.open(fresh_clip.folder)


def test_edits_through_inner_links_replace_the_links(fresh_clip: Clip) -> None:
    _edited(fresh_clip)
    keyframes = fresh_clip.folder / "edits" / "red" / "keyframes" / "foreground"
    elsewhere = fresh_clip.folder / "kept"
    keyframes.replace(elsewhere)
    keyframes.symlink_to(elsewhere)
    before = _state(elsewhere)
    _edited(fresh_clip, filter="grey")
    assert keyframes.is_dir() and not keyframes.is_symlink()
    assert _state(elsewhere) == before


def test_files_and_folders_that_take_the_place_of_links_leave_what_these_lead_to(private: Path, tmp_path: Path) -> None:
    before = _state(private)
    file, folder, dangling = (tmp_path / "out" / name for name in ("file.png", "folder", "dangling"))
    _put(file, private / "00003.png")
    _put(folder, private)
    _put(dangling, tmp_path / "nothing")
    with atomic_file(file) as temporary:
        temporary.write_bytes(b"new")
    for path in (folder, dangling):
        with atomic_folder(path) as making:
            (making / "new").touch()
        assert not path.is_symlink() and (path / "new").is_file()
    assert file.read_bytes() == b"new" and not file.is_symlink()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["dangling", "file.png", "folder"]
    assert _state(private) == before


def test_left_overs_that_are_links_go_and_what_they_lead_to_stays(private: Path, tmp_path: Path) -> None:
    before = _state(private)
    for name in (".clip-making-a", ".clip-making-b-old"):
        _put(tmp_path / "out" / name, private)
    with atomic_folder(tmp_path / "out" / "clip") as making:
        (making / "new").touch()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["clip"]
    assert not (tmp_path / "out" / "clip").is_symlink()
    _put(tmp_path / "out" / ".next-making-a", private)
    with building_site(tmp_path / "out" / "next"):
        pass
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["clip"]
    assert _state(private) == before


def test_sources_follow_links_to_files_and_pass_over_pipes(private: Path, tmp_path: Path) -> None:
    folder, masks = tmp_path / "source", tmp_path / "masks"
    write_image(private / "mask.png", np.pad(np.full((20, 30), 255, np.uint8), ((20, 24), (30, 36))))
    for i in range(2):
        _put(folder / f"{i}.png", private / "00003.png")
        _put(masks / f"{i}.png", private / "mask.png")
    for place in (folder, masks):
        os.mkfifo(place / "2.png")
    clip = prepare(PrepareOptions(source=folder, clip=tmp_path / "clip", masks=str(masks), quiet=True))
    assert clip.frames == 2 and clip.mask("foreground", 1)[30, 40] == 255
    assert cv2.imread(str(clip.frame_path(1)))[0, 0].tolist() == [93, 17, 201]


def test_looking_for_links_takes_no_time(tmp_path: Path) -> None:
    for part in range(5):
        (tmp_path / str(part)).mkdir()
        for number in range(1000):
            (tmp_path / str(part) / f"{number:05d}.png").touch()
    took = []
    for _ in range(5):
        begin = time.perf_counter()
        refuse_outward_links(tmp_path)
        took.append(time.perf_counter() - begin)
    assert min(took) < 0.02
