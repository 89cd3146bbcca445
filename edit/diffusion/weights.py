"""Loading: a base model and ControlNets by hub id, folder or .safetensors file, with LoRA, IP-Adapter and scheduler.

Weights are read from safetensors alone: other formats can hold programs. A run loads them once.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from atlas.errors import UserError, one_line
from atlas.system.quiet import quiet_diffusers
from atlas.weights.folder import check_folder, described, weight_bytes, weights_header
from atlas.weights.hub import located
from edit.diffusion.adapters import add_image_prompt, add_loras
from edit.diffusion.model import StableDiffusion
from edit.diffusion.model_folder import check_model, check_model_room, check_network
from edit.request.prompting import DiffusionOptions

SCHEDULERS = {
    "ddim": "DDIMScheduler",
    "ddpm": "DDPMScheduler",
    "dpm++": "DPMSolverMultistepScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler-a": "EulerAncestralDiscreteScheduler",
    "heun": "HeunDiscreteScheduler",
    "lms": "LMSDiscreteScheduler",
    "pndm": "PNDMScheduler",
    "unipc": "UniPCMultistepScheduler",
}
_XL_CONFIG = "stabilityai/stable-diffusion-xl-base-1.0"
_V2_CONFIG = "stabilityai/stable-diffusion-2-1"
_V1_CONFIG = "stable-diffusion-v1-5/stable-diffusion-v1-5"


@dataclass(frozen=True)
class Weights:
    """What is loaded, and how. Equal ones are loaded once."""

    model: str
    model_config: str | None
    controlnets: tuple[str, ...]
    loras: tuple[tuple[Path, float], ...]
    ip_adapter: str | None
    image_prompt_scale: float
    scheduler: str
    dtype: torch.dtype
    device: torch.device
    offload: str
    vae_slicing: bool
    vae_tiling: bool
    compile: bool
    offline: bool

    @classmethod
    def of(cls, options: DiffusionOptions, device: torch.device, is_xl: bool = False) -> Weights:
        """What the options ask for on a device, for a model of the family that `is_xl_model` found."""
        precise = "float32" if device.type == "cpu" else "float16"
        return cls(
            options.model,
            options.model_config,
            options.controlnets(is_xl),
            tuple(options.loras()),
            options.ip_adapter if options.image_prompt is not None else None,
            options.image_prompt_scale,
            options.scheduler,
            getattr(torch, precise if options.dtype == "auto" else options.dtype),
            device,
            options.offload,
            options.vae_slicing,
            options.vae_tiling,
            options.compile,
            options.offline,
        )


def check_installed() -> None:
    """UserError where the packages of the extra `diffusion` are missing."""
    for name in ("diffusers", "transformers", "accelerate"):
        if importlib.util.find_spec(name) is None:
            raise UserError(f"--editor diffusion needs {name}, which is not installed: pip install -e .[diffusion]")


@lru_cache(maxsize=1)
def load(weights: Weights) -> StableDiffusion:
    """Load; UserError, in one line, where something is missing, is no model, or does not fit the rest."""
    diffusers = _imported()
    with quiet_diffusers():
        path = located(weights.model, "model", offline=weights.offline)
        is_xl = is_xl_model(path, weights.model_config, offline=weights.offline)
        controlnets = [_controlnet(name, weights) for name in weights.controlnets]
        pairs = list(zip(weights.controlnets, controlnets, strict=True))
        if path.is_dir():  # told before the rest of it, which is large, is loaded
            with _as_user_error(f"{weights.model} cannot be loaded as a model"):
                check_model_room(path)
            _check_families(pairs, weights.model, described(path / "unet" / "config.json"))
        pipeline = _pipeline(diffusers, weights, path, controlnets, is_xl)
        _check_families(pairs, weights.model, pipeline.unet.config)
        pipeline.scheduler = _scheduler(diffusers, weights.scheduler, pipeline.scheduler)
        add_loras(pipeline, weights.loras)
        if weights.ip_adapter is not None:
            add_image_prompt(pipeline, weights.ip_adapter, weights.image_prompt_scale, is_xl=is_xl, offline=weights.offline)
        pipeline.set_progress_bar_config(disable=True)
        try:
            _place(pipeline, weights)
        except torch.cuda.OutOfMemoryError:
            advice = "a smaller model, or --device cpu" if weights.offload == "sequential" else "--offload model or sequential"
            raise UserError(f"out of GPU memory while loading {weights.model}: try {advice}, --dtype float16") from None
    return StableDiffusion(pipeline, weights.device)


def _imported() -> Any:
    """The module diffusers, with what it takes along: that fails where torchvision is of another build than torch."""
    check_installed()
    try:
        with quiet_diffusers():
            import diffusers
            from diffusers import StableDiffusionControlNetPipeline  # noqa: F401
    except Exception as problem:  # of many kinds, from deep inside
        raise UserError(
            f"diffusers does not import here ({one_line(problem)}): run pip install -e .[diffusion] again"
        ) from None
    return diffusers


def _pipeline(diffusers: Any, weights: Weights, path: Path, controlnets: list[Any], is_xl: bool) -> Any:
    kind = "StableDiffusionXLControlNetPipeline" if is_xl else "StableDiffusionControlNetPipeline"
    more: dict[str, Any] = {"controlnet": controlnets[0] if len(controlnets) == 1 else controlnets}
    if not is_xl:
        more |= {"safety_checker": None, "requires_safety_checker": False}
    with _as_user_error(f"{weights.model} cannot be loaded as a model"):
        if path.is_dir():
            return getattr(diffusers, kind).from_pretrained(
                str(path), torch_dtype=weights.dtype, use_safetensors=True, local_files_only=True, **more
            )
        config = _file_config(weights, path)
        if config is not None:
            check_model(Path(config))
            check_model_room(Path(config), path.stat().st_size)
        return getattr(diffusers, kind).from_single_file(
            str(path), config=config, torch_dtype=weights.dtype, local_files_only=weights.offline or config is not None, **more
        )


def _controlnet(name: str, weights: Weights) -> Any:
    from diffusers import ControlNetModel

    path = located(name, "ControlNet", offline=weights.offline)
    with _as_user_error(f"{name} cannot be loaded as a ControlNet"):
        described_in = path if path.is_dir() else path.parent
        if (described_in / "config.json").exists():
            check_folder(described_in)
            size = weight_bytes(path, "ControlNet") if path.is_dir() else path.stat().st_size
            check_network(described_in, "ControlNet", ControlNetModel, size)
        if path.is_dir():
            return ControlNetModel.from_pretrained(
                str(path), torch_dtype=weights.dtype, use_safetensors=True, local_files_only=True
            )
        beside = path.parent if (path.parent / "config.json").is_file() else None
        if beside is None and weights.offline:
            raise UserError(f"{path} lies alone: put the ControlNet's config.json beside it, or leave out --offline")
        more = {} if beside is None else {"config": str(beside)}
        return ControlNetModel.from_single_file(
            str(path), torch_dtype=weights.dtype, local_files_only=weights.offline or beside is not None, **more
        )


def is_xl_model(path: Path, config: str | None, *, offline: bool) -> bool:
    """Whether the model found at `path` is of the XL family; UserError where it is of none that this editor takes."""
    if path.is_file() and config is None:
        return any(key.startswith("conditioner.embedders.1") for key in weights_header(path)[0])
    folder = path if path.is_dir() else located(config or "", "configuration", offline=offline)
    return "XL" in check_model(folder)


def _file_config(weights: Weights, path: Path) -> str | None:
    """Where the configuration of a single file is; None lets diffusers fetch it."""
    if weights.model_config is not None:
        return str(located(weights.model_config, "configuration", offline=weights.offline))
    if not weights.offline:
        return None
    keys = weights_header(path)[0]
    v2 = any(key.startswith("cond_stage_model.model.") for key in keys)
    xl = any(key.startswith("conditioner.embedders.1") for key in keys)
    return str(located(_XL_CONFIG if xl else _V2_CONFIG if v2 else _V1_CONFIG, "configuration", offline=True))


def _check_families(controlnets: list[tuple[str, Any]], model: str, unet: Mapping[str, Any]) -> None:
    """UserError where a ControlNet (by its name) was made for another kind of model than one with this UNet's configuration."""
    for name, controlnet in controlnets:
        for what in ("cross_attention_dim", "addition_embed_type", "in_channels", "block_out_channels"):
            there, wanted = (
                list(value) if isinstance(value, list | tuple) else value
                for value in (controlnet.config.get(what), unet.get(what))
            )
            if what in unet and there != wanted:
                raise UserError(
                    f"the ControlNet {name} is of another family than the model {model} ({what} {there}, not {wanted}): "
                    "name one that was made for this model with --controlnet"
                )


def _scheduler(diffusers: Any, name: str, present: Any) -> Any:
    kind = getattr(diffusers, SCHEDULERS[name])
    return present if type(present) is kind else kind.from_config(present.config)


def _place(pipeline: Any, weights: Weights) -> None:
    if hasattr(pipeline, "text_encoder_2") and weights.dtype == torch.float16 and pipeline.vae.config.force_upcast:
        pipeline.vae.to(torch.float32)  # XL's overflows in half precision
    if weights.vae_slicing:
        pipeline.vae.enable_slicing()
    if weights.vae_tiling:
        pipeline.vae.enable_tiling()
    if weights.compile:
        pipeline.unet.compile()
        pipeline.controlnet.compile()
    if weights.offload != "none" and weights.device.type == "cpu":
        raise UserError(f"--offload {weights.offload} moves networks off a GPU, and this runs on the CPU: leave it out")
    if weights.offload == "model":
        pipeline.enable_model_cpu_offload(device=weights.device)
    elif weights.offload == "sequential":
        pipeline.enable_sequential_cpu_offload(device=weights.device)
    else:
        pipeline.to(weights.device)


@contextlib.contextmanager
def _as_user_error(failure: str) -> Iterator[None]:
    """Whatever a library raises on a file from outside, as one line."""
    try:
        yield
    except (UserError, MemoryError, KeyboardInterrupt, torch.cuda.OutOfMemoryError):
        raise
    except Exception as problem:  # diffusers raises nearly every kind there is
        raise UserError(f"{failure}: {one_line(problem)}") from None
