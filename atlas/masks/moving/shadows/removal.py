"""Cast shadows taken out of masks: a shadow moves with the object, but is the ground seen darker.

What tells it from a tyre, from dark trousers or black fur is how the frame differs from the ground behind it. A shadow keeps
the ground's texture where that has any. Where it has none, a shadow ends in a penumbra, and an object in an edge as sharp as
its other edges. And it lies under the object: only lower ends of a mask are asked for (`undercut`), so that hair, windows and
doors are out of the question. What nothing tells stays in the mask, as does a shadow with hard edges on plain ground.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from atlas.masks.moving.along import Averages
from atlas.masks.moving.behind.plate import Plates
from atlas.masks.moving.cut import HalfClip
from atlas.masks.moving.shadows.undercut import Costs, undercut
from atlas.storage.stack import RowStack
from atlas.system.parallel import in_order
from atlas.system.progress import Progress

SHARP_SIDE = 768
"""Pixels of the longer side at which it is seen how sharp edges are."""
_BLACK = 6.0
"""Grey levels that are added before logarithms are taken: darker ones are noise."""
_ASKED, _WIDE = 9, 15 / SHARP_SIDE
"""Frames whose outlines say how sharp the object's edges are, and how far around an edge its contrast is looked for, in longer
sides."""
_CONTRAST, _LEAST_CONTRAST = 0.15, 0.3
"""Logarithms of brightness: what is added to an edge's contrast, and that of an edge which tells how sharp edges are."""
_SOFT, _HARD = 0.5, 0.8
"""Sharpness of a penumbra, and of an edge, in that of the object's sharper edges (their upper quartile)."""
_EDGE, _FREE = 5.0, 0.02
"""What a pixel of edge costs where nothing is sharp, and the share of it that a sharp one costs."""
_KEPT = 0.05
"""What a pixel is worth that nothing is known of."""
_LIGHTER, _TINT = 0.05, 0.4
"""Logarithms of the ratio to the ground, above which no shade has it: all of the light, and the difference of two colours."""
_NO_SHADE = 3.0
"""What a pixel is worth that cannot be the ground in a shade."""
_UNSEEN = 0.3
"""What a pixel is worth before ground that no frame shows."""
_TEXTURE, _CLEAREST = 0.3, 3.0
"""What texture's logarithm of odds counts, and where it is clipped."""
_FINE, _AROUND = 1.5, 2.0
"""Deviations, in pixels: of the blur that texture is finer than, and of the surroundings that it is compared in."""
_GRAIN, _OFF = 1.5, 0.3
"""Grey levels of noise, and the share of the ground's texture (variance) that laying frames over each other loses."""
_OUTLIER = 2.5
"""Deviations of the ground's texture at which that of the frame is clipped."""
_PLAIN, _TEXTURED = 4.0, 10.0
"""Variance of the ground's texture, in that of the noise, below which it says nothing, and above which all."""
_PENUMBRA, _AS_GROUND = 15 / 480, 0.4
"""Longer sides within which a shadow passes into ground, and by how much that may differ from the ground behind (logarithm)."""
_MEMORY, _ROUNDS = 0.9, 2
_POOLED, _PRIOR = 3.0, 0.3
"""What it is worth whether a pixel was kept in the frames around, and the share that is not kept where no frame tells."""

Frame = Callable[[int], np.ndarray]


def without_shadows(masks: RowStack, half: HalfClip, plates: Plates, frame: Frame, *, quiet: bool = True) -> None:
    """Take cast shadows out of the masks (T, H, W) bool of a clip, in place.

    frame: reads a frame, (H', W', 3) uint8, in which it is seen how sharp edges are, at most `SHARP_SIDE` pixels wide or high.
    """
    frames, height, width = masks.shape
    asked = np.unique(np.linspace(0, frames - 1, min(frames, _ASKED)).round().astype(int)).tolist()
    outlines = [_outline_sharpness(frame(index), plates, index, masks[index]) for index in asked]
    known = np.concatenate(outlines)
    usual = float(np.percentile(known, 75)) if known.size else 0.0
    if usual <= 0:
        return
    judged = RowStack(half.scratch / "judged", (frames, 3, height, width), np.float16)
    kept = RowStack(half.scratch / "kept", masks.shape, np.bool_)

    def judge(index: int) -> tuple[np.ndarray, np.ndarray]:
        mask = masks[index]
        if not mask.any():
            return np.zeros(judged.shape[1:]), mask
        row = _judged(half.images[index], frame(index), plates, index, mask, usual).astype(np.float16)
        return row, undercut(mask, row[0].astype(np.float32), _costs(row))

    rows = Progress(in_order(judge, range(frames)), desc="shadows", total=frames, unit="frame", quiet=quiet)
    for index, (row, first) in enumerate(rows):
        judged[index], kept[index] = row, first
    for _ in range(_ROUNDS):
        gone = Averages(
            half.scratch / "shadow", lambda index: _gone(masks[index], kept[index], plates.seen(index), half.size),
            (*half.scores.shape, 2), half.flows, _MEMORY, half.flows.trust,
        )  # fmt: skip

        def again(index: int, gone: Averages = gone) -> np.ndarray:
            row, mean = judged[index], cv2.resize(gone[index], (width, height))
            share = (mean[..., 0] + 0.1 * _PRIOR) / (mean[..., 1] + 0.1)
            return undercut(masks[index], row[0].astype(np.float32) + _POOLED * (0.5 - share), _costs(row))

        for index, mask in enumerate(in_order(again, range(frames))):
            kept[index] = mask
        gone.delete()
    for index in range(frames):
        masks[index] = kept[index]


def _gone(mask: np.ndarray, kept: np.ndarray, seen: np.ndarray, size: tuple[int, int]) -> np.ndarray:  # (h, w, 2)
    """Of each pixel at half the resolution the share that was taken off, and the share that was asked for."""
    shares = (mask & ~kept & seen, mask & seen)
    return np.dstack([cv2.resize(share.astype(np.float32), size, interpolation=cv2.INTER_AREA) for share in shares])


def _costs(row: np.ndarray) -> Costs:  # (3, H, W)
    return row[1, :, 1:].astype(np.float32), row[2, 1:].astype(np.float32)


def _judged(image: np.ndarray, sharp: np.ndarray, plates: Plates, index: int, mask: np.ndarray, usual: float) -> np.ndarray:
    """What pixels of a frame are worth, and what edges cost to the left of them and above them: (3, H, W) float32."""
    plate, seen = plates.colour(index), plates.seen(index)
    ratio = _logarithm(image) - _logarithm(plate)
    hole = ~_eroded(seen, 2)
    worth = _KEPT + np.where(hole, _UNSEEN, np.where(_shaded(ratio), 0, _NO_SHADE))
    worth -= _texture_worth(image, plate, seen, mask) * seen
    soft = np.clip((_HARD - _sharpness(sharp, plate, seen)[0] / usual) / (_HARD - _SOFT), 0, 1)
    soft = cv2.resize(cv2.erode(soft, np.ones((3, 3))), mask.shape[::-1], interpolation=cv2.INTER_AREA)
    price = _EDGE * (_FREE + (1 - _FREE) * soft)
    ground = np.exp(-np.square(np.abs(cv2.GaussianBlur(ratio, (0, 0), 1.5)).max(axis=-1) / _AS_GROUND)) * (seen & ~mask)
    across, down = np.zeros_like(price), np.zeros_like(price)
    reach = max(3, round(_PENUMBRA * max(mask.shape)))
    # Where a mask ends in the middle of something, as of a leg, that is no penumbra: beyond one lies the ground.
    below = cv2.dilate(ground, np.ones((reach, 1)), anchor=(0, 0))
    beside = cv2.dilate(ground, np.ones((1, 2 * reach - 1)))
    out = ~mask
    to_right, to_left = mask[:, :-1] & out[:, 1:], out[:, :-1] & mask[:, 1:]
    passing = np.where(to_right, beside[:, 1:], np.where(to_left, beside[:, :-1], 1))
    across[:, 1:] = np.minimum(price[:, 1:], price[:, :-1]) * passing
    down[1:] = np.minimum(price[1:], price[:-1]) * np.where(mask[:-1] & out[1:], below[1:], 1)
    return np.stack([worth, across, down]).astype(np.float32)


def _logarithm(image: np.ndarray) -> np.ndarray:
    return np.log(cv2.GaussianBlur(image.astype(np.float32), (0, 0), 0.7) + _BLACK)


def _grey(image: np.ndarray) -> np.ndarray:  # (H, W, 3) -> (H, W)
    return cv2.transform(image, np.full((1, 3), 1 / 3, np.float32))


def _shaded(ratio: np.ndarray) -> np.ndarray:  # (H, W, 3) -> (H, W) bool
    """Where a frame might be the ground in a shade: darker, and of its tint."""
    tint = np.maximum(np.abs(ratio[..., 0] - ratio[..., 1]), np.abs(ratio[..., 2] - ratio[..., 1]))
    return (_grey(ratio) < _LIGHTER) & (tint < _TINT)


def _texture_worth(image: np.ndarray, plate: np.ndarray, seen: np.ndarray, mask: np.ndarray) -> np.ndarray:  # (H, W)
    """What the ground's texture says for the ground, negative where it is not there; 0 where the ground has none.

    Of a shade the fine logarithms are those of the ground but for noise, of an object they are independent of them.
    """
    light = _grey(image.astype(np.float32))
    there = seen.astype(np.float32)  # where the ground is not seen, the plate is empty and must not count
    fine, ground = (_fine(np.log(one + _BLACK), there) for one in (light, _grey(plate.astype(np.float32))))
    noise = np.square(_GRAIN / (_mean(light, there, _AROUND) + _BLACK))
    known = _mean(np.square(ground), there, _AROUND)
    most = _OUTLIER * np.sqrt(known + noise)  # the shadow's own edge is no texture of the ground's
    fine = np.clip(fine, -most, most)
    own, missed = (_mean(np.square(one), there, _AROUND) for one in (fine, fine - ground))
    expected = noise + _OFF * known
    beside = ~_dilated(mask, 4) & seen
    scale = max(0.3, float(np.median((missed / expected)[beside]))) if np.count_nonzero(beside) > 100 else 1.0
    expected *= scale
    own = np.maximum(own, 0.2 * expected)
    odds = np.clip(0.5 * (np.log(own / expected) + 1 - missed / expected), -2, 2)
    telling = np.clip((known / (scale * noise) - _PLAIN) / (_TEXTURED - _PLAIN), 0, 1)
    samples = 4 * np.pi * _AROUND**2 / 3
    return _TEXTURE * np.clip(samples * telling * odds, -_CLEAREST, _CLEAREST)


def _fine(image: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """What of an image is fine, 0 where the ground is not seen."""
    return (image - _mean(image, seen, _FINE)) * seen


def _mean(image: np.ndarray, seen: np.ndarray, deviation: float) -> np.ndarray:
    """The mean around each pixel of what is seen, weighted by a normal distribution."""
    total, weight = (cv2.GaussianBlur(one, (0, 0), deviation) for one in (image * seen, seen))
    return total / np.maximum(weight, 1e-3)


def _sharpness(image: np.ndarray, plate: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How sharp the edges of a frame's ratio to the ground are, and their contrast, (H', W') float32 twice.

    Sharpness is the share of the contrast that one pixel brings. Where the ground is not seen the frame's own edges count.
    """
    size = (image.shape[1], image.shape[0])
    light = _logarithm(image)
    ratio = _grey(light - _logarithm(cv2.resize(plate, size, interpolation=cv2.INTER_CUBIC)))
    hole = cv2.resize((~_eroded(seen, 4)).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    edges = [_edges(ratio), *([_edges(_grey(light))] if hole.any() else [])]
    sharp, contrast = (np.where(hole, one, other) for one, other in zip(edges[-1], edges[0], strict=True))
    return sharp, contrast


def _edges(light: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    slope = np.hypot(*(cv2.Sobel(light, cv2.CV_32F, *way, scale=1 / 8) for way in ((1, 0), (0, 1))))
    wide = np.ones((2 * max(2, round(_WIDE * max(light.shape) / 2)) + 1,) * 2)
    contrast = cv2.dilate(light, wide) - cv2.erode(light, wide)
    return slope / (contrast + _CONTRAST), contrast


def _outline_sharpness(image: np.ndarray, plates: Plates, index: int, mask: np.ndarray) -> np.ndarray:  # (N,)
    """How sharp a frame is along the outline of its mask, wherever that has some contrast."""
    seen = plates.seen(index)
    sharp, contrast = _sharpness(image, plates.colour(index), seen)
    inside, known = (
        cv2.resize(one.astype(np.uint8), sharp.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
        for one in (mask, _eroded(seen, 3))
    )
    outline = inside & ~_eroded(inside, 1) & known & (contrast > _LEAST_CONTRAST)
    return cv2.dilate(sharp, np.ones((7, 7)))[outline]


def _eroded(mask: np.ndarray, pixels: int) -> np.ndarray:
    return cv2.erode(mask.astype(np.uint8), np.ones((2 * pixels + 1,) * 2)) > 0


def _dilated(mask: np.ndarray, pixels: int) -> np.ndarray:
    return cv2.dilate(mask.astype(np.uint8), np.ones((2 * pixels + 1,) * 2)) > 0
