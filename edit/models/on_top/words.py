"""Textual inversion (Gal et al., ICLR 2023): words that the text encoder learned, each one or more vectors in a small file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from atlas.errors import UserError, one_line
from atlas.weights.folder import weights_header

_MOST = 75  # vectors of a word: a text encoder reads no more tokens at once
_XL_PARTS = ("clip_l", "clip_g")  # tensors for XL's first and second encoder


def add_words(pipeline: Any, words: Sequence[tuple[Path, str]]) -> None:
    """Teach a pipeline's text encoders the words of textual inversion files; UserError where one does not fit the model."""
    for path, word in words:
        for name, tokenizer, encoder in _readers(pipeline, path):
            _add(pipeline, path, word, name, tokenizer, encoder)


def _readers(pipeline: Any, path: Path) -> list[tuple[str, Any, Any]]:
    """Which tensor of a file goes to which tokenizer and text encoder."""
    names = list(weights_header(path)[0])
    both = [(pipeline.tokenizer, pipeline.text_encoder)]
    if hasattr(pipeline, "text_encoder_2"):
        both.append((pipeline.tokenizer_2, pipeline.text_encoder_2))
    parts = list(_XL_PARTS) if set(_XL_PARTS) <= set(names) else names
    if len(parts) != len(both) or len(names) != len(parts):
        raise UserError(
            f"--textual-inversion {path} holds {len(names)} tensors, and this model has {len(both)} text encoders: "
            "it is of another family, or no textual inversion"
        )
    return [(name, *reader) for name, reader in zip(parts, both, strict=True)]


def _add(pipeline: Any, path: Path, word: str, name: str, tokenizer: Any, encoder: Any) -> None:
    from safetensors import safe_open

    shape, width = weights_header(path)[0][name][1], int(encoder.get_input_embeddings().weight.shape[1])
    if len(shape) not in (1, 2) or shape[-1] != width or (len(shape) == 2 and not 1 <= shape[0] <= _MOST):
        raise UserError(
            f"--textual-inversion {path} has vectors of shape {'x'.join(map(str, shape))}, and this model's words have {width} "
            "numbers: it is of another family"
        )
    if tokenizer.convert_tokens_to_ids(word) not in (None, tokenizer.unk_token_id):
        raise UserError(f"--textual-inversion {path}: the model knows the word {word!r} already, name another as PATH:WORD")
    try:
        with safe_open(path, "pt") as file:
            vectors = file.get_tensor(name)
        pipeline.load_textual_inversion(vectors, token=word, tokenizer=tokenizer, text_encoder=encoder)
    except Exception as problem:  # safetensors has errors of its own, and diffusers raises several
        raise UserError(f"--textual-inversion {path} cannot be used with this model: {one_line(problem)}") from None
