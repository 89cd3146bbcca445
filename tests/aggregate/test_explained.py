"""Edits that the change of colours explains: nothing is matched and learned, and what is small is kept all the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from aggregate.stage import AggregateOptions, aggregate
from atlas.clip.clip import Clip
from atlas.clip.edits import Edit
from atlas.rendering.frames import Rendering
from atlas.rendering.settings import RenderSettings
from atlas.sample.files import write_clip, write_truth_fit
from atlas.sample.scene import make_sample
from atlas.storage.images import read_image, write_image
from edit.editors import EditOptions
from edit.stage import edit


def inverted(clip: Clip, name: str, folder: Path, images: dict[int, np.ndarray]) -> Edit:
    for index, image in images.items():
        write_image(folder / f"{index}.png", image)
    return edit(
        EditOptions(clip=clip.folder, name=name, layer="background", fit="truth", editor="images", images=folder, quiet=True)
    ).edit


def merged(clip: Clip, name: str, method: str) -> bytes:
    aggregate(AggregateOptions(clip=clip.folder, edit=name, method=method, quiet=True, device="cpu"))  # type: ignore[arg-type]
    return Edit.open(clip, name).atlas_path("background").read_bytes()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    sample = make_sample(frames=3, height=272, width=480)
    clip = write_clip(sample, tmp_path_factory.mktemp("explained") / "clip")
    write_truth_fit(sample, clip)
    return clip


def test_what_is_explained_needs_no_network(clip: Clip, tmp_path: Path) -> None:
    made = inverted(clip, "plain", tmp_path, {1: 255 - clip.frame(1)})
    assert merged(clip, "plain", "network") == merged(clip, "plain", "mean")
    edited, reference = (read_image(path) for path in (made.atlas_path("background"), made.reference_path("background")))
    assert (edited != reference).any(-1).mean() < 0.02  # nothing but single pixels goes through the atlas


def test_a_dot_goes_through_the_atlas(clip: Clip, tmp_path: Path) -> None:
    """3 pixels across, on a picture whose colours are explained: it is seen, about as large as it was painted."""
    right = 255 - clip.frame(0)
    keyframe, around, dot = right.copy(), np.s_[90:113, 370:393], np.s_[100:103, 380:383]
    keyframe[dot] = (255, 0, 0)
    inverted(clip, "dot", tmp_path, {0: keyframe})
    merged(clip, "dot", "network")
    _, result = next(iter(Rendering.open(clip.folder, "dot", RenderSettings(device="cpu")).frames()))
    red, *others = (result[dot][1, 1] / 255).tolist()
    assert red > 0.9 and max(others) < 0.2
    apart = np.abs(result.astype(float) - right)[around].max(-1)
    assert 5 <= (apart > 40).sum() <= 21
