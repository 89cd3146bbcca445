"""Segmentation by SAM 2 (Ravi et al. 2024), of transformers: its weights checked and loaded, prompts answered in frames.

SAM 3's tracker is SAM 2's with another encoder, and is taken like it.
"""

from __future__ import annotations

import copy
import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from atlas.errors import UserError
from atlas.masks.learned.pictures import IMAGENET, network_input
from atlas.masks.learned.prompts import Prompt
from atlas.system.quiet import quiet
from atlas.weights.folder import LARGEST_SIDE, check_folder, check_room, described, weight_bytes
from atlas.weights.networks import ANYTHING, check_names, loaded_network, loading

SUREST = 32.0
"""Logits beyond which nothing changes; those of lost objects are -1024 all over."""


@dataclass(frozen=True)
class _Family:
    """Classes of transformers for one kind of model."""

    video: str
    session: str
    image: str
    encoders: tuple[str, str]
    """Types of the vision encoder and its backbone; others load code or weights of other packages."""
    step: int
    """Pixels that the side of its pictures divides by."""
    halved: bool = False
    """Whether it follows nearly as well in pictures half as large."""
    part: str | None = None
    """Of a model of several parts, the entry that describes this one."""


_SAM_2 = _Family(
    "Sam2VideoModel",
    "Sam2VideoInferenceSession",
    "Sam2Model",
    ("sam2_vision_model", "sam2_hiera_det_model"),
    64,
    halved=True,
)
_SAM_3 = _Family(
    "Sam3TrackerVideoModel",
    "Sam3TrackerVideoInferenceSession",
    "Sam3TrackerModel",
    ("sam3_vision_model", "sam3_vit_model"),
    14,
)
_FAMILIES = {"sam2_video": _SAM_2, "sam3_tracker_video": _SAM_3, "sam3_video": replace(_SAM_3, part="tracker_config")}


def check_installed(what: str) -> None:
    """UserError where transformers is missing. what: the option that needs it."""
    if importlib.util.find_spec("transformers") is None:
        raise UserError(f"{what} needs transformers, which is not installed: pip install -e .[diffusion]")


def check_segmenter(folder: Path) -> None:
    """UserError where a folder holds no SAM 2, or names programs or other weights."""
    if folder.is_file():
        raise UserError(f"{folder} is a file: name the folder that holds the segmenter and its config.json with --segmenter")
    check_folder(folder)
    weight_bytes(folder, "segmenter")
    config = described(folder / "config.json")
    kind = config.get("model_type")
    if kind == "sam2":
        raise UserError(f"{folder} holds a SAM 2 for single pictures: name one for videos with --segmenter")
    if str(kind).startswith("edgetam"):
        raise UserError(f"{folder} holds EdgeTAM, which needs timm and is not taken: name a SAM 2 with --segmenter")
    if kind not in _FAMILIES:
        raise UserError(
            f"{folder} holds a model of type {str(kind)[:60]!r}, no SAM 2 or 3: name a folder of one with --segmenter"
        )
    family = _FAMILIES[kind]
    if family.part is not None:
        config = config[family.part] if isinstance(config.get(family.part), dict) else {}
    _check_encoder(folder / "config.json", config, family)


def _check_encoder(file: Path, config: dict[str, Any], family: _Family) -> None:
    """UserError where the picture's encoder is of another kind, or the pictures are of no size that can be."""
    vision = config.get("vision_config")
    backbone = vision.get("backbone_config") if isinstance(vision, dict) else None
    kinds = tuple(part.get("model_type") if isinstance(part, dict) else None for part in (vision, backbone))
    if kinds != family.encoders:
        raise UserError(f"{file} asks for another encoder than that of its model: download it again")
    side = config.get("image_size")
    if type(side) is not int or not family.step <= side <= LARGEST_SIDE or side % family.step:
        raise UserError(
            f"{file} asks for pictures of {str(side)[:40]} pixels ('image_size'), which cannot be: download it again"
        )


class Segmenter:
    """SAM 2: answers prompts in single frames, and holds the network that follows objects through a video."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        """Load the networks of a folder. UserError, in one line, where they are missing, damaged, or of another kind."""
        check_installed("--segmenter")
        check_segmenter(folder)
        self.device = device
        with loading(folder, "segmenter"), quiet():
            self._load(folder)

    def _load(self, folder: Path) -> None:
        import transformers

        description = described(folder / "config.json")
        family = _FAMILIES[description["model_type"]]
        network, image = getattr(transformers, family.video), getattr(transformers, family.image)
        self.session = getattr(transformers, family.session)
        config = network.config_class(**(description if family.part is None else description[family.part]))
        self.side = int(config.image_size)
        """Pixels of the square in which prompts are answered."""
        self.follow_side = self.side // 2 if family.halved and self.device.type == "cpu" else self.side
        """Pixels of the square in which objects are followed: on a CPU half, which takes a fourth of the time."""
        sized = _sized(config, self.follow_side)
        check_room(folder, "segmenter", lambda: network(sized), weight_bytes(folder, "segmenter"))
        # A SAM 3 has its detector's weights, too.
        self.video = loaded_network(folder, "segmenter", network, torch.float32, config=sized, beside=ANYTHING)
        self.video.to(self.device).eval()
        self._image = _shared(folder, image, config, self.video).to(self.device).eval()

    def pixels(self, frame: np.ndarray, side: int) -> torch.Tensor:  # (H, W, 3) uint8 -> (3, side, side) float32
        """Prepare a frame: squeezed into a square."""
        return network_input(frame, (side, side), IMAGENET, self.device)

    @torch.inference_mode()
    def answers(
        self,
        frame: np.ndarray,  # (H, W, 3) uint8
        prompts: list[Prompt],  # in the frame's pixels
        before: list[np.ndarray | None],  # of each, logits (h, w) of the mask that it corrects
    ) -> list[np.ndarray]:  # (h, w) float32
        """Find the object of each prompt in one frame: logits of its mask, a fourth of `side` wide; positive inside."""
        height, width = frame.shape[:2]
        embeddings = self._image.get_image_embeddings(self.pixels(frame, self.side)[None])
        scaled = [prompt.scaled(self.side / width, self.side / height) for prompt in prompts]
        return [self._answer(embeddings, prompt, mask) for prompt, mask in zip(scaled, before, strict=True)]

    def _answer(self, embeddings: list[torch.Tensor], prompt: Prompt, before: np.ndarray | None) -> np.ndarray:
        inputs: dict[str, torch.Tensor] = {}
        if prompt.points:
            inputs["input_points"] = self._tensor([[[[point.x, point.y] for point in prompt.points]]])
            inputs["input_labels"] = self._tensor([[[int(point.inside) for point in prompt.points]]]).int()
        if box := prompt.box:
            inputs["input_boxes"] = self._tensor([[[box.x, box.y, box.x + box.width, box.y + box.height]]])
        if before is not None:
            inputs["input_masks"] = self._tensor(np.clip(before, -SUREST, SUREST))[None, None]
        # A single point may mean a part or the whole: of three masks the one that the network trusts most. More say which.
        several = before is None and prompt.box is None and len(prompt.points) == 1
        output = self._image(image_embeddings=embeddings, multimask_output=several, **inputs)
        masks, trust = output.pred_masks[0, 0], output.iou_scores[0, 0]
        return masks[trust.argmax()].float().cpu().numpy()

    def _tensor(self, values: Any) -> torch.Tensor:
        return torch.as_tensor(values, dtype=torch.float32, device=self.device)


def _sized(config: Any, side: int) -> Any:
    """A description of the network for pictures of another size; its weights are the same."""
    sized = copy.deepcopy(config)
    patch = int(sized.prompt_encoder_config.patch_size)
    sized.image_size = sized.prompt_encoder_config.image_size = side
    sized.vision_config.backbone_feature_sizes = [[times * side // patch] * 2 for times in (4, 2, 1)]
    backbone = sized.vision_config.backbone_config
    backbone.image_size = [side, side] if isinstance(backbone.image_size, list) else side
    sized.memory_attention_rope_feat_sizes = [side // patch] * 2
    return sized


def _shared(folder: Path, image: Any, config: Any, video: Any) -> Any:
    """The network for single pictures, with the very weights of the one for videos, which has all of them."""
    parts = ("vision_config", "prompt_encoder_config", "mask_decoder_config")
    network = image(image.config_class(**{part: getattr(config, part).to_dict() for part in parts}))
    kept = network.load_state_dict(video.state_dict(), strict=False, assign=True)
    check_names(folder, "segmenter", [], kept.missing_keys)
    return network
