"""Text encodings of prompts: what diffusers' pipelines give, and beyond it weights, parts, long texts and skipped layers.

A text encoder reads 75 tokens at once. What is longer is read in chunks, whose encodings follow each other: the UNet attends to
any number of tokens. A weight w moves a token's encoding along the line from the empty prompt's: e + w (z - e), so that 1
changes nothing and 0 takes the word away. That is how compel (github.com/damian0815/compel) weighs; it has another notation, no
BREAK and no other layer than the last two, so its rule is taken and not the package.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from atlas.errors import UserError
from atlas.system.quiet import quiet_diffusers
from edit.prompts.syntax import is_plain, parsed

_MOST_CHUNKS = 16
_LOOKED_BACK = 20  # tokens before a chunk's end among which it rather ends after a comma
Chunk = tuple[list[int], list[float]]
"""Tokens, and the weight of each."""


@dataclass
class Encoded:
    """A prompt as the UNet is given it, and what it is set against."""

    text: Tensor
    """(1, tokens, width)."""
    no_text: Tensor | None
    """The negative prompt, as long; None where it is not asked for."""
    pooled: Tensor | None = None
    """(1, width): XL's summary of the first chunk."""
    no_pooled: Tensor | None = None


@torch.no_grad()
def encoded(
    pipeline: Any,
    prompt: str,
    negative: str,
    *,
    guided: bool,
    device: torch.device,
    clip_skip: int = 1,
    among: Sequence[str] = (),
) -> Encoded:
    """Encode a prompt and the negative one; as diffusers does, to the bit, where they are short and plain text.

    clip_skip: which layer of the text encoder is read, from the end: 1 is the last; XL reads the second at least. among: other
    prompts, as long as whose encodings this one's has to be, that they fit into one batch.
    """
    prompts = [prompt, *among, *([negative] if guided else [])]
    readers = _readers(pipeline)
    count = max(len(_chunks(pipeline, reader[0], text)) for reader in readers for text in prompts)
    usual = clip_skip <= (2 if len(readers) == 2 else 1)
    if count == 1 and usual and all(map(is_plain, prompts)):
        return _as_diffusers(pipeline, prompt, negative, guided, device, is_xl=len(readers) == 2)
    text, pooled = _read(pipeline, prompt, count, clip_skip, device)
    if not guided:
        return Encoded(text, None, pooled)
    if not negative and len(readers) == 2 and pipeline.config.force_zeros_for_empty_prompt:
        return Encoded(text, torch.zeros_like(text), pooled, None if pooled is None else torch.zeros_like(pooled))
    no_text, no_pooled = _read(pipeline, negative, count, clip_skip, device)
    return Encoded(text, no_text, pooled, no_pooled)


def check_prompt(pipeline: Any, prompt: str, what: str = "prompt", clip_skip: int = 1) -> None:
    """UserError where a prompt is longer than is read, or a text encoder has no such layer."""
    for tokenizer, encoder in _readers(pipeline):
        count, layers = len(_chunks(pipeline, tokenizer, prompt)), int(encoder.config.num_hidden_layers)
        if count > _MOST_CHUNKS:
            raise UserError(f"the {what} is {count} times as long as is read at once, at most {_MOST_CHUNKS} are taken: cut it")
        if clip_skip > layers:
            raise UserError(f"--clip-skip {clip_skip} is more than the text encoder's {layers} layers: choose a smaller one")


def _as_diffusers(pipeline: Any, prompt: str, negative: str, guided: bool, device: torch.device, is_xl: bool) -> Encoded:
    if not is_xl:
        return Encoded(*pipeline.encode_prompt(prompt, device, 1, guided, negative or None))
    return Encoded(
        *pipeline.encode_prompt(
            prompt,
            device=device,
            num_images_per_prompt=1,
            do_classifier_free_guidance=guided,
            negative_prompt=negative or None,
        )
    )


def _readers(pipeline: Any) -> list[tuple[Any, Any]]:
    """Tokenizers and text encoders, two of each for XL."""
    readers = [(pipeline.tokenizer, pipeline.text_encoder)]
    return readers + ([(pipeline.tokenizer_2, pipeline.text_encoder_2)] if hasattr(pipeline, "text_encoder_2") else [])


def _chunks(pipeline: Any, tokenizer: Any, prompt: str) -> list[Chunk]:
    """A prompt as chunks of as many tokens as are read at once, without the marks of beginning and end."""
    most, chunks = tokenizer.model_max_length - 2, []
    commas = set(tokenizer.convert_tokens_to_ids([",</w>", ","]))
    for part in parsed(prompt):
        tokens: list[int] = []
        weights: list[float] = []
        for fragment in part:
            with quiet_diffusers():  # tokenizers warn of length
                text = pipeline.maybe_convert_prompt(fragment.text, tokenizer)  # a word of textual inversion may be several
                found = tokenizer(text, add_special_tokens=False).input_ids
            tokens += found
            weights += [fragment.weight] * len(found)
        start = 0
        while start < len(tokens) or not start:
            end = _end(tokens, start, most, commas)
            chunks.append((tokens[start:end], weights[start:end]))
            start = max(end, 1)
    return chunks


def _end(tokens: list[int], start: int, most: int, commas: set[int]) -> int:
    """Where a chunk that begins at `start` ends: after a comma, where one is near, so that phrases stay whole."""
    end = start + most
    if end >= len(tokens):
        return len(tokens)
    return next((place for place in range(end, max(end - _LOOKED_BACK, start), -1) if tokens[place - 1] in commas), end)


def _read(pipeline: Any, prompt: str, count: int, clip_skip: int, device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Encode `count` chunks, the last of them empty where the prompt has fewer: (1, tokens, width), and XL's summary."""
    texts, pooled = [], None
    readers = _readers(pipeline)
    for tokenizer, encoder in readers:
        chunks = _chunks(pipeline, tokenizer, prompt)
        layer = max(clip_skip, 2) if len(readers) == 2 else clip_skip
        made = [_encode(tokenizer, encoder, chunk[0], layer, device, is_xl=len(readers) == 2) for chunk in chunks]
        empty = _encode(tokenizer, encoder, [], layer, device, is_xl=len(readers) == 2)
        weighted = [_weighed(text, empty[0], weights) for (text, _), (_, weights) in zip(made, chunks, strict=True)]
        texts.append(torch.cat(weighted + [empty[0]] * (count - len(weighted)), 1))
        pooled = made[0][1]
    text = torch.cat(texts, -1)
    return text.to(device, readers[-1][1].dtype), pooled


def _encode(
    tokenizer: Any, encoder: Any, tokens: list[int], layer: int, device: torch.device, *, is_xl: bool
) -> tuple[Tensor, Tensor | None]:
    """One chunk as a text encoder's layer gives it, counted from the end, (1, 77, width), and its summary if it makes one."""
    ids = [tokenizer.bos_token_id, *tokens, tokenizer.eos_token_id]
    ids += [tokenizer.pad_token_id] * (tokenizer.model_max_length - len(ids))
    output = encoder(torch.tensor([ids], device=device), output_hidden_states=True)
    pooled = output[0] if output[0].ndim == 2 else None
    if is_xl:
        return output.hidden_states[-layer], pooled
    if layer == 1:
        return output.last_hidden_state, None
    inner = getattr(encoder, "text_model", encoder)  # as older versions of transformers wrap it
    return inner.final_layer_norm(output.hidden_states[-layer]), None


def _weighed(text: Tensor, empty: Tensor, weights: list[float]) -> Tensor:  # each (1, 77, width)
    if all(weight == 1 for weight in weights):
        return text
    each = torch.ones(text.shape[1], 1, device=text.device, dtype=text.dtype)
    each[1 : 1 + len(weights), 0] = torch.tensor(weights, device=text.device, dtype=text.dtype)
    return torch.where(each == 1, text, torch.lerp(empty, text, each))
