"""The comparison of architectures: every row is there, the start is kept, and what it compares can learn."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.storage.stamps import read_json
from scripts.benchmarks.architectures.comparison import CompareOptions, compare
from scripts.benchmarks.architectures.textures import HashTexture, PyramidTexture


def test_all_architectures_are_measured(fresh_clip: Clip, tmp_path: Path) -> None:
    options = CompareOptions(
        clip=fresh_clip.folder,
        seconds=0.1,
        texture_seconds=0.1,
        truth=fresh_clip.fit_folder("truth"),
        json=tmp_path / "figures.json",
        quiet=True,
    )
    tables = compare(options)
    figures = read_json(tmp_path / "figures.json")
    mappings = figures["mappings"]
    assert list(mappings) == ["start", "network", "grids", "hash"]
    assert mappings["start"]["steps"] == 0 and all(mappings[name]["steps"] > 0 for name in ("network", "grids", "hash"))
    for row in mappings.values():
        assert row["psnr"] > 20
        for layer in fresh_clip.layers:
            assert row["layers"][layer].keys() == {"psnr", "folded", "flow_median", "flow_p90", "truth_median", "truth_p90"}
    assert list(figures["atlases"]) == ["solved", "hash", "pyramid"]
    assert figures["atlases"]["solved"]["psnr"] > 20
    for title in ("| whole frame |", "| foreground |", "| background |", "| atlas |"):
        assert title in tables

    state = fresh_clip.folder / "compare" / "start" / "state.safetensors"
    before = state.stat().st_mtime_ns
    options.architectures, options.texture_seconds, options.truth = "start", 0, None
    assert "truth" not in compare(options)
    assert state.stat().st_mtime_ns == before, "the start is used again"


def test_wrong_requests(fresh_clip: Clip) -> None:
    with pytest.raises(UserError, match="no architecture 'wavelet'"):
        compare(CompareOptions(clip=fresh_clip.folder, architectures="start,wavelet"))
    with pytest.raises(UserError, match="--seconds must be positive"):
        compare(CompareOptions(clip=fresh_clip.folder, seconds=0))
    assert not (fresh_clip.folder / "compare").exists()


@pytest.mark.parametrize("kind", ["hash", "pyramid"])
def test_textures_can_learn_an_image(kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    texture = HashTexture(32, generator) if kind == "hash" else PyramidTexture(32)
    uv = torch.rand(1000, 2, generator=generator) * 2 - 1
    wanted = torch.stack([uv[:, 0].abs(), (uv[:, 1] * 6).sin() / 2 + 0.5, (uv[:, 0] > 0).float()], -1)
    optimiser = torch.optim.Adam(texture.groups(), betas=(0.9, 0.99))
    for _ in range(50):
        loss = (texture(uv) - wanted).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 4e-3
