"""Somebody's own files in folders that stages fill are told from a stage's, and stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from atlas.storage.atomic import atomic_folder
from atlas.storage.own.listed import LIST, changed, finish_listed, remove_unchanged
from atlas.storage.own.others import NUMBERED, others, remove_ours
from atlas.storage.run_state import start_folder
from atlas.storage.stamps import own_files, write_whole_stamp


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures of a stage's, and what somebody put beside them; what a file manager left is nobody's."""
    place = tmp_path / "made"
    for name in ("00000.png", "12345.png", "notes.txt", ".hidden", "sketches/00000.png", "Thumbs.db", ".x-making-a-1-b.png"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(name)
    (place / "more").symlink_to("sketches", target_is_directory=True)
    (place / "empty").mkdir()
    return place


MINE = [".hidden", "more", "notes.txt", "sketches/00000.png"]


def test_others_are_told_by_name(folder: Path) -> None:
    assert others(folder, NUMBERED) == MINE
    assert others(folder / "nothing", NUMBERED) == [] == others(folder / "00000.png", NUMBERED)


def test_what_a_stage_wrote_is_removed_alone(folder: Path) -> None:
    remove_ours(folder, NUMBERED)
    assert {path.name for path in folder.iterdir()} == {".hidden", "more", "notes.txt", "sketches"}
    assert (folder / "sketches" / "00000.png").is_file() and (folder / "more").is_symlink()
    for name in (".hidden", "more", "notes.txt", "sketches/00000.png"):
        (folder / name).unlink()
    (folder / "00007.png").touch()
    remove_ours(folder, NUMBERED)
    assert not folder.exists()
    remove_ours(folder, NUMBERED)


def test_a_folder_that_is_replaced_keeps_them(folder: Path) -> None:
    with atomic_folder(folder, NUMBERED) as making:
        (making / "00001.png").write_text("new")
    assert others(folder, NUMBERED) == MINE and (folder / "more").is_symlink()
    assert sorted(path.name for path in folder.glob("*.png")) == ["00001.png"]


def test_a_run_that_begins_anew_keeps_them(folder: Path) -> None:
    (folder / "state.safetensors").touch()
    (folder / "frames.npy").touch()

    def fail() -> None:
        (folder / "frames.npy").touch()
        raise KeyError

    with pytest.raises(KeyError):
        start_folder(folder, fail)
    assert (folder / "notes.txt").is_file() and not list(folder.glob("*.npy")) and not list(folder.glob("*.safetensors"))


def test_pictures_against_a_list(folder: Path) -> None:
    """Without a list they are told by name; with one, a picture that somebody changed is theirs too."""
    assert changed(folder) == MINE
    for number in range(2):
        with atomic_folder(folder) as making:
            (making / "00000.png").write_text("made")
            (making / "00001.png").write_text("made")
            moved = finish_listed(making, folder)
        assert moved == ([] if number == 0 else [folder / "replaced" / "00000.png"])
        assert (folder / "00000.png").read_text() == "made"
        (folder / "00000.png").write_text("mine")
    assert set(changed(folder)) == {"00000.png", *MINE, "replaced/00000.png"}
    remove_unchanged(folder)
    assert (folder / "00000.png").read_text() == "mine" and not (folder / "00001.png").exists()
    assert (folder / LIST).is_file() and "00000.png" in changed(folder)


def test_files_against_a_stamp(folder: Path) -> None:
    """What was there when it was stamped is the stage's, whatever its name; hidden files and lost links are somebody's own."""
    made = folder / "sketches"
    assert own_files(made) == [], "without a stamp nothing is known"
    write_whole_stamp(made, "a request")
    assert own_files(made) == []
    for name in ("notes.txt", ".hidden", "deep/stamp.json", ".DS_Store"):
        (made / name).parent.mkdir(exist_ok=True)
        (made / name).write_text("mine")
    (made / "lost").symlink_to("nothing")
    assert own_files(made) == [".hidden", "deep/stamp.json", "lost", "notes.txt"]


def test_a_folder_that_a_user_names_is_theirs_without_a_list(folder: Path) -> None:
    with atomic_folder(folder) as making:
        (making / "00000.png").write_text("made")
        moved = finish_listed(making, folder, named_by_user=True)
    assert moved == [folder / "replaced" / "00000.png"] and (folder / "12345.png").is_file()
