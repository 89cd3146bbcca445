"""The layer's atlas itself by a prompt, with a tiny model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.maps.maps import Maps
from atlas.storage.images import read_image
from edit.editors import EditOptions
from edit.stage import edit

Make = Callable[..., EditOptions]


def test_the_background_is_edited_on_its_atlas(fresh_clip: Clip, prompted: Make) -> None:
    result = edit(prompted(fresh_clip, layer="background", keyframes=None))
    assert result.keyframes == [] and result.edit.is_painted("background")
    maps = Maps(fresh_clip.fit_folder("truth"))
    atlas, reference = read_image(result.edit.atlas_path("background")), read_image(result.edit.reference_path("background"))
    seen = maps.atlas("background")[..., 3] > 0
    assert np.array_equal(atlas[..., 3] > 0, seen) and (atlas != reference)[seen].any(-1).mean() > 0.9
    assert edit(prompted(fresh_clip, layer="background", keyframes=None)).up_to_date
    same = edit(prompted(fresh_clip, layer="background", keyframes=None, strategy="random", hold=0.5))
    assert same.up_to_date and "--strategy is for keyframes and changed" in str(same) and "--hold is for" in str(same)
    weaker = edit(prompted(fresh_clip, layer="background", keyframes=None, strength=0.3))
    assert not np.array_equal(read_image(weaker.edit.atlas_path("background")), atlas)
    others: tuple[dict[str, Any], ...] = (
        {"control_scale": (0.0,)}, {"control_end": (0.3,)}, {"canny": (2, 4)}, {"clip_skip": 2}, {"negative": "a dog"},
        {"guidance": 3.0}, {"steps": 1}, {"seed": 1}, {"prompt": "a dog"},
    )  # fmt: skip
    for changes in others:
        other = edit(prompted(fresh_clip, layer="background", keyframes=None, **changes))
        assert not np.array_equal(read_image(other.edit.atlas_path("background")), atlas), changes
    with pytest.raises(UserError, match="the atlas of background is edited itself"):
        edit(prompted(fresh_clip, layer="background"))
    keyframes = edit(prompted(fresh_clip, layer="background", on="keyframes", keyframes="0,11"))
    assert keyframes.keyframes == [0, 11] and not keyframes.edit.atlas_path("background").exists()
