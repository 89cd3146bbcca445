"""Deflickering as a recipe names it: in the loop and at the end."""

from __future__ import annotations

from collections.abc import Iterable

from edit.deflicker.protocol import Deflicker
from edit.deflicker.registry import registered
from edit.deflicker.tone import Tone
from edit.recipes.recipe import Finish, Sample, tone_of


def ways_of_sample(sample: Sample) -> list[Deflicker]:
    """Make what a stage of sampling deflickers its estimates by, one after the other."""
    if sample.agree in ("none", "fusion"):  # the latter is of latents, not of frames
        return []
    ways = [_made(sample.agree, window=sample.agree_window or None, robust=sample.agree_robust or None)]
    if sample.agree_tone:
        ways.append(Tone(*tone_of(sample.agree_tone, "--agree-tone"), per_frame=True))
    return ways


def ways_of_finish(stages: Iterable[Finish]) -> list[Deflicker]:
    """Make what sampled frames are finished by, one after the other."""
    ways: list[Deflicker] = []
    for stage in stages:
        name, _, settings = stage.by.partition(":")
        ways.append(Tone(*tone_of(settings, "--finish")) if name == "tone" else _made(name))
    return ways


def _made(name: str, **settings: object) -> Deflicker:
    return registered(name).load()(**{key: value for key, value in settings.items() if value is not None})
