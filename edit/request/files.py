"""Files that are named with something behind a colon: LoRAs with their weight, textual inversions with their word."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from atlas.errors import UserError

_NUMBER = re.compile(r"-?\d{1,3}(\.\d*)?|-?\.\d+", re.ASCII)


def weighted_files(loras: Sequence[str]) -> list[tuple[Path, float]]:
    """LoRA files of PATH or PATH:SCALE, and their weights; UserError where a file is missing or is no .safetensors file."""
    weighted = []
    for text in loras:
        path, colon, scale = text.rpartition(":")
        if not (colon and _NUMBER.fullmatch(scale)):
            path, scale = text, "1"
        weighted.append((_checked("--lora", path, "PATH or PATH:SCALE"), float(scale)))
    return weighted


def worded_files(inversions: Sequence[str], prompts: Sequence[str]) -> list[tuple[Path, str]]:
    """Textual inversion files of PATH or PATH:WORD, and their words: without one the file's own name.

    UserError where a file is missing or is no .safetensors file, or where none of the prompts has the word.
    """
    worded = []
    for text in inversions:
        path, _, word = (text, "", "") if Path(text).is_file() else text.rpartition(":")
        file = _checked("--textual-inversion", path or text, "PATH or PATH:WORD")
        word = word.strip() or file.stem
        if not any(word in prompt for prompt in prompts):
            raise UserError(f"--textual-inversion {file}: no prompt has its word {word!r}, write it there, or name PATH:WORD")
        worded.append((file, word))
    if len({word for _, word in worded}) < len(worded):
        raise UserError("two --textual-inversion files have one word: name them PATH:WORD")
    return worded


def _checked(option: str, path: str, form: str) -> Path:
    if not Path(path).is_file():
        raise UserError(f"{option} {path} is missing: give it as {form}")
    if Path(path).suffix != ".safetensors":
        raise UserError(f"{option} {path} is no .safetensors file: other formats can hold programs and are not read")
    return Path(path)
