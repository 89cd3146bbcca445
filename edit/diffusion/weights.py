"""The model that a run edits with: loaded once, and kept, also for the next run in the same process."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import lru_cache
from typing import Any

from edit.diffusion.model import StableDiffusion
from edit.models.loading import load_pipeline
from edit.models.weights import Weights

_kept: dict[Weights, tuple[Any, Any]] = {}  # at most one: the pipeline, and its scheduler as it was loaded


@lru_cache(maxsize=1)
def load(weights: Weights) -> StableDiffusion:
    """Load the model; UserError, in one line, where something is missing, is no model, or does not fit the rest."""
    return StableDiffusion(_pipeline(replace(weights, clip_skip=1, spans=())), weights.device, weights.clip_skip, weights.spans)


def let_go() -> None:
    """Forget what was loaded: its memory is free as soon as nobody else holds it."""
    load.cache_clear()
    _kept.clear()


def start_anew() -> None:
    """Keep the networks that are loaded, and nothing of what a run told them or took its steps with."""
    load.cache_clear()
    for pipeline, scheduler in _kept.values():
        pipeline.scheduler = copy.deepcopy(scheduler)


def _pipeline(weights: Weights) -> Any:
    """The pipeline, the same for every way of reading prompts and controls."""
    if weights not in _kept:
        _kept.clear()  # first: two models may not fit into memory
        pipeline = load_pipeline(weights)
        _kept[weights] = pipeline, copy.deepcopy(pipeline.scheduler)
    return _kept[weights][0]
