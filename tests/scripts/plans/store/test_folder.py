"""A clip's folder on two machines and its area in a store: what is moved, kept and refused, and what a kill leaves."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from atlas.errors import BusyError, UserError
from scripts.plans.store.area import Area
from scripts.plans.store.disk import listing
from scripts.plans.store.folder import Folder
from scripts.plans.store.manifest import Manifest, sha256
from scripts.plans.store.remote import Remote, StoreError


@pytest.fixture
def area(request: pytest.FixtureRequest) -> Area:
    return Area(Remote(MemoryFileSystem(), f"/{request.node.nodeid}"), "the clip")


@dataclass
class Machine:
    """A machine with a disk of its own."""

    folder: Folder

    def stage(self, work: Callable[[Path], None]) -> None:
        """Do some work on the clip, between bringing it and taking it back."""
        area, folder = self.folder.area, self.folder
        with area.claim().held() as claim:
            version = area.newest()
            folder.bring(version)
            folder.begin()
            folder.path.mkdir(exist_ok=True)
            work(folder.path)
            folder.give(version, claim)

    def killed(self, work: Callable[[Path], None]) -> None:
        """The same, killed before anything is taken back."""
        self.folder.bring(self.folder.area.newest())
        self.folder.begin()
        work(self.folder.path)

    def tree(self) -> dict[str, str]:
        return tree(self.folder.path)


def tree(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def machines(area: Area, tmp_path: Path) -> tuple[Machine, Machine]:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    return Machine(Folder(tmp_path / "a" / "clip", area)), Machine(Folder(tmp_path / "b" / "clip", area))


def write(**files: str) -> Callable[[Path], None]:
    def work(folder: Path) -> None:
        for name, text in files.items():
            path = folder / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return work


def test_alternately_on_two_machines(machines: tuple[Machine, Machine]) -> None:
    a, b = machines
    a.stage(write(frames__0="zero", frames__1="one", clip="v1"))
    b.stage(lambda folder: write(fit="fit")(folder) or (folder / "frames" / "1").unlink())
    a.stage(lambda folder: (folder / "empty").mkdir())
    b.stage(write(frames__0="0"))
    assert a.tree() | {"frames/0": "0"} == b.tree() == {"frames/0": "0", "clip": "v1", "fit": "fit"}
    assert (b.folder.path / "empty").is_dir()
    a.stage(lambda folder: (folder / "clip").unlink() or write(clip__json="a folder now")(folder))
    b.stage(lambda folder: None)
    assert a.tree() == b.tree() == {"frames/0": "0", "clip/json": "a folder now", "fit": "fit"}
    assert listing(a.folder.path) == listing(b.folder.path)  # times too


def test_only_what_changed_is_moved(machines: tuple[Machine, Machine], area: Area) -> None:
    a, b = machines
    a.stage(write(**{f"frames__{number}": "x" * 1000 + str(number) for number in range(20)}))
    b.stage(lambda folder: None)
    before = area.remote.traffic.figures()
    b.stage(write(fit="f"))
    a.stage(lambda folder: (folder / "frames" / "3").touch())  # its content is what it was
    after = area.remote.traffic.figures()
    moved = {name: after[name] - before[name] for name in after}
    assert moved["bytes_up"] < 6000 and moved["bytes_down"] < 12000  # manifests and claims, and one file of a byte
    names = area.remote.names("objects")
    assert len(names) == 21 and len(area.remote.names("manifests")) == 2
    a.stage(write(frames__3="anew"))
    a.stage(write(frames__4="anew"))
    assert sha256(b"x" * 1000 + b"3") not in area.remote.names("objects")  # of the newest two versions alone


def test_unfinished_work_is_gone_on_with_or_dropped(machines: tuple[Machine, Machine]) -> None:
    a, b = machines
    a.stage(write(clip="v1", old="o"))
    a.killed(lambda folder: write(half="half", clip="v2")(folder) or (folder / "old").unlink())
    a.stage(lambda folder: None if tree(folder) == {"clip": "v2", "half": "half"} else pytest.fail("it was not kept"))
    a.killed(write(half="other half"))
    b.stage(write(clip="v3"))
    a.stage(lambda folder: None)
    assert a.tree() == b.tree() == {"clip": "v3", "half": "half"}
    # Killed at the first stage of all, and done elsewhere since.
    new = Machine(Folder(a.folder.path.with_name("new"), Area(a.folder.area.remote.below("new"), "new")))
    other = Machine(Folder(b.folder.path.with_name("new"), new.folder.area))
    new.folder.path.mkdir()
    new.killed(write(frames="half"))
    other.stage(write(frames="whole"))
    new.stage(lambda folder: None)
    assert new.tree() == {"frames": "whole"}


def test_what_people_change_is_kept_or_refused(machines: tuple[Machine, Machine]) -> None:
    a, b = machines
    a.stage(write(keyframe="painted", video="v"))
    b.folder.bring(b.folder.area.newest(), lambda name: name == "video")
    assert b.tree() == {"video": "v"} and not b.folder.has_own()
    write(keyframe="mine")(b.folder.path)
    assert b.folder.has_own()
    b.stage(lambda folder: None)
    a.stage(lambda folder: None)
    assert a.tree() == b.tree() == {"keyframe": "mine", "video": "v"}
    write(keyframe="mine again", note="mine")(b.folder.path)
    a.stage(write(keyframe="theirs"))
    with pytest.raises(UserError, match="keyframe was made or changed here and is another one in the store"):
        b.stage(lambda folder: None)
    assert b.tree()["keyframe"] == "mine again"
    (b.folder.path / "keyframe").unlink()
    b.stage(lambda folder: None)
    a.stage(lambda folder: None)
    assert a.tree() == b.tree() == {"keyframe": "theirs", "video": "v", "note": "mine"}
    (b.folder.path / "video").unlink()
    assert b.folder.has_own()


def test_a_folder_from_elsewhere_is_not_overwritten(machines: tuple[Machine, Machine]) -> None:
    a, b = machines
    a.stage(write(clip="v1"))
    b.folder.path.mkdir()
    write(clip="another clip")(b.folder.path)
    with pytest.raises(UserError, match="clip was made or changed here"):
        b.stage(lambda folder: None)
    write(clip="v1")(b.folder.path)
    b.stage(write(more="m"))  # the same files are no other clip


def test_a_file_here_is_no_folder_of_the_store(machines: tuple[Machine, Machine]) -> None:
    a, b = machines
    a.stage(write(clip="v1"))
    b.stage(lambda folder: (folder / "empty").mkdir())
    write(notes="mine", pages__one="1")(b.folder.path)
    a.stage(write(notes__first="theirs", empty__full="theirs"))
    for _ in range(2):  # the second time, too, nothing is taken for the stage's own
        with pytest.raises(UserError, match="/notes was made here, .*: move the one here away"):
            b.stage(lambda folder: None)
        assert b.tree() == {"clip": "v1", "notes": "mine", "pages/one": "1"}
    (b.folder.path / "notes").unlink()
    a.stage(write(pages="theirs"))
    with pytest.raises(UserError, match="pages/one was made here"):
        b.stage(lambda folder: None)
    shutil.rmtree(b.folder.path / "pages")
    (b.folder.path / "pages").mkdir()  # with nothing in it, it is nobody's work
    b.stage(lambda folder: None)
    assert a.tree() == b.tree() == {"clip": "v1", "notes/first": "theirs", "empty/full": "theirs", "pages": "theirs"}


def test_nothing_is_written_through_links(machines: tuple[Machine, Machine], tmp_path: Path) -> None:
    a, b = machines
    a.stage(write(frames__0="zero"))
    outside = tmp_path / "outside"
    outside.mkdir()
    b.folder.path.mkdir()
    (b.folder.path / "frames").symlink_to(outside)
    with pytest.raises(UserError, match="is a link"):
        b.stage(lambda folder: None)
    assert list(outside.iterdir()) == []
    with pytest.raises(UserError, match="copy it in its place"):
        a.stage(lambda folder: (folder / "link").symlink_to("/etc/passwd"))
    os.mkfifo(a.folder.path / "pipe")
    with pytest.raises(UserError, match="pipe or a device"):
        a.folder.has_own()


class Failing(Remote):
    """A store that is cut off after so many more writes."""

    left = [0]

    def put(self, name: str, data: bytes) -> None:
        if not name.startswith("claims/"):
            if self.left[0] == 0:
                super().put(name, data[: len(data) // 2])  # what a disk keeps of a file that was being written
                raise StoreError("cut off")
            self.left[0] -= 1
        super().put(name, data)


@pytest.mark.parametrize("writes", range(5))
def test_a_taking_back_that_is_cut_off_leaves_the_version_before(
    machines: tuple[Machine, Machine], area: Area, writes: int, tmp_path: Path
) -> None:
    a, b = machines
    a.stage(write(clip="v1", one="1"))
    cut = Failing(area.remote.fs, area.remote.root)
    cut.left[0] = writes
    failing = Machine(Folder(a.folder.path, Area(cut, "the clip")))
    new = {"clip": "version two", "one": "one", "two": "two2", "three": "three3"}
    with pytest.raises(StoreError, match="cut off"):
        failing.stage(write(**new))
    (tmp_path / "c").mkdir()
    Machine(Folder(tmp_path / "c" / "clip", area)).stage(lambda folder: None)
    assert tree(tmp_path / "c" / "clip") == {"clip": "v1", "one": "1"}
    a.stage(lambda folder: None)  # what it had done is there, and taken back now
    b.stage(lambda folder: None)
    assert b.tree() == new
    assert len(area.remote.names("objects")) == 6 and len(area.remote.names("manifests")) == 2  # nothing torn is left


def test_damage_is_told(machines: tuple[Machine, Machine], area: Area) -> None:
    a, b = machines
    a.stage(write(clip="v1"))
    a.stage(write(clip="v2"))
    newest, before = sorted(area.remote.names("manifests"), reverse=True)
    area.remote.put(f"manifests/{newest}", b"torn")
    b.stage(lambda folder: None)
    assert b.tree() == {"clip": "v1"}
    area.remote.put(f"manifests/{before}", b"")
    with pytest.raises(UserError, match="none of its manifests is whole"):
        area.newest()
    evil = b'{"version": 1, "files": {"../../evil": [4, "%s", 1]}, "empty": []}' % sha256(b"evil").encode()
    area.remote.put(f"objects/{sha256(b'evil')}", b"evil")
    area.remote.put(f"manifests/00000009-{sha256(evil)}.json", evil)
    with pytest.raises(UserError, match="which is no file of its folder"):
        b.stage(lambda folder: None)
    assert not list(b.folder.path.parents[1].rglob("evil"))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_a_name_that_cannot_be_in_a_store_leaves_the_version_before(machines: tuple[Machine, Machine], area: Area) -> None:
    a, b = machines
    a.stage(write(clip="v1"))
    with pytest.raises(UserError, match="/clip/b:2 cannot be in a store"):
        a.stage(lambda folder: write(clip="v2")(folder) or (folder / "b:2").write_text("2") and None)
    b.stage(lambda folder: None)
    assert b.tree() == {"clip": "v1"}
    (a.folder.path / "b:2").unlink()
    a.stage(lambda folder: None)
    b.stage(lambda folder: None)
    assert b.tree() == {"clip": "v2"}


def test_an_object_that_is_damaged_is_not_brought(machines: tuple[Machine, Machine], area: Area) -> None:
    a, b = machines
    a.stage(write(clip="v1", other="o"))
    for data in (b"vX", b"v", b"v1 and more"):
        area.remote.put(f"objects/{sha256(b'v1')}", data)
        if data.startswith(b"v1"):  # no more is read than the manifest says
            b.stage(lambda folder: None)
            assert b.tree()["clip"] == "v1"
        else:
            with pytest.raises(StoreError, match="damaged"):
                b.stage(lambda folder: None)
            assert not b.folder.path.exists() or b.tree() == {}


def test_who_slept_while_another_took_over_changes_nothing(machines: tuple[Machine, Machine], area: Area) -> None:
    a, b = machines
    a.stage(write(clip="v1"))
    with pytest.raises(BusyError), area.claim().held() as claim:
        version = area.newest()
        a.folder.bring(version)
        a.folder.begin()
        write(clip="late")(a.folder.path)
        area.remote.remove(f"claims/{claim.me.token}.json")
        b.stage(write(clip="v2"))
        a.folder.give(version, claim)
    assert area.newest().manifest.files["clip"].sha256 == sha256(b"v2")
    # The same where its claim still seems to be there.
    with area.claim().held() as claim:
        area.remote.put(f"manifests/{99:08d}-{sha256(b'x')}.json", b"x")
        with pytest.raises(BusyError, match="at the same time"):
            area.commit(version, Manifest(), a.folder.path, claim)


def test_a_store_that_lost_its_clips_is_filled_again(machines: tuple[Machine, Machine], area: Area) -> None:
    a, b = machines
    a.stage(write(clip="v1", fit="f"))
    b.stage(lambda folder: None)
    area.remote.fs.rm(area.remote.root, recursive=True)
    a.stage(lambda folder: None)
    assert a.tree() == {"clip": "v1", "fit": "f"} and area.newest().manifest.files.keys() == {"clip", "fit"}
    b.stage(write(more="m"))
    with pytest.raises(StoreError, match="has vanished"):
        a.stage(shutil.rmtree)
    a.stage(lambda folder: None)
    assert a.tree() == b.tree() == {"clip": "v1", "fit": "f", "more": "m"}


def test_a_record_of_another_store_counts_for_nothing(machines: tuple[Machine, Machine], area: Area) -> None:
    a, _ = machines
    a.stage(write(clip="v1"))
    moved = Machine(Folder(a.folder.path, Area(area.remote.below("moved"), "moved")))
    assert moved.folder.record() is None
    moved.stage(lambda folder: None)
    assert moved.folder.area.newest().manifest.files.keys() == {"clip"}
    record = next(a.folder.path.parent.glob(".clip.store.json"))
    damaged: list[Any] = ["", "[]", "{}", json.dumps({"files": {"a": 3}})]
    for text in damaged:
        record.write_text(text)
        assert a.folder.record() is None
