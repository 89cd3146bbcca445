"""Kinds of atlas side by side: an image solved in closed form, a hash grid with a network, and an image pyramid.

All see the clip through the same fixed maps and light, and have the same seconds (processor time, as in
`scripts.benchmarks.architectures.mappings`). An experiment: it holds all maps in memory, about 9 bytes a pixel and layer.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from atlas.fitting import solve
from atlas.fitting.outputs import write_maps
from atlas.fitting.run import FitRun
from atlas.geometry.warp import sample
from atlas.maps.maps import Maps
from atlas.model.hash_grid import HashGrid, HashGridConfig
from atlas.system.progress import Progress
from atlas.video.sheet import spread

BATCH = 16_384
"""Pixels of a gradient step."""
SHOWN = 10
"""Frames that are compared with the clip in the end."""
RATES = {"hash": 1e-2, "pyramid": 1e-2}
"""Adam's learning rates; the hash texture's network has a fifth."""


class HashTexture(nn.Module):
    """uv (N, 2) -> colour (N, 3): hash-grid features and a small network, as Hashing-NVD's atlases."""

    def __init__(self, side: int, generator: torch.Generator) -> None:
        super().__init__()
        levels, base = 12, 16
        growth = max((side / base) ** (1 / (levels - 1)), 1.0)  # the finest level has a vertex for each texel
        self.grid = HashGrid(HashGridConfig(levels, 2, 18, base, growth), 2, generator)
        self.network = nn.Sequential(
            nn.Linear(self.grid.outputs, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3)
        )
        with torch.no_grad():
            for layer in self.network:
                if isinstance(layer, nn.Linear):
                    layer.weight.normal_(0, (2 / layer.in_features) ** 0.5, generator=generator)
                    layer.bias.zero_()

    def forward(self, uv: Tensor) -> Tensor:
        return self.network(self.grid((uv + 1) / 2)).sigmoid()

    def groups(self) -> list[dict[str, Any]]:
        """Parameters and learning rates, for Adam."""
        rate = RATES["hash"]
        return [{"params": [self.grid.params], "lr": rate}, {"params": list(self.network.parameters()), "lr": rate / 5}]


class PyramidTexture(nn.Module):
    """uv (N, 2) -> colour (N, 3): the sum of images of halving sides, so that steps reach coarse and fine alike."""

    def __init__(self, side: int) -> None:
        super().__init__()
        sides = [side]
        while sides[-1] > 8:
            sides.append(-(-sides[-1] // 2))
        self.images = nn.ParameterList(torch.zeros(n, n, 3) for n in sides)

    def forward(self, uv: Tensor) -> Tensor:
        return 0.5 + torch.stack([sample(image, uv) for image in self.images]).sum(0)

    def groups(self) -> list[dict[str, Any]]:
        """Parameters and learning rates, for Adam."""
        return [{"params": list(self.parameters()), "lr": RATES["pyramid"]}]


class SolvedTexture(nn.Module):
    """The model's own atlas."""

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        self.image = image

    def forward(self, uv: Tensor) -> Tensor:
        return sample(self.image, uv)


class Pixels:
    """All pixels of a clip with what each layer's maps say of them."""

    def __init__(self, run: FitRun, maps: Maps) -> None:
        assert run.model is not None
        self.model, self.colours = run.model, run.data.colours
        frames = range(maps.frames)
        self.uv = [np.stack([maps.uv(layer, t).astype(np.float32) for t in frames]) for layer in maps.layers]
        self.opacity = [
            np.stack([(maps.opacity(layer, t) * 255).round().astype(np.uint8) for t in frames]) for layer in maps.layers
        ]

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A step's pixels: frame, row, column."""
        t, y, x = (rng.integers(0, n, BATCH) for n in self.colours.shape[:3])
        return t, y, x

    def colour(self, where: tuple[Any, ...]) -> Tensor:
        """True colours (N, 3) in [0, 1] of the pixels that an index into the frames picks."""
        return torch.from_numpy(np.array(self.colours[where])).reshape(-1, 3).float() / 255

    def predicted(self, textures: list[nn.Module], where: tuple[Any, ...], light: list[Tensor]) -> Tensor:  # (n, 3)
        """The composite at some pixels; textures are asked where their layer shows."""
        result = torch.zeros(light[0].shape)
        for layer, texture in enumerate(textures):
            opacity = torch.from_numpy(self.opacity[layer][where]).reshape(-1).float() / 255
            chosen = opacity.nonzero()[:, 0]
            uv = torch.from_numpy(self.uv[layer][where]).reshape(-1, 2)[chosen]
            seen = texture(uv) * light[layer][chosen] * opacity[chosen, None]
            result = result.index_add(0, chosen, seen)
        return result

    def light_of(self, t: np.ndarray, y: np.ndarray, x: np.ndarray) -> list[Tensor]:
        """Each layer's gain at lone pixels."""
        frames, height, width = self.colours.shape[:3]
        half = max(height, width) / 2
        columns = [(x + 0.5 - width / 2) / half, (y + 0.5 - height / 2) / half, 2 * t / max(frames - 1, 1) - 1]
        xyt = torch.from_numpy(np.stack(columns, -1).astype(np.float32))
        return [light(xyt).detach() for light in self.model.lights]

    @torch.no_grad()
    def psnr(self, textures: list[nn.Module]) -> float:
        """Mean over some frames."""
        size = self.colours.shape[1:3]
        scores = []
        for t in spread(len(self.colours), SHOWN):
            light = [solve.light_at(self.model, layer, t, size).reshape(3, -1).T for layer in range(len(textures))]
            scores.append(solve.frame_psnr(self.predicted(textures, (t,), light), self.colour((t,))))
        return float(np.mean(scores))


def compare_textures(run: FitRun, seconds: float, folder: Path, seed: int, *, quiet: bool) -> dict[str, dict[str, float]]:
    """PSNR and steps (or passes) of each kind of atlas on the maps of `run`; `folder` holds the maps meanwhile."""
    assert run.model is not None
    write_maps(run.model, run.data, folder)
    maps = Maps(folder)
    pixels = Pixels(run, maps)
    sides = [run.model.atlas(layer).shape[0] for layer in range(len(maps.layers))]
    generator = torch.Generator().manual_seed(seed)
    learned: dict[str, list[nn.Module]] = {
        "hash": [HashTexture(side, generator) for side in sides],
        "pyramid": [PyramidTexture(side) for side in sides],
    }
    frames = solve.FrameSet(lambda t: run.data.colours[t], maps, run.model, torch.device("cpu"))
    results = {}
    for name in Progress(["solved", *learned], "atlases", unit="fit", quiet=quiet):
        if name == "solved":
            steps = _solve(frames, seconds)
            textures: list[nn.Module] = [SolvedTexture(run.model.atlas(layer)) for layer in range(len(sides))]
        else:
            textures = learned[name]
            steps = _learn(textures, pixels, seconds, np.random.default_rng(seed))
        results[name] = {"steps": steps, "psnr": pixels.psnr(textures)}
    return results


def _solve(frames: solve.FrameSet, seconds: float) -> int:
    """Closed-form passes from nothing, as many as end in time; one at least."""
    began = time.process_time()
    solve.start_atlases(frames)
    passes, longest = 1, time.process_time() - began
    while time.process_time() - began + longest < seconds:
        before = time.process_time()
        solve.improve_atlases(frames)
        passes, longest = passes + 1, max(longest, time.process_time() - before)
    return passes


def _learn(textures: list[nn.Module], pixels: Pixels, seconds: float, rng: np.random.Generator) -> int:
    """Adam on random pixels; its rate falls with the time that is spent."""
    groups = [group for texture in textures for group in texture.groups()]  # type: ignore[operator]
    rates = [group["lr"] for group in groups]
    optimiser = torch.optim.Adam(groups, betas=(0.9, 0.99), fused=True)
    began, steps = time.process_time(), 0
    while (spent := time.process_time() - began) < seconds:
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * (1 - 0.95 * spent / seconds)
        where = pixels.draw(rng)
        loss = (pixels.predicted(textures, where, pixels.light_of(*where)) - pixels.colour(where)).square().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        steps += 1
    return steps


def table(results: dict[str, dict[str, float]]) -> str:
    """The figures of `compare_textures` as text."""
    rows = [f"| {name} | {row['steps']:.0f} | {row['psnr']:.2f} |" for name, row in results.items()]
    return "\n".join(["| atlas | steps or passes | PSNR |", "|---|---:|---:|", *rows])
