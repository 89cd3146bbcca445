"""What is loaded, and how: the options about models, held together."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import torch

from atlas.errors import UserError, one_line
from atlas.system.quiet import quiet_diffusers
from edit.models.schedules import Schedule
from edit.request.prompting import DiffusionOptions


@dataclass(frozen=True)
class Weights:
    """What is loaded, and how. Equal ones are loaded once."""

    model: str
    model_config: str | None
    vae: str | None
    controlnets: tuple[str, ...]
    loras: tuple[tuple[Path, float], ...]
    words: tuple[tuple[Path, str], ...]
    """Textual inversions: files, and the word that stands for each in a prompt."""
    ip_adapter: str | None
    image_prompt_scale: float
    schedule: Schedule
    dtype: torch.dtype
    device: torch.device
    offload: str
    vae_slicing: bool
    vae_tiling: bool
    compile: bool
    offline: bool
    clip_skip: int = 1
    spans: tuple[tuple[float, float], ...] = ()
    """Shares of the steps between which each ControlNet counts."""
    content: str = ""
    """Digest of all files behind the names: what was loaded from a file that has changed since is not taken again."""

    @classmethod
    def of(cls, options: DiffusionOptions, device: torch.device, is_xl: bool = False) -> Weights:
        """What the options ask for on a device, for a model of the family that `is_xl_model` found."""
        precise = "float32" if device.type == "cpu" else "float16"
        return cls(
            options.model,
            options.model_config,
            options.vae,
            options.controlnets(is_xl),
            tuple(options.loras()),
            tuple(options.words()),
            options.ip_adapter if options.image_prompt is not None else None,
            options.image_prompt_scale,
            Schedule(options.scheduler, options.karras, options.timestep_spacing, options.prediction_type),
            getattr(torch, precise if options.dtype == "auto" else options.dtype),
            device,
            options.offload,
            options.vae_slicing,
            options.vae_tiling,
            options.compile,
            options.offline,
            options.clip_skip,
            tuple(options.control_spans()),
        )


def check_installed() -> None:
    """UserError where the packages of the extra `diffusion` are missing."""
    for name in ("diffusers", "transformers", "accelerate"):
        if importlib.util.find_spec(name) is None:
            raise UserError(f"--editor diffusion needs {name}, which is not installed: pip install -e .[diffusion]")


def check_imports() -> None:
    """UserError where diffusers does not import: what it takes along fails where torchvision is of another build than torch."""
    check_installed()
    try:
        with quiet_diffusers():
            from diffusers import StableDiffusionControlNetPipeline  # noqa: F401
    except Exception as problem:  # of many kinds, from deep inside
        raise UserError(
            f"diffusers does not import here ({one_line(problem)}): run pip install -e .[diffusion] again"
        ) from None
