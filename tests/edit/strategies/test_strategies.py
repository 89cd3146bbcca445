"""What each strategy starts from; and propagation itself, without weights, against the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from atlas.clip.clip import Clip
from atlas.maps.coverage import Visibility
from atlas.maps.maps import Maps
from atlas.sample.scene import Sample
from edit.diffusion.crop import Crop
from edit.diffusion.denoise import Start
from edit.editors.prompt import DiffusionEditor
from edit.editors.protocol import Keyframe
from edit.request.keyframes import outwards
from edit.request.options import EditOptions
from edit.strategies import STRATEGIES
from edit.strategies.accumulated import Accumulated
from edit.strategies.propagate import known_cells
from edit.strategies.protocol import Propagated, View

CELL = 4


def view(index: int = 3, position: int = 1, **changes: Any) -> View:
    coverage = np.zeros((32, 32), np.float32)
    coverage[:, :16] = 1
    known = Propagated(np.full((32, 32, 3), 0.7, np.float32), coverage, np.ones((32, 32), np.float32))
    given: dict[str, Any] = {"seed": 5, "shape": (4, 8, 8), "first_shape": (4, 8, 8), "strength": 0.8, "hold": 0.25}
    given |= {
        "encode": lambda image, generator: torch.full((1, 4, 8, 8), float(image.mean())),
        "previous": lambda: np.full((16, 40, 3), 0.2, np.float32),
        "propagated": lambda: known,
    }
    return View(index=index, position=position, **(given | changes))


def test_the_first_keyframe_is_the_same_under_all() -> None:
    starts = [STRATEGIES[name]().start(view(position=0)) for name in STRATEGIES]
    expected = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    assert all(torch.equal(start.noise, expected) and start.known is None for start in starts)


def test_random_draws_anew_and_fixed_does_not() -> None:
    randoms = [STRATEGIES["random"]().start(view(index)).noise for index in (3, 4, 3)]
    assert not torch.equal(randoms[0], randoms[1]) and torch.equal(randoms[0], randoms[2])
    assert not torch.equal(randoms[0], STRATEGIES["random"]().start(view(3, seed=6)).noise)
    large = STRATEGIES["random"]().start(view(3, seed=2**64 - 1)).noise
    assert not torch.equal(large, STRATEGIES["random"]().start(view(3, seed=2**64 - 2)).noise)
    fixed = STRATEGIES["fixed"]()
    assert torch.equal(fixed.start(view(3)).noise, fixed.start(view(4, position=0)).noise)
    larger = fixed.start(view(3, shape=(4, 8, 12))).noise
    assert torch.equal(larger[..., :8], fixed.start(view(3)).noise) and torch.equal(larger[..., 8:], larger[..., :4])


def test_sequential_starts_from_the_one_before() -> None:
    start = STRATEGIES["sequential"]().start(view())
    assert start.known is not None and start.mask is None and start.strength == 0.8
    assert float(start.known.mean()) == pytest.approx(0.2)


def test_propagate_knows_what_was_seen() -> None:
    start = STRATEGIES["propagate"]().start(view())
    assert start.known is not None and start.mask is not None and (start.strength, start.hold) == (0.8, 0.25)
    assert start.mask[..., :4].all() and not start.mask[..., 4:].any()
    assert float(start.known.mean()) == pytest.approx(0.7)


@pytest.mark.parametrize("name", ["propagate", "sequential"])
def test_at_strength_1_it_is_random(name: str) -> None:
    start = STRATEGIES[name]().start(view(strength=1.0))
    assert start.known is None and torch.equal(start.noise, STRATEGIES["random"]().start(view()).noise)


def test_a_cell_is_known_where_most_of_the_layer_in_it_is() -> None:
    opacity, coverage = np.zeros((8, 16), np.float32), np.zeros((8, 16), np.float32)
    opacity[:, 6:] = 1  # a quarter of the first cell, all of the second
    coverage[:, 6:11] = 1  # all of the layer in the first cell, three eighths of it in the second
    assert known_cells(Propagated(np.zeros((8, 16, 3), np.float32), coverage, opacity), (1, 2)).flatten().tolist() == [
        True,
        False,
    ]


def test_keyframes_are_taken_from_the_best_outwards() -> None:
    counts = np.zeros((5, 8), np.uint16)
    for frame, texels in enumerate([(0, 1), (1, 2, 3), (3, 4, 5, 6), (5, 6, 7), (7,)]):
        counts[frame, list(texels)] = 1
    assert outwards([0, 1, 2, 3, 4], Visibility(counts)) == [2, 3, 4, 1, 0]


class Toy:
    """A model without weights: its latent is the picture itself, cell by cell, so that nothing is lost."""

    size, factor, channels = 128, CELL, 3 * CELL * CELL
    device, dtype = torch.device("cpu"), torch.float32

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        return self.channels, height // CELL, width // CELL

    def condition(self, *given: Any) -> None:
        pass

    def encode(self, image: np.ndarray, generator: torch.Generator) -> Tensor:
        return F.pixel_unshuffle(torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None], CELL)

    def decode(self, latents: Tensor) -> np.ndarray:
        return F.pixel_shuffle(latents, CELL)[0].permute(1, 2, 0).clamp(0, 1).numpy()

    def finish(self) -> None:
        pass


class ToySources:
    """What the editor asks for, with the toy in the place of weights."""

    device = torch.device("cpu")

    def model(self) -> Toy:
        return Toy()

    def controls(self, image: np.ndarray, own: Any) -> list[np.ndarray]:
        return []

    def image_prompt(self) -> None:
        return None

    def identity(self) -> dict[str, Any]:
        return {}

    def control_identity(self, index: int) -> None:
        return None


def textured(atlas: np.ndarray) -> np.ndarray:  # (N, N, 4) -> (N, N, 3)
    size = len(atlas)
    y, x = np.mgrid[:size, :size] / size
    waves = 0.4 + 0.3 * np.stack([np.sin(25 * x), np.cos(20 * y + 8 * x), np.sin(22 * (x - y))], -1)
    return (0.4 * atlas[..., :3] + 0.6 * waves).astype(np.float32)


@pytest.mark.parametrize(("layer", "first", "second"), [("foreground", 5, 0), ("background", 2, 9)])
def test_an_edit_moves_with_the_layer(
    sample: Sample, sample_clip: Clip, tmp_path: Path, layer: str, first: int, second: int
) -> None:
    """The denoiser returns its own start. The first keyframe is given the true edit; where that was seen the second one
    shows it at its own place, and noise elsewhere."""
    truth = np.clip(sample.render({layer: textured(sample.atlases[layer])}), 0, 1).astype(np.float32)
    maps = Maps(sample_clip.fit_folder("truth"))
    masks: list[Tensor] = []

    def returns_its_start(model: Toy, start: Start, **_: Any) -> Tensor:
        if start.known is None:
            crop = Crop.around(maps.opacity(layer, first), Toy.size)
            assert crop is not None
            return model.encode(crop.cut(truth[first]), start.generator)
        mask = torch.ones_like(start.noise[:, :1], dtype=torch.bool) if start.mask is None else start.mask
        masks.append(mask)
        return torch.where(mask, start.known, start.noise)

    options = EditOptions(clip=sample_clip.folder, name="test", layer=layer, editor="diffusion", prompt="a toy", quiet=True)
    order = [first, second]
    editor = DiffusionEditor(options, sample_clip, maps, ToySources(), order, tmp_path, denoise=returns_its_start)  # type: ignore[arg-type]
    frames = [sample_clip.frame(index).astype(np.float32) / 255 for index in order]
    edited = [editor.edit(Keyframe(i, f, maps.opacity(layer, i))) for i, f in zip(order, frames, strict=True)]

    crop = Crop.around(maps.opacity(layer, second), Toy.size)
    assert crop is not None
    cells = masks[0][0, 0].numpy().astype(np.float32)
    known = np.zeros(frames[1].shape[:2], np.float32)
    known[crop.box] = np.floor(_shrunk(np.kron(cells, np.ones((CELL, CELL), np.float32)), crop) + 1e-3)
    inside = maps.opacity(layer, second) > 0.99
    seen, unseen = inside & (known == 1), inside & (known == 0)
    error = ((edited[1][..., :3] - truth[second]) ** 2).mean(-1)
    decibels = -10 * np.log10(error[seen].mean())
    assert seen.sum() > 0.4 * inside.sum()
    assert decibels >= 30
    # What it would be without moving: the first keyframe's picture at the same place.
    still = ((edited[0][..., :3] - truth[second]) ** 2).mean(-1)
    assert -10 * np.log10(still[seen].mean()) < decibels - 8
    if layer == "background":
        assert unseen.sum() > 50 and -10 * np.log10(error[unseen].mean()) < 15


def _shrunk(image: np.ndarray, crop: Crop) -> np.ndarray:
    import cv2

    return cv2.resize(image, (crop.right - crop.left, crop.bottom - crop.top), interpolation=cv2.INTER_AREA)


def test_what_is_not_known_is_filled_smoothly_and_never_black(sample: Sample, sample_clip: Clip) -> None:
    maps = Maps(sample_clip.fit_folder("truth"))
    accumulated = Accumulated(maps, "background")
    keyframe = np.full((64, 96, 4), 0.8, np.float32)
    keyframe[..., 3] = maps.opacity("background", 0)
    accumulated.add(0, keyframe)
    image, coverage = accumulated.view(11)
    assert coverage.min() == 0 and coverage.max() > 0.99
    assert image[coverage == 0].min() > 0.4
    assert (coverage[maps.opacity("background", 11) == 0] == 0).all()


def test_all_earlier_keyframes_count(sample_clip: Clip) -> None:
    maps = Maps(sample_clip.fit_folder("truth"))
    accumulated, shares = Accumulated(maps, "background"), []
    for index, grey in ((0, 0.3), (6, 0.6)):
        keyframe = np.full((64, 96, 4), grey, np.float32) * maps.light("background", index)[..., :1].clip(0.05)
        keyframe[..., 3] = maps.opacity("background", index)
        accumulated.add(index, keyframe)
        shares.append(float((accumulated.view(8)[1] > 0.5).mean()))
    assert shares[1] > shares[0] + 0.05
