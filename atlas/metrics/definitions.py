"""Metrics, one definition each: PSNR, SSIM, warp error, change, sharpness, fidelity, IoU, folds; pure functions on arrays.

Images are (H, W, 3): uint8, uint16 or floats in [0, 1]; floats are clamped. Masks are (H, W): booleans, or anything of which
"inside" means above half of its range. A number over no pixels at all is NaN: `average` leaves such frames out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from atlas.geometry.boxes import bounding_box
from atlas.geometry.flow import at_targets, flow_targets, within_frame
from atlas.storage.images import to_float

IDENTICAL_DB = 100.0
"""What an identical frame counts in a mean of dB: its own PSNR is infinite."""


_WINDOW = 7  # pixels along the square over which structural similarity is taken
_SUM = np.ones((1, 3), np.float32)  # over the channels, for OpenCV
PIXEL_MSE = 255**2 / 3
"""Pixel-MSE of a pair over its warp error: the same squares, averaged over the channels too and on the scale 0..255."""


def unit(image: np.ndarray) -> np.ndarray:
    """Convert pixels to float32 in [0, 1]."""
    return to_float(image) if image.dtype.kind == "u" else np.clip(image.astype(np.float32), 0, 1)


def inside(mask: np.ndarray) -> np.ndarray:
    """Convert a mask to booleans: above half of its range."""
    if mask.dtype == bool:
        return mask
    return mask > (np.iinfo(mask.dtype).max / 2 if mask.dtype.kind == "u" else 0.5)


def psnr(
    image: np.ndarray,  # (H, W, 3)
    truth: np.ndarray,  # (H, W, 3)
    mask: np.ndarray | None = None,  # (H, W)
) -> float:
    """Peak signal-to-noise ratio in dB: 10 log10(1 / mean |image - truth|^2), over the mask's pixels and the channels.

    Infinite for identical images. Every pixel off by 0.1: 20 dB.
    """
    return psnr_over(image, truth, [mask])[0]


def psnr_over(image: np.ndarray, truth: np.ndarray, masks: Sequence[np.ndarray | None]) -> list[float]:
    """Peak signal-to-noise ratio over each of several masks (None: the whole frame); squares are taken once."""
    squared = unit(image) - unit(truth)
    squared *= squared
    errors = [_mean(squared, mask) for mask in masks]
    return [math.inf if error == 0 else -10 * math.log10(error) if error == error else math.nan for error in errors]


def average_db(values: Iterable[float]) -> float:
    """Average per-frame dB. Identical frames count IDENTICAL_DB; frames without pixels (NaN) do not count."""
    return average(min(value, IDENTICAL_DB) if value == value else value for value in values)


def average(values: Iterable[float]) -> float:
    """Average the values that are numbers; NaN where none is."""
    numbers = [value for value in values if value == value]
    return sum(numbers) / len(numbers) if numbers else math.nan


def ssim(image: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Structural similarity (scikit-image: channel_axis=-1, data_range=1), the mean of its map over the mask's pixels.

    NaN for frames under 7 pixels, the window it is taken over.
    """
    return ssim_over(image, truth, [mask])[0]


def ssim_over(image: np.ndarray, truth: np.ndarray, masks: Sequence[np.ndarray | None]) -> list[float]:
    """Structural similarity over each of several masks (None: the whole frame), for the price of one."""
    if min(image.shape[:2]) < _WINDOW:
        return [math.nan] * len(masks)
    per_pixel, rim = _ssim_map(unit(image), unit(truth)), _WINDOW // 2
    whole = per_pixel[rim:-rim, rim:-rim]  # where the window is inside the frame
    return [_mean(whole, None) if mask is None else _mean(per_pixel, mask) for mask in masks]


def _ssim_map(image: np.ndarray, truth: np.ndarray) -> np.ndarray:  # (H, W, C) twice -> (H, W, C)
    """Compute structural similarity around each pixel as scikit-image does, by OpenCV's box filter in a third of its time.

    (2 m1 m2 + c1) (2 v12 + c2) / ((m1^2 + m2^2 + c1) (v1 + v2 + c2)), of means and sample variances over a square window.
    """
    count = _WINDOW**2
    product, squares = image * truth, image * image
    squares += truth * truth
    first, second, product, squares = (
        cv2.blur(values, (_WINDOW, _WINDOW), borderType=cv2.BORDER_REFLECT) for values in (image, truth, product, squares)
    )
    unbiased = count / (count - 1)
    c1, c2 = 0.01**2, 0.03**2
    # In place, step by step: each array of the size of a frame that is made anew takes as long as what is computed.
    above = first * second
    first *= first
    second *= second
    below = np.add(first, second, out=first)  # m1^2 + m2^2
    product -= above
    product *= 2 * unbiased
    product += c2
    squares -= below
    squares *= unbiased
    squares += c2
    above *= 2
    above += c1
    above *= product
    below += c1
    below *= squares
    above /= below
    return above


def warp_back(
    image: np.ndarray,  # (H, W, C), at the time the flow goes to
    flow: np.ndarray,  # (H, W, 2) pixels
) -> tuple[np.ndarray, np.ndarray]:  # (H, W, C) float32, and (H, W) bool: where p + F(p) is inside the frame
    """Warp an image backwards along optical flow: W(p) = image(p + F(p)), bilinear."""
    targets = flow_targets(flow)
    source = image.astype(np.float32, copy=False) if image.dtype.kind == "f" else unit(image)
    return at_targets(source, targets).reshape(*flow.shape[:2], -1), within_frame(targets)


def warp_error(
    image: np.ndarray,  # (H, W, 3) V_t
    following: np.ndarray,  # (H, W, 3) V_{t+1}
    flow: np.ndarray,  # (H, W, 2) pixels, of the source video from t to t + 1
    valid: np.ndarray,  # (H, W) M: where that flow is forward-backward consistent (atlas/clip/flow.py, flow_validity)
) -> float:
    """Warp error of one pair: (1/|M|) sum over M of |V_t(p) - V_{t+1}(p + F(p))|^2, the square summed over RGB in [0, 1].

    The flow is the source's for the source and the edit alike; the ratio of the two is what to read. With another frame
    than the next one in place of V_{t+1} (and the flow to it) it is a term of the long-term warp error.
    """
    return warp_errors([(image, following)], flow, valid)[0]


def warp_errors(
    pairs: Iterable[tuple[np.ndarray, np.ndarray]],  # (V_t, V_{t+1}), (H, W, 3) each
    flow: np.ndarray,  # (H, W, 2) pixels
    valid: np.ndarray,  # (H, W)
) -> list[float]:
    """Warp errors of several pairs along the same flow: where it leads is found once."""
    targets = flow_targets(flow)
    counted, errors = within_frame(targets) & (valid > 0), []
    for image, following in pairs:
        difference = unit(image) - at_targets(unit(following), targets)
        difference *= difference
        errors.append(_mean(cv2.transform(difference, _SUM), counted))
    return errors


def pixel_mse(image: np.ndarray, following: np.ndarray, flow: np.ndarray, valid: np.ndarray) -> float:
    """Pixel-MSE of one pair: the warp of `warp_error`, plain mean square over pixels and channels on the scale 0..255."""
    return PIXEL_MSE * warp_error(image, following, flow, valid)


def changed(
    result: np.ndarray,  # (H, W, 3) the frame after the edit
    source: np.ndarray,  # (H, W, 3) before
    mask: np.ndarray | None = None,  # (H, W) the edited layers; None: the whole frame
) -> float:
    """Change of a frame: mean |result - source| over channels and the mask's pixels, in [0, 1]. 0 for what was not edited.

    A warp error beside it says little: doing nothing has the best of all.
    """
    return _mean(np.abs(unit(result) - unit(source)), mask)


def laplacian_energy(image: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Energy of the Laplacian: mean (sum of the four neighbours - 4 I(p))^2 over channels and pixels, colours being 0 to 1.

    Over the mask's pixels whose four neighbours are in it too, so that outlines do not count; NaN where there are none.
    Sharpness is this energy of a result over that of its source: 1 for the same detail, far below 1 for a blur (a Gaussian of
    1 pixel leaves 0.12 of a frame of `blackswan`, of 2 pixels 0.02). It goes with the square of contrast: halved, 0.25.
    """
    height, width = image.shape[:2]
    if min(height, width) < 3:
        return math.nan
    pixels = unit(image)
    squared = pixels[:-2, 1:-1] + pixels[2:, 1:-1]
    for beside in (pixels[1:-1, :-2], pixels[1:-1, 2:], -4 * pixels[1:-1, 1:-1]):
        squared += beside
    squared *= squared
    if mask is None:
        return _mean(squared, None)
    known = inside(mask)
    whole = known[1:-1, 1:-1] & known[:-2, 1:-1] & known[2:, 1:-1] & known[1:-1, :-2] & known[1:-1, 2:]
    return _mean(squared, whole)


def ratio(edit: float, source: float) -> float:
    """Edit over source; NaN where the source's value is 0 or missing."""
    return edit / source if source > 0 else math.nan


def cosine(
    one: np.ndarray,  # (D,)
    other: np.ndarray,  # (D,)
) -> float:
    """Cosine of the angle between two embeddings, from -1 to 1; NaN where one has no length.

    Of consecutive frames: CLIP-frame, and object consistency with DINOv2's.
    """
    a, b = one.astype(np.float64), other.astype(np.float64)
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / lengths if lengths > 0 else math.nan


def clip_text(image: np.ndarray, text: np.ndarray) -> float:
    """CLIP-text of one frame: 100 times the cosine of its embedding and the prompt's."""
    return 100 * cosine(image, text)


def warped_following(
    image: np.ndarray,  # (H, W, 3) V_t
    following: np.ndarray,  # (H, W, 3) V_{t+1}
    flow: np.ndarray,  # (H, W, 2) pixels, from t to t + 1
    valid: np.ndarray,  # (H, W)
) -> np.ndarray:  # (H, W, 3) float32
    """Warp V_{t+1} back to V_t, to be compared with it as a picture; V_t itself where the flow is not valid."""
    warped, within = warp_back(unit(following), flow)
    return np.where((within & (valid > 0))[..., None], warped, unit(image))


def keyframe_fidelity(
    keyframe: np.ndarray,  # (H, W, 3 or 4) the edited keyframe
    frame: np.ndarray,  # (H, W, 3) the final video there
    mask: np.ndarray,  # (H, W) the layer
) -> float:
    """Mean |keyframe - frame| over channels and the layer's pixels, in [0, 1]. Its transparent pixels do not count."""
    where = inside(mask)
    if keyframe.shape[2] == 4:
        where = where & inside(keyframe[..., 3])
    return _mean(np.abs(unit(keyframe[..., :3]) - unit(frame)), where)


def iou(mask: np.ndarray, truth: np.ndarray) -> float:
    """Intersection over union of two masks; NaN where both are empty."""
    a, b = inside(mask), inside(truth)
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else math.nan


def fold_share(
    uv: np.ndarray,  # (H, W, 2)
    mask: np.ndarray,  # (H, W)
) -> float:
    """Share of the layer's pixels where the mapping folds over: det(d uv / d xy) is 0 or has not the majority's sign."""
    where = inside(mask)
    whole = where[:-1, :-1] & where[:-1, 1:] & where[1:, :-1]  # where all three pixels of the difference are the layer's
    box = bounding_box(whole)
    if box is None:
        return math.nan
    rows, columns = box
    planes = cv2.split(uv[rows.start : rows.stop + 1, columns.start : columns.stop + 1])  # in half the time that pairs take
    ux, vx = (plane[:-1, 1:] - plane[:-1, :-1] for plane in planes)
    uy, vy = (plane[1:, :-1] - plane[:-1, :-1] for plane in planes)
    determinant = (ux * vy - vx * uy)[whole[box]]
    return 1 - max(int((determinant > 0).sum()), int((determinant < 0).sum())) / len(determinant)


def _mean(values: np.ndarray, mask: np.ndarray | None) -> float:  # (H, W) or (H, W, 3), (H, W)
    """Average over the mask's pixels and the channels, in doubles; NaN where there are no pixels."""
    chosen = np.ones(values.shape[:2], bool) if mask is None else inside(mask)
    if not chosen.any():
        return math.nan
    means = cv2.mean(values, None if mask is None else chosen.view(np.uint8))  # picking pixels takes ten times as long
    return sum(means[: values.shape[2]]) / values.shape[2] if values.ndim == 3 else means[0]
