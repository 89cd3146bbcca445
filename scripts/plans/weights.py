"""Weights that a task loads, told from its command: tasks that want the same ones share a process, or a node of a cluster."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.plans.plan import Task

_DECIDE = {
    "--model", "--model-config", "--vae", "--controlnet", "--control", "--lora", "--textual-inversion", "--ip-adapter",
    "--image-prompt", "--scheduler", "--karras", "--no-karras", "--timestep-spacing", "--prediction-type", "--dtype",
    "--device", "--offload", "--vae-slicing", "--vae-tiling", "--compile", "--offline",
}  # fmt: skip
"""Options of edit.py that decide what is loaded. It is a guess that saves time: what is taken again is decided by digests."""


def weights_of(task: Task) -> str:
    """What a task loads, as text: equal texts are equal weights. Empty where it loads none that are worth to be kept."""
    if task.stage != "edit" or not _is_prompted(task.command):
        return ""
    return " ".join(_deciding(task.command)) or "usual"


def _is_prompted(command: tuple[str, ...]) -> bool:
    pairs = zip(command, command[1:], strict=False)
    return ("--editor", "diffusion") in pairs or "--editor=diffusion" in command


def _deciding(command: tuple[str, ...]) -> Iterator[str]:
    """Words of the options that decide, and those behind them."""
    decides = False
    for word in command:
        if word.startswith("--"):
            decides = word.partition("=")[0] in _DECIDE
        if decides:
            yield word
