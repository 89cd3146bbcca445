"""Open-vocabulary detection: boxes of what words name, by Grounding DINO (Liu et al. 2023) or OWLv2 (Minderer et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from atlas.errors import UserError
from atlas.masks.box import Box
from atlas.masks.learned.pictures import CLIP, IMAGENET, Colour, network_input
from atlas.system.quiet import quiet
from atlas.weights.folder import check_folder, check_room, described, weight_bytes
from atlas.weights.networks import ANYTHING, loaded_network, loading

_SAME = 0.7
"""Overlap, of the union, from which on two boxes are one object: the more certain one stays."""
_MOST = 8
"""Objects of one name that are taken, the most certain ones."""


@dataclass(frozen=True)
class _Family:
    """Classes of transformers for one kind of detector, and how it takes pictures."""

    network: str
    tokenizer: str
    colours: tuple[Colour, Colour]
    least: float
    """Score from which on a box counts."""
    parts: tuple[tuple[str, str], ...]
    """Types of networks that its description must name: others load code or weights of other packages."""


_DINO = _Family(
    "GroundingDinoForObjectDetection",
    "BertTokenizer",
    IMAGENET,
    0.35,
    (("backbone_config", "swin"), ("text_config", "bert")),
)
_OWL = _Family("Owlv2ForObjectDetection", "CLIPTokenizer", CLIP, 0.2, ())
_FAMILIES = {"grounding-dino": _DINO, "owlv2": _OWL}
_DINO_SIDES = 800, 1333
"""Pixels of the shorter side of pictures for Grounding DINO, and the most of the longer."""


def check_detector(folder: Path) -> None:
    """UserError where a folder holds neither Grounding DINO nor OWLv2, or names programs or other weights."""
    if folder.is_file():
        raise UserError(f"{folder} is a file: name the folder that holds the detector and its config.json with --detector")
    check_folder(folder)
    weight_bytes(folder, "detector")
    file = folder / "config.json"
    config = described(file)
    family = _FAMILIES.get(str(config.get("model_type")))
    if family is None:
        kind = str(config.get("model_type"))[:60]
        raise UserError(f"{folder} holds a model of type {kind!r}, no Grounding DINO or OWLv2: name one with --detector")
    for name, kind in family.parts:
        part = config.get(name)
        if not isinstance(part, dict) or part.get("model_type") != kind:
            raise UserError(f"{file} asks for another {name} than that of its model: download it again")


class Detector:
    """A detector of what words name."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        """Load a folder. UserError, in one line, where a file is missing, damaged, or of another kind."""
        check_detector(folder)
        self.device = device
        self._family = _FAMILIES[described(folder / "config.json")["model_type"]]
        self.least = self._family.least
        with loading(folder, "detector"), quiet():
            self._network, self._tokenizer = self._loaded(folder)

    def _loaded(self, folder: Path) -> tuple[Any, Any]:
        import transformers

        network = getattr(transformers, self._family.network)
        config = network.config_class.from_pretrained(str(folder), local_files_only=True)
        check_room(folder, "detector", lambda: network(config), weight_bytes(folder, "detector"))
        loaded = loaded_network(folder, "detector", network, torch.float32, beside=ANYTHING)
        tokenizer = getattr(transformers, self._family.tokenizer).from_pretrained(str(folder), local_files_only=True)
        return loaded.to(self.device).eval(), tokenizer

    @torch.inference_mode()
    def found(
        self,
        frame: np.ndarray,  # (H, W, 3) uint8
        words: str,
    ) -> tuple[list[Box], float]:
        """Find what the words name: boxes in the frame's pixels, the most certain first; and the best score of any box.

        UserError where there are too many words.
        """
        inputs = self._inputs(frame) | self._tokens(words)
        output = self._network(**inputs)
        scores = output.logits[0].float().sigmoid().amax(-1).cpu().numpy()
        centres = output.pred_boxes[0].float().cpu().numpy()  # (N, 4) centre, width, height, as shares of the picture
        height, width = frame.shape[:2]
        # OWLv2 sees the frame in the corner of a square.
        size = [max(height, width)] * 2 if self._family is _OWL else [width, height]
        ends = np.concatenate([centres[:, :2] - centres[:, 2:] / 2, centres[:, :2] + centres[:, 2:] / 2], axis=1)
        corners = np.clip(ends * [*size, *size], 0, [width, height, width, height])
        chosen = np.flatnonzero((scores > self.least) & (corners[:, 2:] - corners[:, :2] >= 1).all(1))
        kept = chosen[apart(corners[chosen], scores[chosen])[:_MOST]]
        boxes = [Box(x, y, right - x, bottom - y) for x, y, right, bottom in corners[kept].tolist()]
        return boxes, float(scores.max(initial=0))

    def _inputs(self, frame: np.ndarray) -> dict[str, torch.Tensor]:
        height, width = frame.shape[:2]
        if self._family is _OWL:
            side = int(self._network.config.vision_config.image_size)
            longer = max(height, width)
            square = np.zeros((longer, longer, 3), np.uint8)
            square[:height, :width] = frame
            return {"pixel_values": network_input(square, (side, side), self._family.colours, self.device)[None]}
        scale = min(_DINO_SIDES[0] / min(height, width), _DINO_SIDES[1] / max(height, width))
        pixels = network_input(frame, (round(height * scale), round(width * scale)), self._family.colours, self.device)[None]
        return {"pixel_values": pixels, "pixel_mask": torch.ones_like(pixels[:, 0], dtype=torch.long)}

    def _tokens(self, words: str) -> dict[str, torch.Tensor]:
        text = words if self._family is _OWL else words.lower().strip(" .") + "."
        config = self._network.config
        most = int(config.text_config.max_position_embeddings if self._family is _OWL else config.max_text_len)
        with quiet():
            tokens = self._tokenizer([text], return_tensors="pt")
        if (length := int(tokens["input_ids"].shape[1])) > most:
            raise UserError(f"--masks text: is {length - most} tokens too long for the detector: say it in fewer words")
        names = ("input_ids", "attention_mask", "token_type_ids") if self._family is _DINO else ("input_ids", "attention_mask")
        return {name: tokens[name].to(self.device) for name in names if name in tokens}


def apart(corners: np.ndarray, scores: np.ndarray) -> list[int]:  # (N, 4) x, y, right, bottom; (N,)
    """Places of the boxes that are no duplicates of more certain ones, the most certain first (non-maximum suppression)."""
    kept: list[int] = []
    areas = np.prod(corners[:, 2:] - corners[:, :2], axis=1)
    for place in np.argsort(-scores, kind="stable").tolist():
        common = np.minimum(corners[place, 2:], corners[kept, 2:]) - np.maximum(corners[place, :2], corners[kept, :2])
        shared = np.prod(np.maximum(common, 0), axis=1)
        if (shared <= _SAME * (areas[place] + areas[kept] - shared)).all():
            kept.append(place)
    return kept
