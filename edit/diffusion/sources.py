"""What a run reads from outside to follow a prompt: weights, control images, an image prompt. Each once, when it is needed."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from atlas.errors import UserError
from atlas.storage.images import over_black, over_white, read_image, to_8_bit
from atlas.storage.pictures import WantedSize
from atlas.storage.stamps import digest
from atlas.system.device import choose_device
from atlas.video.numbered import NumberedImages
from atlas.weights.folder import described
from atlas.weights.hub import Kind, fingerprint, located, named
from edit.controls.drawing import draw_poses
from edit.controls.poses import Poses
from edit.controls.smoothing import usual_window
from edit.controls.soft_edges import SoftEdges, check_soft_edges
from edit.diffusion.conditions import DepthEstimator, canny, gives_distance
from edit.diffusion.crop import Crop
from edit.diffusion.model import StableDiffusion
from edit.diffusion.weights import let_go, load
from edit.models.base import description_folder, is_xl_model
from edit.models.controlnets import described_by
from edit.models.on_top.ip_adapters import image_encoder_of, ip_adapter_patterns
from edit.models.schedules import check_steps, named_entries, single_file_marks
from edit.models.weights import Weights, check_installed
from edit.prompts.syntax import is_plain
from edit.request.prompting import DiffusionOptions

# What does not change the picture, or stands in `identity` in another form.
_APART = {"prompt", "prompt_at", "model", "model_config", "vae", "controlnet", "lora", "textual_inversion", "ip_adapter",
          "depth_model", "image_prompt", "control_images", "poses", "pose_window", "softedge", "offline", "offload",
          "vae_slicing", "compile", "dtype"}  # fmt: skip
_NOTATION = 1  # raise it when the same notation in a prompt is read otherwise
_STEPPED = 2  # raise it when `LateLMS` takes the same steps otherwise: 1 was diffusers' own LMS
_SEEN = 2  # raise it when the same image prompt or control image is seen otherwise


class Sources:
    """Opens what the options name; UserError, before anything is written, where something is missing or does not fit."""

    def __init__(self, options: DiffusionOptions, device: str) -> None:
        check_installed()
        self.options = options
        self.device = choose_device(device)
        self._check_names()
        model = located(options.model, "model", offline=options.offline)
        self.is_xl = is_xl_model(model, options.model_config, offline=options.offline)
        self.weights = Weights.of(options, self.device, self.is_xl)
        self._images: NumberedImages | None = None
        self._atlas_image: np.ndarray | None = None
        self._poses: Poses | None = None
        self._depth: DepthEstimator | None = None
        self._soft_edges: SoftEdges | None = None
        self._image_prompt = None if options.image_prompt is None else read_image(options.image_prompt)
        self._paths = self._located(model)

    def model(self) -> StableDiffusion:
        """The model, loaded once per run."""
        content = digest({name: fingerprint(path) for name, path in self._paths.items()}, self._on_top())
        return load(replace(self.weights, content=content))

    def check(self, prompts: Iterable[str]) -> None:
        """UserError where weights do not load or do not fit each other, or a prompt is too long for them."""
        model = self.model()
        for prompt in prompts:
            model.check_prompt(prompt)
        model.check_prompt(self.options.negative, "negative prompt")
        check_steps(model.scheduler, self.options.keyframe_steps())
        if "depth" in self.options.control:
            self._depth_estimator()
        if "softedge" in self.options.control:
            self._soft_edge_detector()

    def make_room(self) -> None:
        """Let go of networks on a GPU, for a stage that needs its memory; in main memory they wait for their use."""
        if self.device.type != "cpu":
            self._depth = self._soft_edges = None
            let_go()
            gc.collect()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def image_prompt(self) -> np.ndarray | None:
        """(H, W, 3) uint8; a cut-out is seen over white."""
        return None if self._image_prompt is None else to_8_bit(over_white(self._image_prompt))

    def open_controls(self, width: int, height: int, fps: float, frames: Sequence[int]) -> None:
        """Read what controls of a clip's frames are made from: images and poses; UserError where some of `frames` have none."""
        options = self.options
        if options.control_images is not None:
            self._images = NumberedImages(options.control_images, width, height, "--control-images")
            self._images.check(list(frames))
        if options.poses is not None:
            window = usual_window(fps) if options.pose_window is None else options.pose_window
            self._poses = Poses(options.poses, width, height, window)
            self._poses.check(frames)

    def open_atlas_control(self, size: WantedSize | None = None) -> None:
        """Read the user's own control image of an atlas of `size`; UserError where it is not one image, or of another size."""
        path = self.options.control_images
        if path is not None:
            if not path.is_file():
                raise UserError(f"--control-images {path} is no file: --on atlas takes one image of the atlas's size")
            self._atlas_image = to_8_bit(read_image(path, mode="rgb", size=size))

    def control_identity(self, frame: int | None) -> str | None:
        """Digest of what controls of a frame (None: of an atlas) are made from beside its picture; None where that is all."""
        own = None
        if self.options.control_images is not None:
            own = digest(_SEEN, self.options.control_images if frame is None else self._numbered().files[frame])
        if self.options.poses is None or frame is None:
            return own
        return digest(own, self._followed().identity(frame))

    def controls(
        self,
        image: np.ndarray,  # (H, W, 3) uint8, at the model's size
        crop: Crop,
        frame: int | None,
    ) -> list[np.ndarray]:  # each (H, W, 3) uint8
        """Make the control images of a picture, in the order of --control.

        crop: what it shows of the frame of that number, or of an atlas (None).
        """
        images = []
        for kind in self.options.control:
            if kind == "canny":
                images.append(canny(image, *self.options.canny))
            elif kind == "depth":
                images.append(self._depth_estimator()(image))
            elif kind == "softedge":
                images.append(self._soft_edge_detector()(image))
            elif kind == "pose":
                assert frame is not None
                images.append(draw_poses(crop.moved(self._followed().at(frame)), crop.height, crop.width))
            else:
                images.append(crop.cut(self._own_image(frame)))
        return images

    def identity(self) -> dict[str, Any]:
        """What decides the picture beside prompt, frame and fit: settings, and the hashes of all weights."""
        chosen = {name: value for name, value in self.options.settings().items() if name not in _APART}
        if not all(map(is_plain, self.options.all_prompts())):
            chosen["notation"] = _NOTATION
        if self.options.scheduler == "lms":
            chosen["stepped"] = _STEPPED
        depth = self._paths.get("depth")
        if depth is not None and depth.is_dir() and gives_distance(described(depth / "config.json")):
            chosen["depth"] = "inverse of metres"
        weights = {name: fingerprint(path) for name, path in self._paths.items()}
        image = None if self.options.image_prompt is None else digest(_SEEN, self.options.image_prompt)
        precision = [str(self.weights.dtype), self.device.type]
        implied = self._implied_schedule()
        schedule = {"schedule": implied} if implied else {}  # of most models nothing: their pictures keep their names
        return chosen | {"weights": weights, "image": image, "precision": precision} | self._on_top() | schedule

    def _on_top(self) -> dict[str, Any]:
        """Hashes of LoRAs, and of textual inversions where there are any."""
        words = [[fingerprint(path), word] for path, word in self.weights.words]
        loras = [[fingerprint(path), scale] for path, scale in self.weights.loras]
        return {"loras": loras} | ({"words": words} if words else {})

    def _implied_schedule(self) -> dict[str, Any]:
        """What the steps are taken with that neither an option nor the model's description names."""
        model = self._paths["model"]
        marks = single_file_marks(model) if model.is_file() else {}
        folder = model if model.is_dir() else self._paths["configuration"]
        return self.weights.schedule.implied(named_entries(folder), marks)

    def _check_names(self) -> None:
        """One UserError for all weights whose names are wrong, before the first of them, which may be large, is fetched."""
        options, problems = self.options, []
        names: list[tuple[str | None, Kind]] = [(options.model, "model"), (options.model_config, "configuration")]
        names += [(options.vae, "autoencoder"), *((name, "ControlNet") for name in options.controlnet)]
        names += [(options.depth_model, "depth estimator")] * ("depth" in options.control)
        names += [(options.ip_adapter, "IP-Adapter")] * (options.image_prompt is not None)
        for name, kind in names:
            try:
                _ = name is None or named(name, kind)
            except UserError as problem:
                problems.append(str(problem))
        if options.softedge is not None:
            try:
                check_soft_edges(options.softedge)
            except UserError as problem:
                problems.append(str(problem))
        if problems:
            raise UserError("; ".join(problems))

    def _located(self, model: Path) -> dict[str, Path]:
        """Where all weights are; what is not in the cache is fetched now."""
        options, offline = self.options, self.options.offline
        paths = {"model": model}
        if options.model_config is not None:
            paths["configuration"] = located(options.model_config, "configuration", offline=offline)
        elif model.is_file():
            paths["configuration"] = description_folder(None, model, offline=offline)
        if options.vae is not None:
            paths["autoencoder"] = located(options.vae, "autoencoder", offline=offline)
        for number, name in enumerate(self.weights.controlnets):
            path = located(name, "ControlNet", offline=offline)
            paths[f"ControlNet {number}"] = path
            if path.is_file():
                paths[f"ControlNet {number}'s description"] = described_by(path, offline=offline) / "config.json"
        if "depth" in options.control:
            paths["depth"] = located(options.depth_model, "depth estimator", offline=offline)
        if options.softedge is not None:
            paths["soft edges"] = options.softedge
        if options.image_prompt is not None:
            wanted = ip_adapter_patterns(self.is_xl)
            path = located(options.ip_adapter, "IP-Adapter", offline=offline, patterns=wanted)
            paths["IP-Adapter"] = path
            if path.is_file():
                paths["image encoder"] = image_encoder_of(path)
        return paths

    def _depth_estimator(self) -> DepthEstimator:
        if self._depth is None:
            if not self._paths["depth"].is_dir():
                raise UserError(f"--depth-model {self.options.depth_model} is no folder and no hub id: name one that is")
            self._depth = DepthEstimator(self._paths["depth"], self.device)
        return self._depth

    def _soft_edge_detector(self) -> SoftEdges:
        if self._soft_edges is None:
            self._soft_edges = SoftEdges(self._paths["soft edges"], self.device)
        return self._soft_edges

    def _own_image(self, frame: int | None) -> np.ndarray:
        """The user's own control image of a frame, or of the atlas: (H, W, 3) uint8."""
        if frame is not None:
            return to_8_bit(over_black(self._numbered().read(frame)))
        assert self._atlas_image is not None, "open_atlas_control comes first"
        return self._atlas_image

    def _numbered(self) -> NumberedImages:
        assert self._images is not None, "open_controls comes first"
        return self._images

    def _followed(self) -> Poses:
        assert self._poses is not None, "open_controls comes first"
        return self._poses
