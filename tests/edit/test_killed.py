"""An edit that is killed between any two of its writes: run again, it claims nothing falsely and ends as if undisturbed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atlas.clip.clip import Clip
from atlas.storage import stamps
from atlas.storage.images import write_image
from atlas.storage.stamps import contents
from edit.editors import EditOptions
from edit.stage import edit


class Killed(BaseException): ...


def _options(clip: Clip, name: str = "invert", **changes: Any) -> EditOptions:
    given = {"name": "test", "layer": "foreground", "fit": "truth", "editor": "filter", "filter": name, "keyframes": "0,6"}
    return EditOptions(clip=clip.folder, quiet=True, **(given | changes))


def _made(folder: Path) -> dict[str, str]:
    return {name: entry for name, entry in contents(folder).items() if name.endswith(".png")}


@pytest.mark.slow
def test_killed_before_each_stamp(fresh_clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a stamp says and what lies there change together, whichever stamp is the last that is written."""
    first = edit(_options(fresh_clip)).edit
    edit(_options(fresh_clip, "grey"))
    right, real = _made(first.folder), stamps.write_json
    moments = 0
    for moment in range(30):
        edit(_options(fresh_clip))
        left = [moment]

        def killed(path: Path, value: Any, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            real(path, value)

        with monkeypatch.context() as patch:
            patch.setattr(stamps, "write_json", killed)
            try:
                edit(_options(fresh_clip, "grey"))
            except Killed:
                moments += 1
        before = edit(_options(fresh_clip))  # the earlier request: it is not up to date beside what is new
        assert before.notes == [] and _made(first.folder) != right
        again = edit(_options(fresh_clip, "grey"))
        assert again.notes == [] and _made(first.folder) == right
        if left[0] >= 0:
            break
    assert moments >= 4


def test_killed_while_the_earlier_keyframes_go(fresh_clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    first = edit(_options(fresh_clip)).edit

    def half(path: Path) -> None:
        (path / "00006.png").unlink()
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(
            "edit.record.remove_ours", lambda path, ours: half(path) if path == first.keyframes_folder("foreground") else None
        )
        edit(_options(fresh_clip, "grey"))
    again = edit(_options(fresh_clip, "grey"))
    assert again.notes == [] and list(again.edit.keyframes("foreground")) == [0, 6]


def test_what_somebody_painted_is_still_noticed(fresh_clip: Clip) -> None:
    first = edit(_options(fresh_clip)).edit
    write_image(first.keyframe_path("foreground", 6), np.full((fresh_clip.height, fresh_clip.width, 4), 90, np.uint8))
    assert "keyframe 6" in edit(_options(fresh_clip, "grey")).notes[0]
