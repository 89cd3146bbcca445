"""Attention along tracks against a plain loop over tokens."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from edit.sampling.track_attention import along_tracks

HALVES, BATCH, ANCHORS, HEADS, WIDTH, ROWS, COLUMNS = 2, 2, 3, 2, 4, 3, 5
TOKENS = ROWS * COLUMNS


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def own() -> list[Tensor]:
    return [drawn(HALVES, BATCH, TOKENS, HEADS, WIDTH, seed=seed) for seed in (1, 2, 3)]


def anchors() -> list[Tensor]:
    return [drawn(HALVES, ANCHORS, TOKENS, HEADS, WIDTH, seed=seed) for seed in (4, 5)]


def on_tokens(seed: int = 6) -> tuple[Tensor, Tensor]:  # (B, A, h, w) token, (B, A, h, w, 2) its centre
    generator = torch.Generator().manual_seed(seed)
    token = torch.randint(0, TOKENS, (BATCH, ANCHORS, ROWS, COLUMNS), generator=generator)
    row, column = token // COLUMNS, token % COLUMNS
    return token, torch.stack([(2 * column + 1) / COLUMNS - 1, (2 * row + 1) / ROWS - 1], -1)


def test_it_is_softmax_over_the_token_itself_and_those_at_its_places() -> None:
    (query, key, value), (keys, values) = own(), anchors()
    token, places = on_tokens()
    known = drawn(BATCH, ANCHORS, ROWS, COLUMNS, seed=7) > -0.5
    seen = along_tracks(query, key, value, keys, values, places, known)
    for half in range(HALVES):
        for frame in range(BATCH):
            for n in range(TOKENS):
                tokens = [
                    (anchor, int(token[frame, anchor].flatten()[n]))
                    for anchor in range(ANCHORS)
                    if known[frame, anchor].flatten()[n]
                ]
                k = torch.stack([key[half, frame, n], *(keys[half, anchor, m] for anchor, m in tokens)])
                v = torch.stack([value[half, frame, n], *(values[half, anchor, m] for anchor, m in tokens)])
                weights = ((query[half, frame, n] * k).sum(-1) * 0.2 / math.sqrt(WIDTH)).softmax(0)
                assert torch.allclose(seen[half, frame, n], (weights[..., None] * v).sum(0), atol=1e-5)


def test_places_between_tokens_are_looked_up_bilinearly() -> None:
    (query, key, value), (keys, values) = own(), anchors()
    rows, columns = torch.meshgrid(torch.arange(ROWS), torch.arange(COLUMNS), indexing="ij")
    slope = (rows + 10 * columns).flatten().float()
    values = slope[None, None, :, None, None].expand_as(values)
    place = torch.tensor([(2 * 2.25 + 1) / COLUMNS - 1, (2 * 0.5 + 1) / ROWS - 1])
    known = torch.ones(BATCH, ANCHORS, ROWS, COLUMNS, dtype=torch.bool)
    places = place.expand(BATCH, ANCHORS, ROWS, COLUMNS, 2)
    seen = along_tracks(0 * query, key, 0 * value, keys, values, places, known)  # equal scores: a plain mean of 3 and 0
    assert torch.allclose(seen, torch.tensor(23.0 * 3 / 4), atol=1e-4)


def test_where_nothing_is_known_a_token_keeps_its_value() -> None:
    (query, key, value), (keys, values) = own(), anchors()
    _, places = on_tokens()
    known = torch.zeros(BATCH, ANCHORS, ROWS, COLUMNS, dtype=torch.bool)
    assert torch.equal(along_tracks(query, key, value, keys, values, places, known), value)
    known[0, 1, 2, 3] = True
    changed = (along_tracks(query, key, value, keys, values, places, known) != value).any(-1).any(-1)
    assert changed[:, 0, 2 * COLUMNS + 3].all() and changed.sum() == HALVES


def test_half_precision_stays_half() -> None:
    (query, key, value), (keys, values) = ([part.half() for part in parts] for parts in (own(), anchors()))
    _, places = on_tokens()
    known = torch.ones(BATCH, ANCHORS, ROWS, COLUMNS, dtype=torch.bool)
    seen = along_tracks(query, key, value, keys, values, places, known)
    exact = along_tracks(*(part.float() for part in (query, key, value, keys, values)), places, known)
    assert seen.dtype == torch.float16 and (seen - exact).abs().max() < 2e-3
