"""Rendering again: what is there is held against what was rendered, and what is somebody's own is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from atlas.clip.clip import Clip
from atlas.clip.edits import Edit
from atlas.errors import UserError
from atlas.rendering.stage import RenderOptions, render
from atlas.sample.scene import Sample
from atlas.storage.images import to_uint8, write_image
from atlas.storage.stamps import write_stamp


@pytest.fixture
def options(fresh_clip: Clip, sample: Sample) -> RenderOptions:
    for name, layer in (("red", "foreground"), ("blue", "background")):
        edit = Edit(fresh_clip.edit_folder(name), name, "truth", {layer: {"editor": "atlas"}})
        edit.save()
        write_image(edit.atlas_path(layer), to_uint8(1 - sample.atlases[layer] * [1, 1, 1, 0]))
    return RenderOptions(clip=fresh_clip.folder, edit="red", quiet=True, device="cpu", format="png")


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}


def test_frames_that_were_deleted_or_repainted_are_made_again(
    options: RenderOptions, capsys: pytest.CaptureFixture[str]
) -> None:
    render(options)
    frames = options.clip / "edits" / "red" / "frames"
    before = _bytes(frames)
    assert "up to date" in render(options)
    (frames / "00003.png").unlink()
    (frames / "00005.png").write_bytes(b"repainted")
    (frames / "notes.txt").write_text("my own")
    assert "12 frames" in render(options)
    assert _bytes(frames) == before | {"notes.txt": b"my own", "replaced/00005.png": b"repainted"}
    assert str(frames / "replaced" / "00005.png") in capsys.readouterr().out
    assert "up to date" in render(options)


def test_films_of_somebody_else(options: RenderOptions, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    film = tmp_path / "film.mp4"
    film.write_bytes(b"a holiday")
    to_film: dict[str, Any] = {"format": "mp4", "output": film}
    with pytest.raises(UserError, match="--force"):
        render(replace(options, **to_film))
    assert film.read_bytes() == b"a holiday"
    render(replace(options, **to_film, force=True))
    red = film.read_bytes()
    render(replace(options, **to_film, edit="blue"))  # of this clip too
    assert film.read_bytes() != red
    assert "up to date" not in render(replace(options, **to_film)) and film.read_bytes() == red
    film.write_bytes(red + b"cut")
    with pytest.raises(UserError, match="was not rendered from"):
        render(replace(options, **to_film))

    usual = options.clip / "edits" / "red" / "video.mp4"
    usual.write_bytes(b"graded")
    render(replace(options, format="mp4"))
    assert usual.read_bytes() == red and (usual.parent / "replaced" / "video.mp4").read_bytes() == b"graded"
    assert "kept as" in capsys.readouterr().out


def test_a_merging_that_was_broken_off_is_not_rendered(options: RenderOptions) -> None:
    edit = Edit.open(Clip.open(options.clip), "red")
    write_stamp(edit.folder, "", edit.merged_stamp("foreground"))
    with pytest.raises(UserError, match="broken off"):
        render(options)
