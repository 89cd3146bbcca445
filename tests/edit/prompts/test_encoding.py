"""Encodings of prompts beside diffusers' own: equal where it has them, and by their definition where it has not."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from atlas.errors import UserError
from edit.prompts.encoding import Encoded, check_prompt, encoded

CPU = torch.device("cpu")
READ = 75  # tokens at once; the tiny tokenizer makes one of each letter
KINDS = ("sd", "xl")


@pytest.fixture(scope="module")
def pipelines(models: Path) -> dict[str, Any]:
    """The tiny models as pipelines of diffusers, of text alone. Shared: only read them."""
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

    kinds = {"sd": StableDiffusionPipeline, "xl": StableDiffusionXLPipeline}
    return {name: kind.from_pretrained(models / name, local_files_only=True) for name, kind in kinds.items()}


def own(pipeline: Any, prompt: str, negative: str = "a dog", **more: Any) -> Encoded:
    return encoded(pipeline, prompt, negative, guided=True, device=CPU, **more)


def theirs(pipeline: Any, kind: str, prompt: str, negative: str | None = "a dog", **more: Any) -> tuple[Tensor, ...]:
    device: dict[str, Any] = {"device": CPU, "num_images_per_prompt": 1, "do_classifier_free_guidance": True}
    with torch.no_grad():
        return tuple(pipeline.encode_prompt(prompt, negative_prompt=negative, **device, **more))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("negative", ["a dog", ""])
def test_plain_text_is_encoded_as_diffusers_does(pipelines: dict[str, Any], kind: str, negative: str) -> None:
    found = own(pipelines[kind], "a cat", negative)
    wanted = theirs(pipelines[kind], kind, "a cat", negative or None)
    assert all(
        torch.equal(a, b) for a, b in zip((found.text, found.no_text, found.pooled, found.no_pooled), wanted, strict=False)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_chunked_way_begins_with_what_diffusers_gives(pipelines: dict[str, Any], kind: str) -> None:
    pipeline = pipelines[kind]
    text, no_text, *pooled = theirs(pipeline, kind, "a cat")
    (empty, *_), width = theirs(pipeline, kind, ""), READ + 2
    found = own(pipeline, "a cat BREAK a bird")
    assert found.no_text is not None and found.text.shape == found.no_text.shape == (1, 2 * width, text.shape[-1])
    assert torch.equal(found.text[:, :width], text) and torch.equal(found.no_text[:, :width], no_text)
    assert torch.equal(found.text[:, width:], theirs(pipeline, kind, "a bird")[0])
    assert torch.equal(found.no_text[:, width:], empty)
    if pooled:
        assert torch.equal(found.pooled, pooled[0]) and torch.equal(found.no_pooled, pooled[1])


@pytest.mark.parametrize("kind", KINDS)
def test_long_prompts_are_read_in_chunks(pipelines: dict[str, Any], kind: str) -> None:
    pipeline, width = pipelines[kind], READ + 2
    first, second = "a " * READ, "b " * 10
    found = own(pipeline, first + second, "")
    for number, part in enumerate((first, second)):
        assert torch.equal(found.text[:, number * width : (number + 1) * width], theirs(pipeline, kind, part)[0])
    if kind == "xl":  # its pipelines set an empty negative prompt to 0
        assert found.no_text is not None and not found.no_text.any()
    phrases = "a " * 70 + ", " + "b " * 20  # the comma is the 71st token: the chunk ends there
    assert torch.equal(own(pipeline, phrases).text[:, width:], theirs(pipeline, kind, "b " * 20)[0])
    check_prompt(pipeline, "a " * 16 * READ)
    with pytest.raises(UserError, match="the prompt is 17 times as long as is read at once"):
        check_prompt(pipeline, "a " * (16 * READ + 1))


@pytest.mark.parametrize("kind", KINDS)
def test_weights_move_along_the_line_from_the_empty_prompt(pipelines: dict[str, Any], kind: str) -> None:
    pipeline = pipelines[kind]
    (z, *_), (empty, *_) = theirs(pipeline, kind, "a b"), theirs(pipeline, kind, "")
    for weight in (0.0, 0.5, 1.5):
        found = own(pipeline, f"a (b:{weight})").text
        assert torch.allclose(found[:, 2], empty[:, 2] + weight * (z[:, 2] - empty[:, 2]), atol=1e-6)
        assert torch.equal(found[:, :2], z[:, :2]) and torch.equal(found[:, 3:], z[:, 3:])
    assert torch.equal(own(pipeline, "a (b:1.0)").text, z)


def test_skipped_layers(pipelines: dict[str, Any]) -> None:
    found, whole = own(pipelines["sd"], "a cat", clip_skip=2), theirs(pipelines["sd"], "sd", "a cat")
    shortened = copy.copy(pipelines["sd"])
    shortened.text_encoder = copy.deepcopy(shortened.text_encoder)
    del getattr(shortened.text_encoder, "text_model", shortened.text_encoder).encoder.layers[-1]
    wanted = theirs(shortened, "sd", "a cat")
    assert torch.equal(found.text, wanted[0]) and not torch.equal(found.text, whole[0])
    assert found.no_text is not None and torch.equal(found.no_text, wanted[1])
    assert torch.equal(own(pipelines["xl"], "a cat", clip_skip=2).text, theirs(pipelines["xl"], "xl", "a cat")[0])
    with pytest.raises(UserError, match="--clip-skip 3 is more than the text encoder's 2 layers"):
        check_prompt(pipelines["sd"], "a cat", clip_skip=3)


def test_prompts_of_one_batch_are_equally_long(pipelines: dict[str, Any]) -> None:
    long = "b " * (2 * READ)
    found = own(pipelines["sd"], "a cat", among=(long,))
    assert found.text.shape == own(pipelines["sd"], long).text.shape
    assert torch.equal(found.text[:, : READ + 2], theirs(pipelines["sd"], "sd", "a cat")[0])
