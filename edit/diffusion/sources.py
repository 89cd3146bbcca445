"""What a run reads from outside to follow a prompt: weights, control images, an image prompt. Each once, when it is needed."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from atlas.errors import UserError
from atlas.storage.images import read_image, to_8_bit
from atlas.storage.stamps import digest
from atlas.system.device import choose_device
from atlas.video.numbered import NumberedImages
from atlas.weights.hub import Kind, fingerprint, located, named
from edit.diffusion.adapters import ip_adapter_files
from edit.diffusion.conditions import DepthEstimator, canny
from edit.diffusion.model import StableDiffusion
from edit.diffusion.weights import Weights, check_installed, is_xl_model, load
from edit.request.prompting import DiffusionOptions

# What does not change the picture, or stands in `identity` in another form.
_APART = {"prompt", "prompt_at", "model", "model_config", "controlnet", "lora", "ip_adapter", "depth_model", "image_prompt",
          "control_images", "offline", "offload", "vae_slicing", "compile", "on", "dtype"}  # fmt: skip


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
        self._depth: DepthEstimator | None = None
        self._image_prompt = None if options.image_prompt is None else read_image(options.image_prompt, mode="rgb")
        self._paths = self._located(model)

    def model(self) -> StableDiffusion:
        """The model, loaded once per run."""
        return load(self.weights)

    def check(self, prompts: Iterable[str]) -> None:
        """UserError where weights do not load or do not fit each other, or a prompt is too long for them."""
        model = self.model()
        for prompt in prompts:
            model.check_prompt(prompt)
        model.check_prompt(self.options.negative, "negative prompt")
        if "depth" in self.options.control:
            self._depth_estimator()

    def make_room(self) -> None:
        """Let go of networks on a GPU, for a stage that needs its memory; in main memory they wait for their use."""
        if self.device.type != "cpu":
            self._depth = None
            load.cache_clear()
            gc.collect()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def image_prompt(self) -> np.ndarray | None:
        """(H, W, 3) uint8."""
        return None if self._image_prompt is None else to_8_bit(self._image_prompt)

    def open_images(self, width: int, height: int, indices: Sequence[int]) -> None:
        """Check the control images of all keyframes."""
        if self.options.control_images is not None:
            self._images = NumberedImages(self.options.control_images, width, height, "--control-images")
            self._images.check(list(indices))

    def control_image(self, index: int) -> np.ndarray:
        """The user's own control image of a frame, (H, W, 3) uint8."""
        assert self._images is not None
        return to_8_bit(self._images.read(index))[..., :3]

    def control_identity(self, index: int) -> str | None:
        """Digest of that image; None where there is none."""
        return None if self._images is None else digest(self._images.files[index])

    def controls(
        self,
        image: np.ndarray,  # (H, W, 3) uint8, at the model's size
        own: Callable[[], np.ndarray],
    ) -> list[np.ndarray]:  # each (H, W, 3) uint8
        """The control images of a picture, in the order of --control; `own` gives the user's."""
        images = []
        for kind in self.options.control:
            if kind == "canny":
                images.append(canny(image, *self.options.canny))
            elif kind == "depth":
                images.append(self._depth_estimator()(image))
            else:
                images.append(own())
        return images

    def identity(self) -> dict[str, Any]:
        """What decides the picture beside prompt, frame and fit: settings, and the hashes of all weights."""
        chosen = {name: value for name, value in self.options.settings().items() if name not in _APART}
        weights = {name: fingerprint(path) for name, path in self._paths.items()}
        loras = [[fingerprint(path), scale] for path, scale in self.weights.loras]
        image = None if self.options.image_prompt is None else digest(self.options.image_prompt)
        precision = [str(self.weights.dtype), self.device.type]
        return chosen | {"weights": weights, "loras": loras, "image": image, "precision": precision}

    def _check_names(self) -> None:
        """One UserError for all weights whose names are wrong, before the first of them, which may be large, is fetched."""
        options, problems = self.options, []
        names: list[tuple[str | None, Kind]] = [(options.model, "model"), (options.model_config, "configuration")]
        names += [(name, "ControlNet") for name in options.controlnet]
        names += [(options.depth_model, "depth estimator")] * ("depth" in options.control)
        names += [(options.ip_adapter, "IP-Adapter")] * (options.image_prompt is not None)
        for name, kind in names:
            try:
                _ = name is None or named(name, kind)
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
        for number, name in enumerate(self.weights.controlnets):
            paths[f"ControlNet {number}"] = located(name, "ControlNet", offline=offline)
        if "depth" in options.control:
            paths["depth"] = located(options.depth_model, "depth estimator", offline=offline)
        if options.image_prompt is not None:
            files = ip_adapter_files(self.is_xl)
            paths["IP-Adapter"] = located(options.ip_adapter, "IP-Adapter", offline=offline, patterns=files)
        return paths

    def _depth_estimator(self) -> DepthEstimator:
        if self._depth is None:
            if not self._paths["depth"].is_dir():
                raise UserError(f"--depth-model {self.options.depth_model} is no folder and no hub id: name one that is")
            self._depth = DepthEstimator(self._paths["depth"], self.device)
        return self._depth
