"""The model that a run edits with: loaded once, and kept."""

from __future__ import annotations

from functools import lru_cache

from edit.diffusion.model import StableDiffusion
from edit.models.loading import load_pipeline
from edit.models.weights import Weights


@lru_cache(maxsize=1)
def load(weights: Weights) -> StableDiffusion:
    """Load the model; UserError, in one line, where something is missing, is no model, or does not fit the rest."""
    return StableDiffusion(load_pipeline(weights), weights.device)
