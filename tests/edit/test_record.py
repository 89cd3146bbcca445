"""A changed request replaces an earlier edit when it is done, not before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from aggregate.stage import AggregateOptions, aggregate
from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.storage.images import read_image
from edit.editors import EditOptions
from edit.stage import edit

Make = Callable[..., EditOptions]


def changed(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*.png")}


@pytest.mark.parametrize("layer", ["foreground", "background"])  # the background's earlier edit is an atlas
def test_a_failing_edit_leaves_the_earlier_one(
    fresh_clip: Clip, prompted: Make, monkeypatch: pytest.MonkeyPatch, layer: str
) -> None:
    from edit.diffusion.model import StableDiffusion

    first = prompted(fresh_clip, layer=layer, keyframes="0,6" if layer == "foreground" else None)
    result = edit(first)
    aggregate(AggregateOptions(clip=fresh_clip.folder, edit="test", method="mean", quiet=True, device="cpu"))
    folder = result.edit.folder
    parts = ("keyframes", "partial", "atlas", "reference")
    before = {part: changed(folder / part) for part in parts}
    decode, calls = StableDiffusion.decode, []

    def fails(self: StableDiffusion, latents: torch.Tensor) -> np.ndarray | None:
        calls.append(0)
        if len(calls) == 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return decode(self, latents)

    monkeypatch.setattr(StableDiffusion, "decode", fails)
    other = prompted(fresh_clip, layer=layer, prompt="a dog", keyframes="0,11", on="keyframes")
    with pytest.raises(UserError, match="out of main memory"):
        edit(other)
    assert {part: changed(folder / part) for part in parts} == before
    assert len(list((folder / "unfinished" / layer).glob("*.png"))) == 1  # what is done can be looked at
    assert edit(first).up_to_date
    done = edit(other)
    assert sorted(done.edit.keyframes(layer)) == [0, 11] and "repainted" not in str(done)
    assert not (folder / "unfinished").exists() and not (folder / "atlas" / f"{layer}.png").exists()
    assert edit(other).up_to_date and not done.edit.repainted(done.edit.keyframes_folder(layer))


def test_a_depth_estimator_that_does_not_load_is_found_first(
    fresh_clip: Clip, prompted: Make, models: Path, tmp_path: Path
) -> None:
    edit(prompted(fresh_clip))
    before = changed(fresh_clip.edit_folder("test"))
    (tmp_path / "config.json").write_text("{}")
    more = {"control": ("depth",), "controlnet": (str(models / "controlnet-sd"),), "depth_model": str(tmp_path)}
    with pytest.raises(UserError, match="is no depth estimator that can be used"):
        edit(prompted(fresh_clip, **more))
    assert changed(fresh_clip.edit_folder("test")) == before


def test_an_edit_may_take_its_own_keyframes(fresh_clip: Clip) -> None:
    """They are read before they are replaced."""
    given = {"name": "test", "layer": "foreground", "fit": "truth", "quiet": True}
    first = edit(EditOptions(clip=fresh_clip.folder, editor="filter", filter="invert", keyframes="0,6", **given)).edit
    before = {index: path.read_bytes() for index, path in first.keyframes("foreground").items()}
    again = edit(EditOptions(clip=fresh_clip.folder, editor="images", images=first.keyframes_folder("foreground"), **given))
    assert not again.up_to_date and list(again.edit.keyframes("foreground")) == list(before)
    (fresh_clip.folder / "before.png").write_bytes(before[6])
    old, new = (read_image(path) for path in (fresh_clip.folder / "before.png", again.edit.keyframe_path("foreground", 6)))
    whole = new[..., 3] == 255
    assert whole.any() and np.array_equal(new[whole], old[whole])
