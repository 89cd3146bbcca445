"""The sample clip: a synthetic clip from real photographs whose layers, mappings, opacities and light are known exactly.

Somebody in a space suit walks past a motorcycle in a garage, filmed by a hand-held camera; with two objects a cup of
coffee drifts through the air in front. Every mapping is a formula from the frame to the atlas, so nothing is inverted:

    frame = sum over layers of  visible opacity * light * atlas(uv)
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from atlas.clip.clip import BACKGROUND
from atlas.errors import UserError
from atlas.geometry.warp import pixel_grid, sample, splat, visible_opacities
from atlas.sample.photographs import ASTRONAUT, COFFEE, GARAGE, CutOut, cut_out, photograph
from atlas.storage.images import to_uint8

_TAU = 2 * np.pi
_LIGHT_CELLS = 32  # on the longer side
_MARGIN = 0.06  # around a cut-out, of its size: bilinear sampling must not meet the border
_BACKGROUND_DENSITY = 2.13  # texels across the background atlas for each pixel of the longer side of a frame
_EXPOSURE = 0.83
_OBJECT_DENSITY = 1.35  # texels of an object's atlas for each pixel where the object is largest


@dataclass
class Sample:
    """A clip and the truth about it. Layers are named front to back, `background` last."""

    layers: list[str]
    frames: np.ndarray
    """(T, H, W, 3) uint8 RGB."""
    opacities: dict[str, np.ndarray]
    """What one sees of each layer, (T, H, W) float32; the layers sum to 1."""
    uvs: dict[str, np.ndarray]
    """Atlas coordinates of each pixel's centre, (T, H, W, 2) float32; beyond [-1, 1] only where a layer is not seen."""
    lights: dict[str, np.ndarray]
    """Gain that turns atlas colours into frame colours, (T, H, W, 3) float32."""
    light_grids: dict[str, np.ndarray]
    """The coarse grids (T, h, w, 3) float16 that `lights` is interpolated from."""
    atlases: dict[str, np.ndarray]
    """True layers, (N, N, 4) float32 in steps of 1/255: colour (known everywhere), alpha = where ever seen."""

    @property
    def objects(self) -> list[str]:
        """The layers with masks, front to back."""
        return self.layers[:-1]

    def masks(self, layer: str) -> np.ndarray:
        """Where the layer makes up most of a pixel, (T, H, W) uint8, 0 or 255: what a careful hand would have drawn."""
        return np.where(self.opacities[layer] > 0.5, 255, 0).astype(np.uint8)

    def render(self, edited: dict[str, np.ndarray] | None = None) -> np.ndarray:
        """The clip with other atlases, (T, H, W, 3) float32, not clamped: what a perfect edit would look like.

        edited: layer -> (N, N, 3 or 4) float, any N; layers left out keep their true atlas.
        """
        atlases = self.atlases | (edited or {})
        result = np.zeros(self.frames.shape, np.float32)
        for layer in self.layers:
            colours = torch.from_numpy(np.ascontiguousarray(atlases[layer][:, :, :3], np.float32))
            for i in range(len(result)):
                seen = sample(colours, torch.from_numpy(self.uvs[layer][i])).numpy()
                result[i] += self.opacities[layer][i][:, :, None] * self.lights[layer][i] * seen
        return result


def make_sample(frames: int = 32, height: int = 272, width: int = 480, objects: int = 1, seed: int = 0) -> Sample:
    """Build the clip. The seed moves the camera's shake, the walk and the light; the same seed gives the same bytes.

    Raises UserError where a number is out of range.
    """
    if frames < 2 or min(height, width) < 16 or objects not in (1, 2) or seed < 0:
        raise UserError("the sample needs at least 2 frames, sides of at least 16 pixels, 1 or 2 objects and a seed from 0 up")
    motion = _Motion(frames, height, width, np.random.default_rng(seed))
    subjects = [("foreground", ASTRONAUT)] if objects == 1 else [("foreground-1", COFFEE), ("foreground-2", ASTRONAUT)]
    layers = [name for name, _ in subjects] + [BACKGROUND]

    uvs, opacities, atlases, grids = {}, [], {}, {}
    for name, subject in subjects:
        uvs[name] = motion.drift() if subject is COFFEE else motion.walk()
        colour, matte = _object_atlas(subject, motion.object_texels(uvs[name]))
        atlases[name] = colour
        soft = torch.from_numpy(matte[:, :, None])
        opacities.append(torch.stack([_matte_at(soft, uv) for uv in uvs[name]]))
        grids[name] = motion.light(strength=0.16)
    uvs[BACKGROUND] = motion.camera()
    atlases[BACKGROUND] = _background_atlas(round(_BACKGROUND_DENSITY * max(height, width)))
    grids[BACKGROUND] = motion.light(strength=0.13)

    visible = visible_opacities(torch.stack(opacities)).numpy()
    result = Sample(
        layers=layers,
        frames=np.zeros((frames, height, width, 3), np.uint8),
        opacities=dict(zip(layers, visible, strict=True)),
        uvs=uvs,
        lights={layer: _enlarged(grid, height, width) for layer, grid in grids.items()},
        light_grids=grids,
        atlases={},
    )
    for layer in layers:
        alpha = _ever_seen(uvs[layer], result.opacities[layer], len(atlases[layer]))
        result.atlases[layer] = to_uint8(np.dstack([atlases[layer], alpha])).astype(np.float32) / 255
    result.frames = to_uint8(result.render())
    return result


def _matte_at(matte: torch.Tensor, uv: np.ndarray) -> torch.Tensor:  # (N, N, 1), (H, W, 2) -> (H, W)
    return sample(matte, torch.from_numpy(uv))[..., 0] * torch.from_numpy((np.abs(uv) <= 1).all(-1))


def _enlarged(grid: np.ndarray, height: int, width: int) -> np.ndarray:  # (T, h, w, 3) -> (T, H, W, 3) float32
    # As maps read back from disk do it, so that the truth is the same there to the last bit.
    return np.stack([cv2.resize(g.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR) for g in grid])


def _background_atlas(size: int) -> np.ndarray:  # (N, N, 3)
    """The garage across the square's width; mirrored above and below, so that no view ever meets an edge."""
    picture = _exposed(photograph(GARAGE))
    height = round(size * picture.shape[0] / picture.shape[1])
    picture = _resized(picture, height, size)
    above = (size - height) // 2
    return np.pad(picture, ((above, size - height - above), (0, 0), (0, 0)), mode="reflect")


def _object_atlas(subject: CutOut, size: int) -> tuple[np.ndarray, np.ndarray]:  # (N, N, 3), matte (N, N)
    """A cut-out in the middle of its square (the foot of a portrait stays at the photograph's edge)."""
    colour, matte = cut_out(subject)
    colour = _exposed(colour)
    height, width = matte.shape
    side = round(max(height, width) * (1 + 2 * _MARGIN))
    left, above = (side - width) // 2, (side - height) // 2
    frame = ((above, side - height - above), (left, side - width - left))
    colour = np.pad(colour, (*frame, (0, 0)), mode="edge")
    matte = np.pad(matte, frame, mode="edge")  # where the photograph cuts the object, it goes on
    return _resized(colour, size, size), np.clip(_resized(matte, size, size), 0, 1)


def _resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Area-averaged to no more detail than frames can show, then to the wanted size."""
    limit = max(height, width) / _OBJECT_DENSITY / max(image.shape[:2])
    if limit < 1:
        small = (max(1, round(image.shape[1] * limit)), max(1, round(image.shape[0] * limit)))
        image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    return np.clip(cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC), 0, 1)


def _exposed(colour: np.ndarray) -> np.ndarray:
    """Darkened so far that the strongest light takes no colour beyond white: the sum above then holds in every pixel."""
    return colour * np.float32(_EXPOSURE)


def _ever_seen(uv: np.ndarray, opacity: np.ndarray, size: int) -> np.ndarray:  # (N, N), 0 or 1
    total = torch.zeros(size, size)
    for one_uv, one_opacity in zip(uv, opacity, strict=True):
        weights = torch.from_numpy(one_opacity)
        total += splat(weights[..., None], torch.from_numpy(one_uv), weights, (size, size))[1]
    # The holes of a splat are where texels are finer than pixels: sampling touches those texels too.
    seen = cv2.morphologyEx((total.numpy() > 0.02).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    return seen.astype(np.float32)


class _Motion:
    """Where each pixel of each frame lies in each layer, and how it is lit: formulas in x, y and time."""

    def __init__(self, frames: int, height: int, width: int, generator: np.random.Generator) -> None:
        self.generator = generator
        self.shape = (height, width)
        self.half = max(height, width) / 2
        grid = pixel_grid(height, width).numpy().astype(np.float64)
        self.x, self.y = grid[..., 0], grid[..., 1]
        self.right, self.bottom = width / 2 / self.half, height / 2 / self.half
        self.unit = min(self.right, self.bottom)  # what objects are measured by
        self.time = np.linspace(0, 1, frames)
        self.shake = [self._shake() for _ in range(3)]  # of roll, u and v

    def _phase(self) -> float:
        return float(self.generator.uniform(0, _TAU))

    def _shake(self) -> np.ndarray:  # (T,), within about +-1
        """A hand's tremor: a few slow waves."""
        waves = [(1.1, 0.55), (1.9, 0.3), (3.3, 0.15)]
        return sum((share * np.sin(_TAU * pace * self.time + self._phase()) for pace, share in waves), np.zeros_like(self.time))

    def camera(self) -> np.ndarray:  # (T, H, W, 2)
        """Background: a pan to the right with a slow zoom and a little roll and tilt, through a lens with distortion."""
        result = []
        for i, t in enumerate(self.time):
            ease = t + 0.08 * np.sin(_TAU * t) / _TAU
            bent = 1 + 0.035 * (self.x**2 + self.y**2)
            x, y = self.x * bent, self.y * bent
            zoom = 0.66 - 0.07 * ease
            roll = np.deg2rad(-1.2 + 2.6 * ease + 0.25 * self.shake[0][i])
            depth = 1 + (0.05 * ease - 0.02) * x + 0.03 * np.sin(_TAU * 0.6 * t) * y
            u = -0.2 + 0.42 * ease + 0.006 * self.shake[1][i] + zoom * (x * np.cos(roll) - y * np.sin(roll)) / depth
            v = 0.02 - 0.03 * ease + 0.007 * self.shake[2][i] + zoom * (x * np.sin(roll) + y * np.cos(roll)) / depth
            result.append(np.stack([u, v], -1))
        return np.stack(result).astype(np.float32)

    def walk(self) -> np.ndarray:  # (T, H, W, 2)
        """Somebody walking from left to right, coming nearer; swaying, leaning, breathing. The feet stay below the frame."""
        step, breath = self._phase(), self._phase()
        result = []
        for t in self.time:
            size = self.unit * (0.96 + 0.13 * t)  # half the photograph's side
            x = self.right * (-0.42 + 0.8 * t)
            y = self.bottom + size * (0.16 + 0.03 * np.sin(_TAU * 2.2 * t + step))
            lean = np.deg2rad(-4 + 8 * t + 2.5 * np.sin(_TAU * 1.1 * t + step))
            # In the photograph's own measure: p right, q up from its lower edge (2 = its height).
            p, q = self._local(x, y, lean, size)
            up = -q
            p = p - 0.05 * np.sin(_TAU * 1.1 * t + step + 0.8) * (np.clip(up, 0, 3) / 2) ** 2
            p = p + 0.012 * np.sin(3.1 * up + _TAU * 1.3 * t + breath)
            q = q + 0.014 * np.sin(2.3 * p + 1.2 * up + _TAU * 0.9 * t + breath)
            result.append(np.stack([p, q + 1], -1) / (1 + 2 * _MARGIN))
        return np.stack(result).astype(np.float32)

    def drift(self) -> np.ndarray:  # (T, H, W, 2)
        """A weightless cup: from the right to the left on an arc, slowly turning and swelling."""
        turn, wave = self._phase(), self._phase()
        result = []
        for t in self.time:
            size = self.unit * (0.36 + 0.08 * np.sin(np.pi * t))
            x = self.right * (0.72 - 1.3 * t)
            y = self.bottom * (-0.02 - 0.38 * np.sin(np.pi * t) + 0.05 * np.sin(_TAU * t + wave))
            p, q = self._local(x, y, np.deg2rad(-14 + 34 * t + 3 * np.sin(_TAU * t + turn)), size)
            bend_p = p + 0.03 * np.sin(2.2 * q + _TAU * 0.8 * t + wave)
            bend_q = q + 0.03 * np.sin(2.0 * p + _TAU * 0.7 * t + turn)
            result.append(np.stack([bend_p, bend_q], -1) / (1 + 2 * _MARGIN))
        return np.stack(result).astype(np.float32)

    def _local(self, x: float, y: float, angle: float, size: float) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates about the point (x, y) of the frame, in a system turned clockwise by `angle`, of unit `size`."""
        dx, dy = (self.x - x) / size, (self.y - y) / size
        return dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)

    def object_texels(self, uv: np.ndarray) -> int:  # side of the atlas
        """Enough texels for the frame in which the object is largest: where a pixel's step in uv is smallest."""
        steps = np.abs(np.diff(uv[:, :, :, 0], axis=2)).reshape(len(uv), -1).mean(1)
        return int(np.ceil(_OBJECT_DENSITY * 2 / steps.min() / 8)) * 8

    def light(self, strength: float) -> np.ndarray:  # (T, h, w, 3) float16
        """A lamp that swings and a cloud that passes: gain about 1, slightly warmer where it is brighter."""
        height, width = self.shape
        cells = [max(2, round(_LIGHT_CELLS * side / max(height, width))) for side in (height, width)]
        y, x = np.meshgrid(*((np.arange(n) + 0.5) / n * 2 - 1 for n in cells), indexing="ij")
        first, second, third = self._phase(), self._phase(), self._phase()
        warmth = np.array([1.06, 1.0, 0.9])
        grids = []
        for t in self.time:
            lamp = np.sin(1.6 * x + 0.7 * y + _TAU * 0.5 * t + first)
            cloud = np.sin(0.9 * x - 1.5 * y - _TAU * 0.4 * t + second)
            waves = 0.41 * lamp + 0.34 * cloud + 0.25 * np.sin(_TAU * 0.7 * t + third)
            grids.append(np.exp(strength * waves[:, :, None] * warmth))
        return np.stack(grids).astype(np.float16)
