"""A fit of which files were deleted: errors of later stages say "run fit.py again", and that must help."""

from __future__ import annotations

import shutil

import pytest

from atlas.clip.clip import Clip
from atlas.fitting.stage import FitOptions, fit
from atlas.maps.maps import Maps


@pytest.fixture(scope="module")
def fitted(sample_clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Clip:
    folder = tmp_path_factory.mktemp("fitted") / "clip"
    shutil.copytree(sample_clip.folder, folder)
    clip = Clip.open(folder)
    fit(options(clip))
    return clip


def options(clip: Clip) -> FitOptions:
    return FitOptions(clip=clip.folder, preset="preview", device="cpu", quiet=True)


@pytest.mark.parametrize("deleted", ["maps", "maps/foreground/uv.npy", "layers/background/atlas.png", "checkpoint.safetensors"])
def test_what_was_deleted_from_a_fit_is_made_again(deleted: str, fitted: Clip) -> None:
    folder = fitted.fit_folder("default")
    path = folder / deleted
    assert "up to date" in fit(options(fitted))
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    mine = ("layers/notes.txt", "resume/notes.txt", "maps-192x128/foreground/notes.txt", ".hidden")
    for name in mine:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("somebody's own")
    (folder / "maps-192x128" / "maps.json").write_text("of the fit that goes")
    assert "up to date" not in fit(options(fitted))
    assert path.exists() and Maps(folder).layers == fitted.layers
    assert [(folder / name).read_text() for name in mine] == ["somebody's own"] * len(mine)
    assert not (folder / "maps-192x128" / "maps.json").exists()
