"""Loading: a base model under ControlNets by hub id, folder or .safetensors file, with what is put on top, as one pipeline.

Weights are read from safetensors alone: other formats can hold programs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from atlas.errors import UserError, one_line
from atlas.system.quiet import quiet_diffusers
from atlas.weights.hub import located
from edit.models.base import base_pipeline, check_folder_model, description_folder, is_xl_model
from edit.models.controlnets import loaded_controlnet
from edit.models.match import check_controlnets, check_kinds, check_tokens, check_widths
from edit.models.on_top.ip_adapters import add_image_prompt
from edit.models.on_top.loras import add_loras
from edit.models.on_top.words import add_words
from edit.models.schedules import named_entries, scheduler, single_file_marks
from edit.models.weights import Weights, check_imports


def load_pipeline(weights: Weights) -> Any:
    """Load; UserError, in one line, where something is missing, is no model, or does not fit the rest."""
    check_imports()
    with quiet_diffusers():
        path = located(weights.model, "model", offline=weights.offline)
        is_xl = is_xl_model(path, weights.model_config, offline=weights.offline)
        controlnets = []
        for name in weights.controlnets:
            with _as_user_error(f"{name} cannot be loaded as a ControlNet"):
                controlnets.append(loaded_controlnet(name, weights))
        named = list(zip(weights.controlnets, controlnets, strict=True))
        with _as_user_error(f"{weights.model} cannot be loaded as a model"):
            if path.is_dir():  # told before the rest of it, which is large, is loaded
                check_controlnets(named, weights.model, check_folder_model(weights.model, path, is_xl))
            pipeline = base_pipeline(weights, path, controlnets[0] if len(controlnets) == 1 else controlnets, is_xl)
            _check_together(weights, pipeline, named, is_xl)
            known = named_entries(description_folder(weights.model_config, path, offline=weights.offline))
            marks = single_file_marks(path) if path.is_file() else {}
            pipeline.scheduler = scheduler(pipeline.scheduler, weights.schedule, weights.schedule.settings(known, marks))
        add_words(pipeline, weights.words)
        add_loras(pipeline, weights.loras)
        if weights.ip_adapter is not None:
            add_image_prompt(pipeline, weights.ip_adapter, weights.image_prompt_scale, is_xl=is_xl, offline=weights.offline)
        pipeline.set_progress_bar_config(disable=True)
        try:
            _place(pipeline, weights)
        except torch.cuda.OutOfMemoryError:
            advice = "a smaller model, or --device cpu" if weights.offload == "sequential" else "--offload model or sequential"
            raise UserError(f"out of GPU memory while loading {weights.model}: try {advice}, --dtype float16") from None
    return pipeline


def _check_together(weights: Weights, pipeline: Any, controlnets: list[tuple[str, Any]], is_xl: bool) -> None:
    parts = [
        (f"tokenizer{number}", f"text_encoder{number}") for number in ("", "_2") if hasattr(pipeline, f"tokenizer{number}")
    ]
    readers = [(getattr(pipeline, tokenizer), getattr(pipeline, encoder)) for tokenizer, encoder in parts]
    if any(part is None for reader in readers for part in reader):
        raise UserError(f"{weights.model} lacks a text encoder or a tokenizer: name a whole model")
    texts = [encoder.config.to_dict() for _, encoder in readers]
    check_kinds(weights.model, pipeline.unet.config, pipeline.vae.config, len(texts), is_xl=is_xl)
    check_widths(weights.model, pipeline.unet.config, texts, is_xl=is_xl)
    check_tokens(weights.model, readers)
    check_controlnets(controlnets, weights.model, pipeline.unet.config)


def _place(pipeline: Any, weights: Weights) -> None:
    if hasattr(pipeline, "text_encoder_2") and weights.dtype == torch.float16 and pipeline.vae.config.get("force_upcast"):
        pipeline.vae.to(torch.float32)  # XL's overflows in half precision
    with _as_user_error("the autoencoder cannot be cut up, leave out --vae-slicing and --vae-tiling"):
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
