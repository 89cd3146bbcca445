"""Masks of what is pointed out: points, boxes and words, answered and followed through the clip by SAM 2."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from atlas.clip.clip import Clip
from atlas.errors import UserError, a_few
from atlas.masks.box import Box
from atlas.masks.learned.options import SEGMENTER, NetworkOptions
from atlas.masks.learned.prompts import Asked, Prompts, check_prompts, layers_of, parse_prompts, prompts_text
from atlas.storage.images import to_8_bit
from atlas.storage.stack import RowStack
from atlas.system.device import choose_device
from atlas.system.progress import Bar
from atlas.video.source import FrameSource

if TYPE_CHECKING:  # torch is loaded with them, which takes seconds
    from atlas.masks.learned.detector import Detector
    from atlas.masks.learned.follow import Follower
    from atlas.masks.learned.segmenter import Segmenter

_METHOD = "prompts 1"  # raise it when the same prompts give other masks: clips of them are then prepared again
_LOOKED_AT = 8
"""Frames in which words are looked for: the first, then others spread over the clip, until one shows the object."""


@dataclass(frozen=True)
class PromptedMasks:
    """Mask source: objects that are pointed out in some frames, by points, boxes or words."""

    asked: tuple[Asked, ...]
    source: FrameSource
    indices: Sequence[int]
    """The source's frame shown at each clip frame."""
    networks: NetworkOptions
    segmenter: Path
    """Folder of its weights."""
    detector: Path | None
    """Folder of its weights, where words are looked for."""

    @classmethod
    def parse(cls, text: str, source: FrameSource, indices: list[int], networks: NetworkOptions) -> PromptedMasks | None:
        """The objects that `points:...`, `text:...` or `box:...` ask for; None for other texts, and for one box where the
        weights of SAM 2 are not at hand and nobody named them.

        UserError where the text is not understood, points out what is not there, or weights are missing.
        """
        asked = parse_prompts(text)
        if asked is None:
            return None
        check_prompts(asked, len(indices), source.width, source.height)
        if not any(one.words for one in asked):
            layers_of(asked, {})
        if _is_one_box(asked) and networks.segmenter == SEGMENTER and not _sam_is_at_hand():
            return None
        return cls(asked, source, indices, networks, _segmenter_folder(networks), _detector_folder(asked, networks))

    @property
    def layers(self) -> list[str]:
        """Names of the objects, front to back."""
        return list(self._prompts)

    def masks(self, clip: Clip, *, quiet: bool) -> Iterator[list[np.ndarray]]:
        """Answer the prompts and follow the objects both ways; what is found lies in the clip's folder meanwhile."""
        from atlas.masks.learned.follow import Follower
        from atlas.masks.learned.segmenter import Segmenter

        segmenter = Segmenter(self.segmenter, choose_device(self.networks.device))
        across, down = clip.width / clip.source.width, clip.height / clip.source.height
        prompts = {
            name: tuple((frame, prompt.scaled(across, down)) for frame, prompt in one) for name, one in self._prompts.items()
        }
        with TemporaryDirectory(prefix=".following-", dir=clip.folder) as folder:
            whole = RowStack(Path(folder) / "masks", (clip.frames, len(prompts), clip.height, clip.width), np.uint8)
            _follow(clip, segmenter, Follower(segmenter, clip.frame, clip.frames), prompts, whole, quiet=quiet)
            for masks in whole:
                yield seen_masks(masks)

    def complete(self, clip: Clip) -> dict[str, list[int]]:
        """Nothing is missing: where an object is not, it has an empty mask."""
        return {}

    def remarks(self) -> list[str]:
        """Which network follows what, and where words were found."""
        frames = sorted({frame for prompts in self._prompts.values() for frame, _ in prompts})
        lines = [f"SAM 2 ({self.networks.segmenter}) follows {a_few(self.layers)} from {_named_frames(frames)}"]
        for words, found in self._found.items():
            boxes = a_few((f"{box.x:.0f},{box.y:.0f},{box.width:.0f},{box.height:.0f}" for _, box in found), 5)
            lines.append(f"{words!r} was found in frame {found[0][0]}: box {boxes}")
        return [*lines, f"asked for in all: --masks {prompts_text(self.asked)!r}"]

    def digest_parts(self) -> tuple[str | None, list[Path | str]]:
        """What was asked for, in one way of writing it, and the networks' weights."""
        from atlas.weights.hub import fingerprint

        folders = [self.segmenter, *([self.detector] if self.detector else [])]
        return " ".join([_METHOD, prompts_text(self.asked), *map(fingerprint, folders)]), []

    @cached_property
    def _prompts(self) -> dict[str, Prompts]:
        return layers_of(self.asked, self._found)

    @cached_property
    def _found(self) -> dict[str, list[tuple[int, Box]]]:
        """For all words that are looked for: in which frame they name what, in the source's pixels, front to back."""
        words = list(dict.fromkeys(one.words for one in self.asked if one.words))
        if not words or self.detector is None:
            return {}
        from atlas.masks.learned.detector import Detector

        detector = Detector(self.detector, choose_device(self.networks.device))
        return {one: self._looked_for(detector, one) for one in words}

    def _looked_for(self, detector: Detector, words: str) -> list[tuple[int, Box]]:
        numbers = np.linspace(0, len(self.indices) - 1, min(_LOOKED_AT, len(self.indices))).round().astype(int).tolist()
        best = 0.0
        for number, frame in zip(numbers, self.source.read([self.indices[number] for number in numbers]), strict=True):
            boxes, score = detector.found(to_8_bit(frame), words)
            if boxes:
                # What stands on the ground further down in the picture is nearer, and in front.
                return [(number, box) for box in sorted(boxes, key=lambda box: -(box.y + box.height))]
            best = max(best, score)
        raise UserError(
            f"--masks text: {words!r} was found in none of the frames {a_few(numbers, 8)} (best score {best:.2f}, "
            f"{detector.least:.2f} is needed): say it otherwise, or point it out with points:FRAME:x,y"
        )


def _follow(
    clip: Clip,
    segmenter: Segmenter,
    follower: Follower,
    prompts: dict[str, Prompts],  # in the clip's pixels
    masks: RowStack,  # (T, objects, H, W) uint8, filled
    *,
    quiet: bool,
) -> None:
    """Find the objects in the frames where they are pointed out, and from there in all others."""
    from atlas.masks.learned.follow import soft_mask

    objects = list(prompts.values())
    known = _first_answers(clip, segmenter, prompts)
    with Bar("following", _steps(objects, clip.frames), unit="frame", quiet=quiet) as progress:
        for (_, *corrections), answers in zip(objects, known, strict=True):
            for frame, prompt in corrections:
                # What is corrected is what was followed here from all that was known before.
                before = None
                for _, (logits,) in follower.one_way([answers], forward=frame > min(answers), last=frame):
                    before = logits
                    progress.update()
                lost = before is None or not (before > 0).any()
                answers[frame] = segmenter.answers(clip.frame(frame), [prompt], [None if lost else before])[0]
        for forward in (True, False):
            for index, followed in follower.one_way(known, forward=forward):
                row = masks[index]
                for number, logits in enumerate(followed):
                    if logits is not None:
                        row[number] = soft_mask(logits, (clip.width, clip.height))
                masks[index] = row
                progress.update()


def _first_answers(clip: Clip, segmenter: Segmenter, prompts: dict[str, Prompts]) -> list[dict[int, np.ndarray]]:
    """Of each object the logits of its mask in the first frame where it is pointed out."""
    known: list[dict[int, np.ndarray]] = [{} for _ in prompts]
    firsts = [first for first, *_ in prompts.values()]
    for frame in sorted({frame for frame, _ in firsts}):
        here = [number for number, (there, _) in enumerate(firsts) if there == frame]
        answers = segmenter.answers(clip.frame(frame), [firsts[number][1] for number in here], [None] * len(here))
        for number, logits in zip(here, answers, strict=True):
            if not (logits > 0).any():
                name = list(prompts)[number]
                raise UserError(
                    f"--masks: nothing was found of {name} where it is pointed out in frame {frame}: move the points"
                )
            known[number][frame] = logits
    return known


def _steps(objects: Sequence[Prompts], frames: int) -> int:
    """Frames that are passed in all: to each correction, then forward and back."""
    corrections = 0
    for prompts in objects:
        start = prompts[0][0]
        for frame, _ in prompts[1:]:
            corrections += abs(frame - start) + 1
            start = min(start, frame)
    starts = [min(frame for frame, _ in prompts) for prompts in objects]
    return corrections + frames - min(starts) + max(starts) + 1


def seen_masks(masks: np.ndarray) -> list[np.ndarray]:  # (objects, H, W) uint8, front to back
    """What is seen of each object: those in front hide those behind, as far as their masks are opaque."""
    seen, free = [], np.ones(masks.shape[1:], np.float32)
    for mask in masks:
        seen.append((mask * free + 0.5).astype(np.uint8))
        free = free * (1 - mask / np.float32(255))
    return seen


def _is_one_box(asked: Sequence[Asked]) -> bool:
    prompts = asked[0].prompts
    return (
        len(asked) == 1
        and not asked[0].name
        and len(prompts) == 1
        and prompts[0][1].box is not None
        and not prompts[0][1].points
    )


def _sam_is_at_hand() -> bool:
    """Whether the default segmenter can be taken without fetching anything."""
    from importlib.util import find_spec

    from atlas.weights.hub import is_at_hand

    return find_spec("transformers") is not None and is_at_hand(SEGMENTER, "segmenter")


def _segmenter_folder(networks: NetworkOptions) -> Path:
    from atlas.masks.learned.segmenter import check_installed, check_segmenter
    from atlas.weights.hub import located

    check_installed("--masks points:, box: and text:")
    folder = located(networks.segmenter, "segmenter", offline=networks.offline, option="--segmenter")
    check_segmenter(folder)
    return folder


def _detector_folder(asked: Sequence[Asked], networks: NetworkOptions) -> Path | None:
    if not any(one.words for one in asked):
        return None
    from atlas.masks.learned.detector import check_detector
    from atlas.weights.hub import located

    folder = located(networks.detector, "detector", offline=networks.offline, option="--detector")
    check_detector(folder)
    return folder


def _named_frames(frames: Sequence[int]) -> str:
    return f"frame {frames[0]}" if len(frames) == 1 else f"frames {a_few(frames, 6)}"
