"""Video object segmentation: objects that are known in some frames are followed through all others by SAM 2's memory.

Frames are read, prepared and encoded one by one, once for all objects, and forgotten: of each object only its known frames and
the last few followed ones stay in memory, which is all that the network looks at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
import torch
from torch.nn import functional

from atlas.masks.learned.segmenter import SUREST, Segmenter

Known = Mapping[int, np.ndarray]
"""Of an object, by frame: logits (h, w) of its mask there, positive inside."""
_NOTHING = torch.empty(0)


class Follower:
    """Follows objects from the frames where they are known."""

    def __init__(
        self,
        segmenter: Segmenter,
        frame: Callable[[int], np.ndarray],  # reads a frame, (H, W, 3) uint8
        frames: int,
    ) -> None:
        self._segmenter, self._frame, self._frames = segmenter, frame, frames
        config = segmenter.video.config
        self._kept = max(int(config.num_maskmem), int(config.max_object_pointers_in_encoder))

    def one_way(
        self, objects: Sequence[Known], *, forward: bool, last: int | None = None
    ) -> Iterator[tuple[int, list[np.ndarray | None]]]:
        """Follow each object from its earliest known frame on: to the end of the clip, or else back to frame 0.

        Yields a frame's number, in that order up to `last`, and logits (h, w) float32 of the masks: what is known where it is
        known, None of an object that is not followed there.
        """
        starts = [min(known) for known in objects]
        last = (self._frames - 1 if forward else 0) if last is None else last
        first = min(starts) if forward else max(starts)
        order = range(first, last + 1) if forward else range(first, last - 1, -1)
        sessions = self._sessions(objects)
        for index in order:
            masks: list[np.ndarray | None] = []
            for known, start, session in zip(objects, starts, sessions, strict=True):
                if index in known:
                    masks.append(known[index])
                elif (index < start) if forward else (index > start):
                    masks.append(None)
                else:
                    masks.append(self._followed(session, index, forward))
            yield index, masks

    def _followed(self, session: Any, index: int, forward: bool) -> np.ndarray:
        with self._shown(session, index):
            output = self._segmenter.video(session, frame_idx=index, reverse=not forward)
        followed = session.output_dict_per_obj[0]["non_cond_frame_outputs"]
        followed.pop(index - self._kept if forward else index + self._kept, None)
        return output.pred_masks[0, 0].float().cpu().numpy()

    def _sessions(self, objects: Sequence[Known]) -> list[Any]:
        """A session for each object, which has seen the frames where it is known; they share what is computed of a frame."""
        device = self._segmenter.device
        sessions: list[Any] = []
        for _ in objects:
            session = self._segmenter.session(
                inference_device=device, inference_state_device=device, video_storage_device=device, dtype=torch.float32
            )
            session.processed_frames = dict.fromkeys(range(self._frames), _NOTHING)
            session.cache = sessions[0].cache if sessions else session.cache
            sessions.append(session)
        for index in sorted({index for known in objects for index in known}):
            for known, session in zip(objects, sessions, strict=True):
                if index in known:
                    session.add_mask_inputs(session.obj_id_to_idx(1), index, self._as_input(known[index]))
                    session.obj_with_new_inputs = [1]
                    with self._shown(session, index):
                        self._segmenter.video(session, frame_idx=index)
        return sessions

    @contextmanager
    def _shown(self, session: Any, index: int) -> Iterator[None]:
        """The session holds the picture of a frame inside the block, unless the frame is encoded already."""
        if session.cache.get_vision_features(index) is None:
            pixels = self._segmenter.pixels(self._frame(index), self._segmenter.follow_side)
            session.processed_frames[index] = pixels
        try:
            yield
        finally:
            session.processed_frames[index] = _NOTHING

    def _as_input(self, logits: np.ndarray) -> torch.Tensor:  # (h, w) -> (1, 1, side, side), 0 or 1
        values = torch.from_numpy(logits).to(self._segmenter.device)[None, None]
        side = self._segmenter.follow_side
        return (functional.interpolate(values, (side, side), mode="bilinear", align_corners=False) > 0).float()


def soft_mask(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:  # (h, w) -> (H, W) uint8
    """The sigmoid of a mask's logits, which are enlarged to `size` (width, height) first: its edges are soft."""
    large = cv2.resize(np.clip(logits, -SUREST, SUREST), size, interpolation=cv2.INTER_LINEAR)
    return (255 / (1 + np.exp(-large)) + 0.5).astype(np.uint8)
