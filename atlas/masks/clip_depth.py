"""Signed distance of a clip's masks, frame by frame; outlines are first moved to the edges of the picture, if asked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from atlas.clip.clip import Clip
from atlas.masks.contours import Margin, clip_margin, follow_edges, is_matte
from atlas.masks.depth import depth_of, pack_depth
from atlas.system.parallel import in_order
from atlas.video.sheet import spread


def depth_reader(clip: Clip, *, follow: bool) -> Callable[[int, np.ndarray | None], list[np.ndarray]]:
    """A function that reads the signed distances into the masks of all objects in a frame, (H, W) int8 as of `pack_depth`.

    follow: outlines are moved to the edges of the picture, (H, W, 3) uint8, which is decoded where that needs it and it is not
    given. Inside `one_thread`, or the last bits depend on the machine.
    """
    margins = [_margin(clip, layer) if follow else None for layer in clip.objects]

    def read(t: int, image: np.ndarray | None = None) -> list[np.ndarray]:
        depths = []
        for layer, margin in zip(clip.objects, margins, strict=True):
            mask = clip.mask(layer, t)
            depth = depth_of(mask)
            if margin is not None and not is_matte(mask):
                image = clip.frame(t) if image is None else image
                depth = follow_edges(image, depth, margin)
            depths.append(pack_depth(depth))
        return depths

    return read


def _margin(clip: Clip, layer: str) -> Margin:
    """How far off the masks of an object are, from some of the frames that show it."""
    shown = in_order(lambda t: bool(clip.mask(layer, t).any()), range(clip.frames))
    seen = [t for t, is_seen in enumerate(shown) if is_seen]

    def read(t: int) -> tuple[np.ndarray, np.ndarray] | None:
        mask = clip.mask(layer, t)
        return None if is_matte(mask) else (clip.frame(t), depth_of(mask))

    chosen = in_order(read, [seen[i] for i in spread(len(seen), 24)] if seen else [])
    return clip_margin(frame for frame in chosen if frame)
