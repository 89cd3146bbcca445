"""Self-attention across frames: the one file that knows the attention processors of diffusers.

    self       q_i over k_i, v_i                        nothing is replaced
    joint      all q over all k, v                      Tune-A-Video in its full form, ControlVideo, DiffSynth
    anchored   q_i over [anchors' k, v; k_i, v_i]       of one anchor, the first frame: Text2Video-Zero
    tracked    anchored, then `along_tracks`            after FLATTEN and FRESCO

Only self-attention (`attn1`) is replaced, while a context lasts; cross-attention may be an IP-Adapter's, and LoRA lives
inside the projections. A batch is [without the prompt x frames, with it x frames]: tokens of the two halves never meet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from types import TracebackType
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.nn.attention import SDPBackend

from edit.sampling.track_attention import Places, along_tracks

_MOST_SCORES = 2**28  # numbers: 1 GiB at a time where no kernel does without them, 2.4 with the copies that torch makes
_TRACKED_BLOCKS = 2  # the decoder's finest that have attention (FRESCO)

Attend = Callable[[str, Tensor, Tensor, Tensor], Tensor]
"""A layer's name, and q, k, v of (halves * frames, N, heads, d) -> what is attended to, of the same shape."""


class FrameAttention:
    """Self-attention of a pipeline's UNet, and of its ControlNets, across the frames of a batch.

    control: whether the ControlNets take part; latent_size: (h, w), for tracks alone. Anchors' keys and values stay on the
    device until the block ends: of all layers, for A anchors, 2 A times what a layer's tokens take.
    """

    def __init__(self, pipeline: Any, *, control: bool = True, latent_size: tuple[int, int] | None = None) -> None:
        networks = {"unet": pipeline.unet}
        if control:
            nets = getattr(pipeline.controlnet, "nets", [pipeline.controlnet])
            networks |= {f"controlnet{number}": net for number, net in enumerate(nets)}
        self._layers = {
            f"{prefix}.{name}": network.get_submodule(name.removesuffix(".processor"))
            for prefix, network in networks.items()
            for name in network.attn_processors
            if name.endswith("attn1.processor")
        }
        self._tracked = _finest_decoder_layers(self._layers)
        self._latent_size = latent_size
        self._bank: dict[str, _Anchors] = {}

    def __enter__(self) -> FrameAttention:
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        self._bank = {}

    @contextmanager
    def joint(self, frames: int, halves: int) -> Iterator[None]:
        """Attend jointly, for a while: the tokens of all frames of a batch to those of all. One frame: plain attention."""
        with self._replaced(lambda layer, *qkv: _joint(frames, halves, *qkv)):
            yield

    @contextmanager
    def recording(self, frames: int, halves: int, places: Places | None = None) -> Iterator[None]:
        """Attend jointly and record the batch's keys and values: its frames are the anchors from now on.

        places: of the anchors in one another, to draw them along their tracks too.
        """
        self._bank = {}
        look_up = places and lru_cache(maxsize=None)(places)
        with self._replaced(partial(self._attend_and_record, frames, halves, look_up)):
            yield

    @contextmanager
    def anchored(self, halves: int) -> Iterator[None]:
        """Attend from each frame of a batch to the recorded anchors and itself; where none are recorded, plainly.

        The batch holds no anchor itself: its tokens would count twice.
        """
        with self._replaced(partial(self._attend_to_anchors, halves, None)):
            yield

    @contextmanager
    def tracked(self, halves: int, places: Places) -> Iterator[None]:
        """Attend as `anchored`, then along tracks at the two finest levels of the decoder.

        places: of the batch's frames in the anchors; asked for once for each grid of tokens.
        """
        with self._replaced(partial(self._attend_to_anchors, halves, lru_cache(maxsize=None)(places))):
            yield

    @contextmanager
    def _replaced(self, attend: Attend) -> Iterator[None]:
        before = {name: layer.get_processor() for name, layer in self._layers.items()}
        try:
            for name, layer in self._layers.items():
                layer.set_processor(_Processor(partial(attend, name)))
            yield
        finally:
            for name, layer in self._layers.items():
                layer.set_processor(before[name])

    def _attend_and_record(
        self, frames: int, halves: int, places: Places | None, layer: str, query: Tensor, key: Tensor, value: Tensor
    ) -> Tensor:
        joint = _joint(frames, halves, query, key, value)
        query, key, value, output = (part.unflatten(0, (halves, frames)) for part in (query, key, value, joint))
        tracked = layer in self._tracked and self._latent_size is not None
        self._bank[layer] = _Anchors(key, value, output if tracked else None)
        if places is None or layer not in self._tracked:
            return joint
        where, known = places(*self._grid(query.shape[2]))
        others = known & ~torch.eye(frames, dtype=torch.bool, device=known.device)[:, :, None, None]
        return along_tracks(query, key, output, key, output, where, others).flatten(0, 1)

    def _attend_to_anchors(
        self, halves: int, places: Places | None, layer: str, query: Tensor, key: Tensor, value: Tensor
    ) -> Tensor:
        anchors = self._bank.get(layer)
        if anchors is None:
            return attended(query, key, value)
        query, key, value = (part.unflatten(0, (halves, -1)) for part in (query, key, value))
        keys, values = anchors.keys.flatten(1, 2), anchors.values.flatten(1, 2)
        seen = [  # one by one: the anchors' tokens are copied for one frame at a time
            attended(query[:, frame], torch.cat([keys, key[:, frame]], 1), torch.cat([values, value[:, frame]], 1))
            for frame in range(query.shape[1])
        ]
        output = torch.stack(seen, 1)
        if places is not None and layer in self._tracked:
            if anchors.outputs is None:
                raise ValueError("tracks need FrameAttention(latent_size=...)")
            where, known = places(*self._grid(query.shape[2]))
            output = along_tracks(query, key, output, anchors.keys, anchors.outputs, where, known)
        return output.flatten(0, 1)

    def _grid(self, tokens: int) -> tuple[int, int]:
        """(h, w) of a layer's tokens: every level halves the latent, rounding up."""
        if self._latent_size is None:
            raise ValueError("tracks need FrameAttention(latent_size=...)")
        height, width = self._latent_size
        while height * width > tokens:
            height, width = -(-height // 2), -(-width // 2)
        if height * width != tokens:
            raise ValueError(f"{tokens} tokens are no level of a latent of {self._latent_size[0]}x{self._latent_size[1]}")
        return height, width


@dataclass(frozen=True)
class _Anchors:
    """What is kept of a layer, each (halves, A, N, heads, d)."""

    keys: Tensor
    values: Tensor
    outputs: Tensor | None
    """What their attention made of them, in layers that are tracked."""


class _Processor:
    """AttnProcessor2_0 of diffusers, number by number, but for what it attends to.

    What that one does beside this, for images (4 dimensions), group and spatial norms and masks, is for other attention
    than attn1 of a transformer block.
    """

    def __init__(self, attend: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        self._attend = attend

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,  # (batch, N, C)
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        # Attention.forward passes on what is named above and leaves out all else.
        query, key, value = (
            project(hidden_states).unflatten(-1, (attn.heads, -1)) for project in (attn.to_q, attn.to_k, attn.to_v)
        )
        query = query if attn.norm_q is None else attn.norm_q(query)
        key = key if attn.norm_k is None else attn.norm_k(key)
        seen = self._attend(query, key, value).flatten(2).to(query.dtype)
        result = attn.to_out[1](attn.to_out[0](seen))
        if attn.residual_connection:
            result = result + hidden_states
        return result / attn.rescale_output_factor


def attended(
    query: Tensor,  # (batch, Q, heads, d)
    key: Tensor,  # (batch, K, heads, d)
    value: Tensor,  # (batch, K, heads, d)
    most_scores: int = _MOST_SCORES,
) -> Tensor:  # (batch, Q, heads, d)
    """Attend: scaled dot-product attention, softmax(q k / sqrt(d)) v, whose scores never take more than bounded memory.

    Flash and memory-efficient kernels hold no scores. Where torch has neither, the queries are cut into chunks.
    """
    query, key, value = (part.transpose(1, 2) for part in (query, key, value))
    rows = max(1, most_scores // (query.shape[0] * query.shape[1] * key.shape[2]))
    if rows >= query.shape[2] or _is_fused(query, key, value):
        return F.scaled_dot_product_attention(query, key, value).transpose(1, 2)
    chunks = [F.scaled_dot_product_attention(chunk, key, value) for chunk in query.split(rows, 2)]
    return torch.cat(chunks, 2).transpose(1, 2)


def _is_fused(query: Tensor, key: Tensor, value: Tensor) -> bool:
    """Whether torch's own choice of kernel holds no scores. Elsewhere than there it is not known to have one."""
    known = query.device.type in ("cpu", "cuda")
    return known and torch._fused_sdp_choice(query, key, value) != SDPBackend.MATH.value


def _joint(frames: int, halves: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    if len(query) != halves * frames:
        raise ValueError(f"a batch of {len(query)} is not {halves} times {frames} frames")
    together = (part.unflatten(0, (halves, frames)).flatten(1, 2) for part in (query, key, value))
    return attended(*together).unflatten(1, (frames, -1)).flatten(0, 1)


def _finest_decoder_layers(layers: dict[str, Any]) -> set[str]:
    """Names of the UNet's layers in the last blocks of its decoder that have attention at all."""
    blocks = {name: int(name.split(".")[2]) for name in layers if name.startswith("unet.up_blocks.")}
    finest = sorted(set(blocks.values()))[-_TRACKED_BLOCKS:]
    return {name for name, block in blocks.items() if block in finest}
