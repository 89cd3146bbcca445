"""Attention across frames against diffusers' own processor, on tiny models: joint, anchors, tracks, and what is left alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from edit.diffusion.batch import stacked
from edit.diffusion.model import StableDiffusion
from edit.diffusion.weights import load
from edit.models.weights import Weights
from edit.request.prompting import DiffusionOptions
from edit.sampling.attention import FrameAttention, attended
from tests.edit import tiny

SIZE = (40, 56)  # pixels: odd numbers of cells, which every level halves rounding up
LATENT = (5, 7)
KINDS = pytest.mark.parametrize("kind", ["sd", "xl"])


def loaded(models: Path, kind: str = "sd", **changes: Any) -> StableDiffusion:
    given = {
        "prompt": "a cat",
        "model": str(models / kind),
        "controlnet": (str(models / f"controlnet-{kind}"),),
        "offline": True,
    }
    model = load(Weights.of(DiffusionOptions(**(given | changes)), torch.device("cpu")))  # type: ignore[arg-type]
    model.scheduler.set_timesteps(4, device="cpu")
    return model


class Frames:
    """Frames with control images of their own, and their guided predictions."""

    def __init__(self, model: StableDiffusion, guidance: float = 7.0, image: np.ndarray | None = None) -> None:
        self.model, self.halves = model, 2 if guidance > 1 else 1
        words = model.worded("a cat", "a dog", guidance, SIZE, image)
        nets = len(getattr(model.pipeline.controlnet, "nets", [0]))
        drawn = np.random.default_rng(5).integers(0, 2, (6, *SIZE, 3)).astype(np.uint8) * 255
        self.conditionings = [model.controlled(words, [control] * nets, [1.0] * nets) for control in drawn]
        self.latents = torch.randn(6, 4, *LATENT, generator=torch.Generator().manual_seed(2))

    @torch.no_grad()
    def predict(self, *frames: int) -> Tensor:
        conditioning = stacked([self.conditionings[frame] for frame in frames])
        return self.model.predict_with(conditioning, self.latents[list(frames)], 1)


def layers(model: StableDiffusion) -> dict[str, Any]:
    """The self-attention layers of the UNet by name."""
    unet = model.pipeline.unet
    names = [name.removesuffix(".processor") for name in unet.attn_processors if "attn1" in name]
    return {name: unet.get_submodule(name) for name in names}


def processors(model: StableDiffusion) -> dict[str, Any]:
    nets = getattr(model.pipeline.controlnet, "nets", [model.pipeline.controlnet])
    networks = [model.pipeline.unet, *nets]
    return {f"{number} {name}": one for number, net in enumerate(networks) for name, one in net.attn_processors.items()}


@KINDS
@pytest.mark.parametrize("guidance", [1.0, 7.0])
def test_joint_attention_of_one_frame_is_plain(models: Path, kind: str, guidance: float) -> None:
    frames = Frames(loaded(models, kind), guidance)
    plain = frames.predict(2)
    with FrameAttention(frames.model.pipeline) as attention:
        with attention.joint(1, frames.halves):
            assert torch.equal(frames.predict(2), plain)
        with attention.recording(1, frames.halves):
            assert torch.equal(frames.predict(2), plain)
        assert torch.equal(frames.predict(2), plain)


@KINDS
def test_joint_attention_of_equal_frames_is_plain_attention_of_one(models: Path, kind: str) -> None:
    frames = Frames(loaded(models, kind))
    plain = frames.predict(3)
    with FrameAttention(frames.model.pipeline) as attention, attention.joint(4, 2):
        assert (frames.predict(3, 3, 3, 3) - plain).abs().max() < 1e-5


@KINDS
def test_the_order_of_frames_does_not_matter(models: Path, kind: str) -> None:
    frames = Frames(loaded(models, kind))
    with FrameAttention(frames.model.pipeline) as attention, attention.joint(3, 2):
        assert (frames.predict(4, 0, 2) - frames.predict(0, 2, 4)[[2, 0, 1]]).abs().max() < 1e-5
        assert (frames.predict(0, 2, 4) - frames.predict(0, 2, 5)).abs()[:2].max() > 1e-3  # they do see each other


def test_joint_attention_is_diffusers_own_on_the_tokens_of_all_frames(models: Path) -> None:
    model = loaded(models)
    layer = next(iter(layers(model).values()))
    tokens = torch.randn(2 * 3, 35, layer.query_dim, generator=torch.Generator().manual_seed(0))
    expected = layer(tokens.view(2, 3 * 35, -1)).view_as(tokens)
    with FrameAttention(model.pipeline) as attention, attention.joint(3, 2):
        assert torch.equal(layer(tokens), expected)
        other = torch.cat([tokens[:3], torch.rand_like(tokens[3:])])
        assert torch.equal(layer(other)[:3], expected[:3])  # the halves do not see each other
        with pytest.raises(ValueError, match="a batch of 4 is not 2 times 3 frames"):
            layer(tokens[:4])


@KINDS
def test_anchored_attention_is_diffusers_own_over_the_anchors_and_the_frame(models: Path, kind: str) -> None:
    model = loaded(models, kind)
    anchors, batch = (torch.randn(2, n, 12, 16, generator=torch.Generator().manual_seed(n)) for n in (3, 2))
    for layer in [layer for layer in layers(model).values() if layer.query_dim == 16]:
        with FrameAttention(model.pipeline) as attention:
            with attention.recording(3, 2):
                layer(anchors.flatten(0, 1))
            with attention.anchored(2):
                seen = layer(batch.flatten(0, 1)).view_as(batch)
        for frame in range(2):
            keys = torch.cat([anchors.flatten(1, 2), batch[:, frame]], 1)
            assert (seen[:, frame] - layer(batch[:, frame], encoder_hidden_states=keys)).abs().max() < 1e-6


@KINDS
def test_all_frames_as_anchors_are_joint(models: Path, kind: str) -> None:
    frames = Frames(loaded(models, kind))
    with FrameAttention(frames.model.pipeline) as attention:
        with attention.joint(4, 2):
            joint = frames.predict(0, 1, 2, 3)
        with attention.recording(4, 2):
            assert torch.equal(frames.predict(0, 1, 2, 3), joint)


@KINDS
def test_a_frame_does_not_depend_on_its_batch(models: Path, kind: str) -> None:
    frames = Frames(loaded(models, kind))
    with FrameAttention(frames.model.pipeline) as attention:
        with attention.recording(2, 2):
            frames.predict(0, 5)
        with attention.anchored(2):
            four, each = frames.predict(1, 2, 3, 4), [frames.predict(frame) for frame in (1, 2, 3, 4)]
    assert (four - torch.cat(each)).abs().max() < 1e-5
    assert (torch.cat([frames.predict(1), frames.predict(2)]) - four[:2]).abs().max() > 1e-3


@KINDS
def test_without_anchors_it_is_plain(models: Path, kind: str) -> None:
    frames = Frames(loaded(models, kind))
    plain = frames.predict(1, 2)
    attention = FrameAttention(frames.model.pipeline, latent_size=LATENT)
    with attention, attention.anchored(2):
        assert torch.equal(frames.predict(1, 2), plain)
    with attention:
        with attention.recording(1, 2):
            frames.predict(0)
        with attention.anchored(2):
            assert not torch.equal(frames.predict(1, 2), plain)
        assert torch.equal(frames.predict(1, 2), plain)
    with attention, attention.anchored(2):  # what was recorded lasts no longer than the block
        assert torch.equal(frames.predict(1, 2), plain)


def in_themselves(height: int, width: int, known: bool = True, batch: int = 1, anchors: int = 1) -> tuple[Tensor, Tensor]:
    """Places of cells that stay where they are."""
    y, x = torch.meshgrid(*((2 * torch.arange(n) + 1) / n - 1 for n in (height, width)), indexing="ij")
    return torch.stack([x, y], -1).expand(batch, anchors, -1, -1, -1), torch.full((batch, anchors, height, width), known)


@KINDS
def test_tracks_of_unknown_places_change_nothing(models: Path, kind: str) -> None:
    frames = Frames(loaded(models, kind))
    with FrameAttention(frames.model.pipeline, latent_size=LATENT) as attention:
        with attention.recording(2, 2, lambda h, w: in_themselves(h, w, False, 2, 2)):
            recorded = frames.predict(0, 5)
        with attention.joint(2, 2):
            assert torch.equal(frames.predict(0, 5), recorded)
        with attention.anchored(2):
            anchored = frames.predict(1, 2)
        with attention.tracked(2, lambda h, w: in_themselves(h, w, False, 2, 2)):
            assert torch.equal(frames.predict(1, 2), anchored)


@KINDS
def test_tracks_are_followed_at_the_finest_levels_of_the_decoder(models: Path, kind: str) -> None:
    frames = Frames(loaded(models, kind))
    asked = []

    def places(height: int, width: int) -> tuple[Tensor, Tensor]:
        asked.append((height, width))
        return in_themselves(height, width)

    with FrameAttention(frames.model.pipeline, latent_size=LATENT) as attention:
        with attention.recording(1, 2):
            frames.predict(3)
        with attention.anchored(2):
            anchored, same = frames.predict(1), frames.predict(3)
        with attention.tracked(2, places):
            assert (frames.predict(1) - anchored).abs().max() > 1e-4
            # A frame's own token, looked up where it is, has its key and value: the average of both is itself.
            assert (frames.predict(3) - same).abs().max() < 1e-5
    assert sorted(asked) == ([(3, 4), (5, 7)] if kind == "sd" else [(3, 4)])  # once each; XL's finest has no attention


def test_only_the_decoder_is_tracked(models: Path) -> None:
    model = loaded(models)
    generator = torch.Generator().manual_seed(1)
    with FrameAttention(model.pipeline, latent_size=LATENT) as attention:
        for name, layer in layers(model).items():
            tokens = 35 if layer.query_dim == 8 else 12
            anchor, own = torch.randn(2, 1, tokens, layer.query_dim, generator=generator)
            with attention.recording(1, 1):
                layer(anchor)
            with attention.anchored(1):
                anchored = layer(own)
            with attention.tracked(1, in_themselves):
                assert torch.equal(layer(own), anchored) == (not name.startswith("up_blocks"))


def test_anchors_are_drawn_along_their_own_tracks_too(models: Path) -> None:
    frames = Frames(loaded(models))
    with FrameAttention(frames.model.pipeline, latent_size=LATENT) as attention:
        with attention.recording(2, 2):
            plain = frames.predict(0, 5)
        with attention.recording(2, 2, lambda h, w: in_themselves(h, w, True, 2, 2)):
            assert (frames.predict(0, 5) - plain).abs().max() > 1e-4
        with attention.recording(1, 2):
            alone = frames.predict(0)
        with attention.recording(1, 2, in_themselves):  # itself is no other anchor
            assert torch.equal(frames.predict(0), alone)


def test_tracks_ask_for_the_latents_size(models: Path) -> None:
    model = loaded(models)
    name = next(name for name in layers(model) if name.startswith("up_blocks.1"))
    layer, tokens = layers(model)[name], torch.randn(1, 35, 8)
    for size, problem in ((None, "latent_size="), ((4, 9), "35 tokens are no level of a latent of 4x9")):
        with FrameAttention(model.pipeline, latent_size=size) as attention:
            with attention.recording(1, 1):
                layer(tokens)
            with attention.tracked(1, in_themselves), pytest.raises(ValueError, match=problem):
                layer(tokens)


def contexts(attention: FrameAttention) -> list[Callable[[], Any]]:
    return [
        lambda: attention.joint(1, 2),
        lambda: attention.recording(1, 2),
        lambda: attention.anchored(2),
        lambda: attention.tracked(2, in_themselves),
    ]


@pytest.mark.parametrize("number", range(4))
def test_processors_are_put_back(models: Path, number: int) -> None:
    model = loaded(models)
    before = processors(model)
    with FrameAttention(model.pipeline) as attention:
        assert processors(model) == before
        with contexts(attention)[number]():
            during = processors(model)
            assert all((during[name] is before[name]) == ("attn2" in name) for name in before)
        assert processors(model) == before
        with pytest.raises(KeyboardInterrupt), contexts(attention)[number]():
            raise KeyboardInterrupt
        assert processors(model) == before


def test_control_networks_take_part_or_not(models: Path) -> None:
    two = (str(models / "controlnet-sd"),) * 2
    model = loaded(models, controlnet=two, control=("canny", "depth"), control_scale=(1.0, 1.0))
    before, frames = processors(model), Frames(model)
    with FrameAttention(model.pipeline) as attention, attention.joint(2, 2):
        both = frames.predict(0, 1)
        assert {name[0] for name, one in processors(model).items() if one is not before[name]} == {"0", "1", "2"}
    with FrameAttention(model.pipeline, control=False) as attention, attention.joint(2, 2):
        assert (frames.predict(0, 1) - both).abs().max() > 1e-5
        assert {name[0] for name, one in processors(model).items() if one is not before[name]} == {"0"}


def test_an_image_prompt_is_left_alone(models: Path, tmp_path: Path) -> None:
    adapter = tiny.save_ip_adapter(tmp_path / "adapter", models / "sd")
    model = loaded(models, ip_adapter=str(adapter), image_prompt=tmp_path / "a.png")
    looks = [np.full((32, 32, 3), level, np.uint8) for level in (20, 230)]
    dark, light = (Frames(model, image=look) for look in looks)
    before = processors(model)
    assert any("IPAdapter" in type(one).__name__ for name, one in before.items() if "attn2" in name)
    plain = dark.predict(0)
    with FrameAttention(model.pipeline) as attention, attention.joint(1, 2):
        assert torch.equal(dark.predict(0), plain)
        assert not torch.equal(light.predict(0), plain)
        assert all(one is before[name] for name, one in processors(model).items() if "attn2" in name)
    assert processors(model) == before


def test_a_lora_stays_in_use(models: Path, tmp_path: Path) -> None:
    without = Frames(loaded(models)).predict(0)
    frames = Frames(loaded(models, lora=(str(tiny.save_lora(tmp_path / "a.safetensors")),)))
    plain = frames.predict(0)
    assert not torch.equal(plain, without)
    with FrameAttention(frames.model.pipeline) as attention, attention.joint(1, 2):
        assert torch.equal(frames.predict(0), plain)


def test_scores_take_bounded_memory_where_no_kernel_does_without(monkeypatch: pytest.MonkeyPatch) -> None:
    query, key, value = torch.randn(3, 2, 50, 4, 8, generator=torch.Generator().manual_seed(0))
    whole = attended(query, key, value)
    sizes, plain = [], torch.nn.functional.scaled_dot_product_attention

    def counted(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        sizes.append(query[..., 0].numel() * key.shape[2])
        return plain(query, key, value)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", counted)
    assert torch.equal(attended(query, key, value, most_scores=3000), whole)  # the processor's flash kernel holds none
    assert sizes == [2 * 4 * 50 * 50]
    with sdpa_kernel(SDPBackend.MATH):
        assert (attended(query, key, value, most_scores=3000) - whole).abs().max() < 1e-5
    assert len(sizes) == 1 + 8 and max(sizes[1:]) <= 3000
