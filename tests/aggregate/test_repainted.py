"""What somebody repaints in one keyframe comes back on all frames, however many keyframes say otherwise."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from aggregate.repainted import Claims, repainted_pixels
from aggregate.stage import AggregateOptions, aggregate
from atlas.clip.clip import Clip
from atlas.maps.maps import Maps
from atlas.rendering.stage import RenderOptions, render
from atlas.storage.images import read_image, write_image
from edit.editors import EditOptions
from edit.stage import edit

FRAMES = [0, 3, 5, 8, 11]
GREEN = (0, 255, 0, 255)


def request(clip: Clip, **changes: object) -> EditOptions:
    given = {"layer": "background", "editor": "filter", "filter": "recolour:color=red", "keyframes": "0,3,5,8,11"}
    return EditOptions(clip=clip.folder, name="test", fit="truth", quiet=True, **(given | changes))  # type: ignore[arg-type]


def merged(clip: Clip, method: str) -> str:
    few = {"merge_steps": 100, "colours": "kept"}
    return str(aggregate(AggregateOptions(clip=clip.folder, edit="test", method=method, quiet=True, device="cpu", **few)))  # type: ignore[arg-type]


def test_only_what_changed_within_the_layer_counts() -> None:
    made = np.full((20, 30, 4), 100, np.uint8)
    made[:, :10, 3] = 0
    flattened = made.copy()
    flattened[..., 3] = 255
    flattened[:, :10, :3] = 7  # a painter's idea of what is transparent
    assert not repainted_pixels(flattened, made).any()
    assert not repainted_pixels(flattened.astype(np.uint16) * 257, made).any()  # saved with 16 bits
    painted = flattened.copy()
    painted[8:12, 20:24, 1] = 130
    found = repainted_pixels(painted, made) > 0
    assert found[8:12, 20:24].all() and found.sum() == 8 * 8
    erased = made.copy()
    erased[5, 25, 3] = 0
    assert repainted_pixels(erased, made)[5, 25] == 1


def test_claims_weigh_as_comparing_all_with_all_does() -> None:
    generator = torch.Generator().manual_seed(0)
    repainted = (torch.rand(6, 30, 40, generator=generator) * 1.5 - 0.5).clamp(0, 1)
    weights = torch.rand(6, 30, 40, generator=generator) * 1.2
    claims = Claims((30, 40))
    for number in (4, 1, 0, 5, 3):  # number 2 was not repainted
        claims.add(number, repainted[number], weights[number])
    repainted[2] = 0
    every = repainted * weights.clamp(max=1)
    for number in range(6):
        others = torch.cat([every[:number], every[number + 1 :]]).amax(0)
        assert torch.equal(claims.left_of(number, repainted[number]), 1 - (1 - 0.002) * others * (1 - repainted[number]))
    assert torch.equal(Claims((30, 40)).left_of(0, repainted[2]), torch.ones(30, 40))


@pytest.mark.parametrize("method", ["network", "mean", "median"])
def test_a_repainted_keyframe_is_not_outvoted(fresh_clip: Clip, method: str) -> None:
    entry = edit(request(fresh_clip)).edit
    assert "counts more" not in merged(fresh_clip, method)
    path = entry.keyframe_path("background", 5)
    keyframe = read_image(path, mode="rgba")
    spot = (slice(8, 22), slice(8, 26))
    keyframe[spot] = GREEN
    write_image(path, keyframe)
    assert "what was repainted in keyframe 5 counts more there" in merged(fresh_clip, method)
    render(RenderOptions(clip=fresh_clip.folder, edit="test", format="png", quiet=True, device="cpu"))
    maps = Maps(fresh_clip.fit_folder("truth"))
    centre = maps.uv("background", 5)[spot].reshape(-1, 2).mean(0)
    seen = 0
    for index in range(fresh_clip.frames):
        away = np.linalg.norm(maps.uv("background", index) - centre, axis=-1)
        place = np.unravel_index(away.argmin(), away.shape)
        if away[place] > 0.01 or maps.opacity("background", index)[place] < 1:
            continue
        seen += 1
        red, green, blue = read_image(entry.folder / "frames" / f"{index:05d}.png")[place].astype(int)
        assert green > 150 and green > 2 * max(red, blue), index
    assert seen > 6


def test_a_new_request_has_nothing_repainted(fresh_clip: Clip) -> None:
    entry = edit(request(fresh_clip)).edit
    keyframe = read_image(entry.keyframe_path("background", 5), mode="rgba")
    keyframe[8:22, 8:26] = GREEN
    write_image(entry.keyframe_path("background", 5), keyframe)
    assert "was repainted by hand: kept as" in str(edit(request(fresh_clip, filter="grey")))
    assert "counts more" not in merged(fresh_clip, "mean")
    assert sorted(int(path.stem) for path in entry.made_folder("background").glob("*.png")) == FRAMES
