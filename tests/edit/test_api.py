"""Deflickering from Python: what it gives is an edit like any other."""

from __future__ import annotations

import numpy as np
import pytest

import edit
from atlas.clip.clip import Clip


def test_the_frames_of_an_edit_agree(fresh_clip: Clip) -> None:
    flicker = np.stack([fresh_clip.frame(i) * (0.7 if i % 2 else 1.0) for i in range(12)]).astype(np.uint8)
    given = edit.edit(fresh_clip, "flicker", layer="all", on="frames", editor="images", images=flicker, fit="truth")
    made = edit.deflickered(given)
    assert made.name == "flicker-atlas" and made.layers == ["all"]
    jumps = [np.abs(np.diff(np.stack(list(one)).mean((1, 2, 3)))).mean() for one in (given, made)]
    assert jumps[1] < 0.5 * jumps[0]
    again = edit.deflickered(fresh_clip, "flicker", way="flow", name="calm", window=1)
    assert again.name == "calm" and again.saved.layers["all"]["deflicker"]["window"] == 1
    with pytest.raises(TypeError, match="name the edit"):
        edit.deflickered(fresh_clip)
    with pytest.raises(TypeError, match="blur"):
        edit.deflickered(given, blur=3)
