"""Two coats: what noise and agreement do to *choices*, which no deflickering of finished frames can undo.

A closed-form denoiser whose every place may look one of two ways stands for a diffusion model. The clip with its true maps, the
noise, the loop, the agreement and the recipe are the real ones; latents are pixels, as there is no autoencoder.

Of z = a m + s n, with m the coat A or B, and coats alike within a window G, the posterior of A at a place p is

    w(p) = sigmoid(sum_q G(q - p) (|z - a m_B|^2 - |z - a m_A|^2) / (2 s^2));     x0 = w m_A + (1 - w) m_B
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from atlas.clip.clip import WHOLE_FRAME
from atlas.geometry.rasterise import inverse_map
from atlas.maps.maps import Maps
from atlas.sample.files import write_clip, write_truth_fit
from atlas.sample.scene import Sample as Footage
from atlas.sample.scene import make_sample
from atlas.storage.stack import FrameStack
from edit.all_frames.agreement import Agreement, deflickered
from edit.all_frames.begin import begin_sampling
from edit.all_frames.scene import Scene
from edit.all_frames.ways import ways_of_sample
from edit.diffusion.model import StableDiffusion
from edit.recipes.presets import DEFAULT, PRESETS
from edit.recipes.recipe import Noise, Sample, steps_at
from edit.sampling.clean import mixture
from edit.sampling.loop import Begin, denoise_frames

pytestmark = pytest.mark.slow
diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed: pip install -e .[diffusion]")

FRAMES, HEIGHT, WIDTH = 6, 64, 128
SIGMA = 2.5  # pixels: a window of about 5
ORANGE, BLUE, SHARE = (0.9, 0.45, 0.2), (0.2, 0.45, 0.9), 0.55
SEED = 0
NOISES: tuple[Noise, Noise] = ("atlas", "fixed")
RECIPE, DIFFSYNTH = (cast(Sample, PRESETS[name].stages[0]) for name in (DEFAULT, "diffsynth"))
WAYS = ways_of_sample(RECIPE)


class Pixels:
    """What stands for the model: latents are pixels from -1 to 1."""

    device, dtype = torch.device("cpu"), torch.float32

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        return 3, height, width

    def decode(self, latents: Tensor) -> np.ndarray:  # (1, 3, H, W) -> (H, W, 3)
        return ((latents[0].permute(1, 2, 0) + 1) / 2).clamp(0, 1).numpy()

    def encode(self, image: np.ndarray, generator: torch.Generator | None) -> Tensor:  # (H, W, 3) -> (1, 3, H, W)
        return torch.from_numpy(image).permute(2, 0, 1)[None] * 2 - 1


@dataclass
class Result:
    """How a run came out."""

    same: float
    """Share of pairs of views of one texel that chose the same coat."""
    nearest: float
    """dB to the nearer coat: what lies between both is a ghost."""


class TwoCoats:
    """The clip in two tints, and frames sampled from them."""

    def __init__(self, footage: Footage, folder: Path) -> None:
        clip = write_clip(footage, folder / "clip")
        self.scene = Scene(clip, WHOLE_FRAME, Maps(write_truth_fit(footage, clip)), lambda: HEIGHT)
        assert self.scene.shape == (FRAMES, HEIGHT, WIDTH, 3)
        self.folder, self.model = folder, Pixels()
        self._begun: dict[Noise, Begin] = {}
        self.coats = [np.clip(footage.render(_tinted(footage, colour)), 0, 1) for colour in (ORANGE, BLUE)]
        self.latents = [torch.cat([self.model.encode(frame, None) for frame in coat]) for coat in self.coats]

    def begin(self, noise: Noise) -> Begin:
        """The noise of all frames, drawn once: that of the layers takes longer than sampling does."""
        if noise not in self._begun:
            sample, model = replace(RECIPE, noise=noise), cast(StableDiffusion, self.model)
            self._begun[noise] = begin_sampling(model, self.scene, sample, SEED, None)
        return self._begun[noise]

    def sampled(self, noise: Noise, agree_at: str = "") -> list[np.ndarray]:
        """Sample frames as the default recipe does, but for the noise and the steps at which they agree."""
        scheduler = diffusers.DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
        )
        folder, model = self.folder, cast(StableDiffusion, self.model)
        latents = denoise_frames(
            scheduler,
            self.begin(noise),
            partial(self.predict, scheduler),
            steps=RECIPE.steps,
            agree=Agreement(model, self.scene, WAYS, RECIPE.agree_form, folder, folder / "steps"),
            agree_at=lambda times: steps_at(agree_at, times),
        )
        return [self.model.decode(latent[None]) for latent in latents]

    def predict(self, scheduler: Any, latents: Tensor, index: int) -> Tensor:  # (F, 3, H, W) -> the same
        """Predict the noise by the posterior of both coats."""
        a, s = mixture(scheduler, index)
        one, other = self.latents
        gathered = ((latents - a * other) ** 2 - (latents - a * one) ** 2).sum(1).numpy() / (2 * s**2)  # (F, H, W)
        side = np.arange(-8, 9)
        window = np.exp(-(side**2) / (2 * SIGMA**2))
        ratio = np.stack([cv2.sepFilter2D(frame, -1, window, window, borderType=cv2.BORDER_CONSTANT) for frame in gathered])
        weight = torch.sigmoid(torch.from_numpy(ratio))[:, None]
        return (latents - a * (weight * one + (1 - weight) * other)) / s

    def agreed(self, frames: list[np.ndarray]) -> list[np.ndarray]:
        """Make finished frames agree, by what the recipe does it with in the loop."""
        names = (self.folder / "before.bin", self.folder / "after.bin")
        with FrameStack(names[0], self.scene.shape) as before, FrameStack(names[1], self.scene.shape) as result:
            for index, frame in enumerate(frames):
                before[index] = frame
            deflickered(WAYS, before, self.scene, result, self.folder, self.model.device, quiet=True)
            return list(result)

    def measured(self, frames: list[np.ndarray]) -> Result:
        """How the frames chose."""
        errors = np.stack([((np.stack(frames) - coat) ** 2).mean(-1) for coat in self.coats])  # (2, F, H, W)
        return Result(self.alike(errors.argmin(0)), float(-10 * np.log10(errors.min(0).mean() + 1e-12)))

    def alike(self, choices: np.ndarray) -> float:  # (F, H, W), 0 or 1
        """Share of pairs of views of one texel that chose alike, over all texels of about a pixel."""
        alike = pairs = 0.0
        for layer in self.scene.maps.layers:
            size = tuple(round(side / 1.35) for side in self.scene.maps.atlas_size(layer))
            votes = torch.zeros(size[0] * size[1], 2)  # for each coat
            for index, choice in enumerate(choices):
                opacity = torch.from_numpy(self.scene.maps.opacity(layer, index))
                inverse = inverse_map(torch.from_numpy(self.scene.maps.uv(layer, index)), opacity, size)  # type: ignore[arg-type]
                shown = torch.stack([opacity, torch.from_numpy(choice.astype(np.float32))], -1)
                seen = inverse.look_up(shown, "nearest")
                clear = seen[:, 0] > 0.5
                votes.index_put_((inverse.texel[clear], seen[clear, 1].long()), torch.ones(int(clear.sum())), accumulate=True)
            alike += float((votes * (votes - 1)).sum())
            pairs += float((votes.sum(1) * (votes.sum(1) - 1)).sum())
        return alike / pairs


def _tinted(footage: Footage, colour: tuple[float, float, float]) -> dict[str, np.ndarray]:
    """All atlases, mixed with a colour."""
    return {layer: atlas[..., :3] * (1 - SHARE) + SHARE * np.float32(colour) for layer, atlas in footage.atlases.items()}


@pytest.fixture(scope="module")
def coats(tmp_path_factory: pytest.TempPathFactory) -> TwoCoats:
    return TwoCoats(make_sample(frames=FRAMES, height=HEIGHT, width=WIDTH), tmp_path_factory.mktemp("coats"))


def test_the_measure_itself(coats: TwoCoats) -> None:
    one, other = coats.coats
    assert coats.measured(list(one)).same == 1 and coats.measured(list(one)).nearest > 60
    chance = np.random.default_rng(0).integers(0, 2, (FRAMES, HEIGHT, WIDTH, 1))
    assert coats.measured(list(np.where(chance, one, other))).same == pytest.approx(0.5, abs=0.01)
    halves = coats.measured(list((one + other) / 2))
    assert halves.nearest == pytest.approx(-10 * np.log10(((one - other) ** 2).mean() / 4), abs=0.1)


def test_the_denoiser_knows_a_coat_once_there_is_little_noise(coats: TwoCoats) -> None:
    scheduler = diffusers.DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    scheduler.set_timesteps(20)
    noise = coats.begin("own").noise
    for index, share in ((19, 0.99), (0, 0.1)):  # at the first step it is guessing between both
        a, s = mixture(scheduler, index)
        latents = a * coats.latents[0] + s * noise
        estimate = (latents - s * coats.predict(scheduler, latents, index)) / a
        towards = (coats.latents[1] - estimate).norm() / (coats.latents[1] - coats.latents[0]).norm()
        assert towards > share if index == 19 else share < towards < 0.9


def test_own_noise_is_chance(coats: TwoCoats) -> None:
    assert 0.45 <= coats.measured(coats.sampled("own")).same <= 0.55


def test_noise_that_moves_with_the_layers_makes_frames_choose_alike(coats: TwoCoats) -> None:
    atlas, fixed = (coats.measured(coats.sampled(noise)).same for noise in NOISES)
    assert atlas >= 0.78 and atlas >= fixed + 0.15


def test_the_default_recipe_chooses_alike_and_leaves_no_ghosts(coats: TwoCoats) -> None:
    found = coats.measured(coats.sampled(RECIPE.noise, RECIPE.agree_at))
    assert found.same >= 0.94 and found.nearest >= 32


def test_after_the_fact_it_is_too_late(coats: TwoCoats) -> None:
    noises: tuple[Noise, Noise] = ("own", "atlas")
    for noise in noises:
        sampled = coats.sampled(noise)
        assert coats.measured(coats.agreed(sampled)).nearest <= 27 <= coats.measured(sampled).nearest - 5


def test_agreement_at_a_few_steps_hardly_helps(coats: TwoCoats) -> None:
    """In between frames choose for themselves again."""
    assert coats.measured(coats.sampled("own", DIFFSYNTH.agree_at)).same <= 0.7
