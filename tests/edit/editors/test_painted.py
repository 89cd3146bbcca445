"""A painted atlas in the place of the layer's own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.maps.maps import Maps
from atlas.storage.images import read_image, write_image
from edit.editors import EditOptions
from edit.stage import edit


def options(clip: Clip, **changes: Any) -> EditOptions:
    given = {"name": "test", "layer": "foreground", "fit": "truth", "editor": "atlas"}
    return EditOptions(clip=clip.folder, quiet=True, **(given | changes))


def test_an_unpainted_atlas_is_its_own_reference(fresh_clip: Clip, tmp_path: Path) -> None:
    painted = shutil.copy(Maps(fresh_clip.fit_folder("truth")).atlas_path("foreground"), tmp_path / "painted.png")
    result = edit(options(fresh_clip, image=painted))
    atlas, reference = (read_image(p) for p in (result.edit.atlas_path("foreground"), result.edit.reference_path("foreground")))
    assert result.keyframes == [] and atlas.dtype == np.uint16 and atlas[..., 3].max() == 65535
    assert np.array_equal(atlas, reference)
    assert edit(options(fresh_clip, image=painted)).up_to_date


def test_a_painted_atlas_differs_only_where_painted(fresh_clip: Clip, tmp_path: Path) -> None:
    image = read_image(Maps(fresh_clip.fit_folder("truth")).atlas_path("foreground"))
    seen = image[..., 3] > 0
    image[40:50, 40:60] = (255, 0, 0, 255)
    image[~seen, :3] = 255  # what some painters leave below transparency
    write_image(tmp_path / "painted.png", image)
    result = edit(options(fresh_clip, image=tmp_path / "painted.png")).edit
    atlas, reference = read_image(result.atlas_path("foreground")), read_image(result.reference_path("foreground"))
    different = (atlas[..., :3] != reference[..., :3]).any(-1)
    assert np.array_equal(different[44:46, 44:56], np.ones((2, 12), bool))
    different[36:54, 36:64] = False
    assert not different.any()


def test_a_painted_atlas_of_another_size(fresh_clip: Clip, tmp_path: Path) -> None:
    write_image(tmp_path / "painted.png", np.zeros((30, 20, 3), np.uint8))
    with pytest.raises(UserError, match="painted.png is 20x30, the atlas of layer 'foreground' is"):
        edit(options(fresh_clip, image=tmp_path / "painted.png"))


@pytest.mark.parametrize("size", ["its own", "another"])
def test_an_atlas_without_paint_is_refused(fresh_clip: Clip, tmp_path: Path, size: str) -> None:
    """Transparent throughout, or opaque only where the layer is never seen: nothing would be edited."""
    seen = read_image(Maps(fresh_clip.fit_folder("truth")).atlas_path("foreground"))[..., 3] > 0
    assert not seen.all()
    images = [np.dstack([np.full((*seen.shape, 3), 200, np.uint8), np.where(seen, 0, 255).astype(np.uint8)])]
    images += [np.full((50, 50, 4) if size == "another" else (*seen.shape, 4), (200, 0, 0, 0), np.uint8)]
    for image in images:
        write_image(tmp_path / "painted.png", image)
        with pytest.raises(
            UserError, match="painted.png is transparent wherever layer 'foreground' is seen.* paint on a copy of"
        ):
            edit(options(fresh_clip, image=tmp_path / "painted.png"))
    assert not (fresh_clip.folder / "edits").exists()
