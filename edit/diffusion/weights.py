"""The model that a run edits with: loaded once, and kept."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

from edit.diffusion.model import StableDiffusion
from edit.models.loading import load_pipeline
from edit.models.weights import Weights


@lru_cache(maxsize=1)
def load(weights: Weights) -> StableDiffusion:
    """Load the model; UserError, in one line, where something is missing, is no model, or does not fit the rest."""
    return StableDiffusion(_pipeline(replace(weights, clip_skip=1, spans=())), weights.device, weights.clip_skip, weights.spans)


def let_go() -> None:
    """Forget what was loaded: its memory is free as soon as nobody else holds it."""
    load.cache_clear()
    _pipeline.cache_clear()


@lru_cache(maxsize=1)
def _pipeline(weights: Weights) -> Any:
    return load_pipeline(weights)  # the same for every way of reading prompts and controls
