"""Stable Diffusion under ControlNet, 1.x or XL, as the loop and the strategies ask for it: encode, predict, decode.

The networks, and how they are called, are those of diffusers' pipelines; what differs between the two families is here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from atlas.system.quiet import quiet_diffusers
from edit.diffusion.autoencoder import to_latent, to_pixels
from edit.prompts.encoding import check_prompt, encoded

Span = tuple[float, float]
"""Shares of the steps between which a ControlNet counts."""


@dataclass
class Conditioning:
    """Everything that a prediction depends on beside the latent; all on the device, doubled where guided."""

    text: Tensor
    controls: Any
    """A tensor for one ControlNet, a list of tensors for several."""
    scales: Any
    guidance: float
    added: dict[str, Any] | None
    """What XL asks for beside text."""
    image: list[Tensor] | None
    """The image prompt's embedding."""

    @property
    def guided(self) -> bool:
        """Whether the prompt is set against the negative one."""
        return self.guidance > 1

    def to(self, dtype: torch.dtype | None = None, device: torch.device | None = None) -> Conditioning:
        """The same in another precision, or elsewhere."""
        return self._mapped(lambda tensor: tensor.to(device=device, dtype=dtype))

    def half(self, number: int) -> Conditioning:
        """Copy out of a guided one what the network sees without the prompt (0) or with it (1), unguided."""
        return replace(self._mapped(lambda tensor: tensor.chunk(2)[number].clone()), guidance=1.0)

    def _mapped(self, change: Callable[[Tensor], Tensor]) -> Conditioning:
        def changed(value: Any) -> Any:
            if isinstance(value, Tensor):
                return change(value)
            return [changed(entry) for entry in value] if isinstance(value, list) else value

        added = None if self.added is None else {name: changed(value) for name, value in self.added.items()}
        return replace(self, text=changed(self.text), controls=changed(self.controls), added=added, image=changed(self.image))

    def part(self, box: tuple[slice, slice]) -> Conditioning:
        """The same for a part of the picture, in pixels."""
        cut = [image[..., box[0], box[1]] for image in self.controls] if isinstance(self.controls, list) else None
        controls = self.controls[..., box[0], box[1]] if cut is None else cut
        return Conditioning(self.text, controls, self.scales, self.guidance, self.added, self.image)


class StableDiffusion:
    """A pipeline of diffusers (StableDiffusionControlNetPipeline or its XL sister) taken apart."""

    def __init__(self, pipeline: Any, device: torch.device, clip_skip: int = 1, spans: Sequence[Span] = ()) -> None:
        self.pipeline, self.device, self.clip_skip, self.spans = pipeline, device, clip_skip, spans
        self.is_xl = hasattr(pipeline, "text_encoder_2")
        self.factor = int(pipeline.vae_scale_factor)
        self.channels = int(pipeline.unet.config.in_channels)
        self.size = int(pipeline.unet.config.sample_size) * self.factor
        self.conditioning: Conditioning | None = None
        self._first = 0
        self._steps: tuple[Any, Tensor] | None = None

    @property
    def scheduler(self) -> Any:
        """The scheduler of diffusers."""
        return self.pipeline.scheduler

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the latents."""
        return self.pipeline.unet.dtype

    @contextlib.contextmanager
    def in_float32(self) -> Iterator[None]:
        """Full precision for a while. Going back loses nothing: the weights were of half precision."""
        parts: list[Any] = [part for part in self.pipeline.components.values() if isinstance(part, torch.nn.Module)]
        before = [part.dtype for part in parts]
        conditioning = self.conditioning
        try:
            with quiet_diffusers():
                for part in parts:
                    part.to(torch.float32)
            self.conditioning = None if conditioning is None else conditioning.to(torch.float32)
            yield
        finally:
            with quiet_diffusers():
                for part, dtype in zip(parts, before, strict=True):
                    part.to(dtype)
            self.conditioning = conditioning

    @contextlib.contextmanager
    def tiled_decoding(self) -> Iterator[None]:
        """Encode and decode tile by tile for a while: a large picture's autoencoder takes more memory than all the rest."""
        vae = self.pipeline.vae
        before = getattr(vae, "use_tiling", True)  # some know no tiles
        if not before:
            vae.enable_tiling()
        try:
            yield
        finally:
            if not before:
                vae.disable_tiling()

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """(C, h, w) of an image's latent."""
        return self.channels, height // self.factor, width // self.factor

    def check_prompt(self, prompt: str, what: str = "prompt") -> None:
        """UserError where a prompt is longer than is read, or is to be read from a layer that there is not."""
        check_prompt(self.pipeline, prompt, what, self.clip_skip)

    def condition(
        self,
        prompt: str,
        negative: str,
        controls: Sequence[np.ndarray],  # each (H, W, 3) uint8
        scales: Sequence[float],
        guidance: float,
        image_prompt: np.ndarray | None = None,  # (H, W, 3) uint8
        tile: tuple[int, int] | None = None,
    ) -> Conditioning:
        """Encode prompt and control images; what `predict` uses from now on.

        tile: (H, W) of what a network sees at once, where that is not all of it.
        """
        seen = tile or controls[0].shape[:2]
        worded = self.worded(prompt, negative, guidance, (int(seen[0]), int(seen[1])), image_prompt)
        self.conditioning = self.controlled(worded, controls, scales)
        return self.conditioning

    @torch.no_grad()
    def worded(
        self,
        prompt: str,
        negative: str,
        guidance: float,
        size: tuple[int, int],  # (H, W) that a network sees at once
        image_prompt: np.ndarray | None = None,  # (H, W, 3) uint8
        among: Sequence[str] = (),
    ) -> Conditioning:
        """Encode a prompt, still without control images: one for all frames that it holds for.

        among: prompts of other frames, which go through the networks beside it.
        """
        pipe, guided = self.pipeline, guidance > 1
        made = encoded(pipe, prompt, negative, guided=guided, device=self.device, clip_skip=self.clip_skip, among=among)
        text = made.text if made.no_text is None else torch.cat([made.no_text, made.text])
        added = None
        if self.is_xl:
            pooled, encoder = made.pooled, pipe.text_encoder_2
            assert pooled is not None
            times = pipe._get_add_time_ids(size, (0, 0), size, text.dtype, encoder.config.projection_dim)
            if guided:
                assert made.no_pooled is not None
                pooled, times = torch.cat([made.no_pooled, pooled]), torch.cat([times, times])
            added = {"text_embeds": pooled.to(self.device), "time_ids": times.to(self.device)}
        embedding = None
        if image_prompt is not None:
            pictures = [Image.fromarray(image_prompt)]
            embedding = pipe.prepare_ip_adapter_image_embeds(pictures, None, self.device, 1, guided)
        return Conditioning(text.to(self.device), None, None, guidance, added, embedding)

    @torch.no_grad()
    def controlled(
        self,
        worded: Conditioning,
        controls: Sequence[np.ndarray],  # each (H, W, 3) uint8
        scales: Sequence[float],
    ) -> Conditioning:
        """Add control images to an encoded prompt."""
        pipe = self.pipeline
        nets = getattr(pipe.controlnet, "nets", None)
        height, width = controls[0].shape[:2]
        images = [
            pipe.prepare_image(
                image=Image.fromarray(control),
                width=width,
                height=height,
                batch_size=1,
                num_images_per_prompt=1,
                device=self.device,
                dtype=pipe.controlnet.dtype,
                do_classifier_free_guidance=worded.guided,
            )
            for control in controls
        ]
        return replace(
            worded,
            controls=images[0] if nets is None else images,
            scales=float(scales[0]) if nets is None else [float(scale) for scale in scales],
        )

    def begin(self, first: int) -> None:
        """Note at which of the scheduler's steps the loop begins: shares of the steps are counted from there."""
        self._first = first

    def predict(self, latents: Tensor, index: int) -> Tensor:
        """The guided prediction, both prompts in one batch."""
        assert self.conditioning is not None
        return self.predict_with(self.conditioning, latents, index)

    def predict_with(self, conditioning: Conditioning, latents: Tensor, index: int) -> Tensor:
        """The guided prediction under a given conditioning."""
        doubled = torch.cat([latents] * 2) if conditioning.guided else latents
        doubled = self.scheduler.scale_model_input(doubled, self.scheduler.timesteps[index])
        predicted = self.output(self._within_spans(conditioning, index), doubled, self._times()[index])
        if not conditioning.guided:
            return predicted
        without, with_prompt = predicted.chunk(2)
        return without + conditioning.guidance * (with_prompt - without)

    def output(self, conditioning: Conditioning, latents: Tensor, time: Tensor) -> Tensor:
        """The UNet's output under the ControlNet's residuals, for every entry of the batch; nothing is guided yet.

        Gradients, where they are recorded, reach the UNet alone: the ControlNet is never trained.
        """
        pipe = self.pipeline
        more = {} if conditioning.added is None else {"added_cond_kwargs": conditioning.added}
        down, middle = None, None
        if np.any(conditioning.scales):  # else it would add 0
            with torch.no_grad():
                down, middle = pipe.controlnet(
                    latents,
                    time,
                    encoder_hidden_states=conditioning.text,
                    controlnet_cond=conditioning.controls,
                    conditioning_scale=conditioning.scales,
                    return_dict=False,
                    **more,
                )
        added = dict(conditioning.added or {}) | ({} if conditioning.image is None else {"image_embeds": conditioning.image})
        return pipe.unet(
            latents,
            time,
            encoder_hidden_states=conditioning.text,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
            added_cond_kwargs=added or None,
            return_dict=False,
        )[0]

    def _within_spans(self, conditioning: Conditioning, index: int) -> Conditioning:
        """The conditioning at a step, with 0 for the scales of ControlNets that do not count there, as diffusers reckons it."""
        if all(span == (0, 1) for span in self.spans):
            return conditioning
        done, steps = index - self._first, len(self.scheduler.timesteps) - self._first
        counts = [not (done / steps < start or (done + 1) / steps > end) for start, end in self.spans]
        several = isinstance(conditioning.scales, list)
        scales = [scale * kept for scale, kept in zip(np.atleast_1d(conditioning.scales).tolist(), counts, strict=True)]
        return replace(conditioning, scales=scales if several else scales[0])

    def _times(self) -> Tensor:
        """The scheduler's timesteps on the device, moved there once."""
        steps = self.scheduler.timesteps
        if self._steps is None or self._steps[0] is not steps:
            self._steps = (steps, steps.to(self.device))
        return self._steps[1]

    @torch.no_grad()
    def encode(
        self,
        image: np.ndarray,  # (H, W, 3) float32 in [0, 1]
        generator: torch.Generator | None,
    ) -> Tensor:  # (1, C, h, w)
        """The image as a latent, drawn from the autoencoder's distribution; without a generator the mean of that."""
        vae = self.pipeline.vae
        pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].to(self.device, vae.dtype)
        return to_latent(vae, 2 * pixels - 1, generator).to(self.dtype)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> np.ndarray | None:
        """(H, W, 3) float32 in [0, 1]; None where the result is not a number: half precision overflowed."""
        image = to_pixels(self.pipeline.vae, latents)
        if not bool(torch.isfinite(image).all()):
            return None
        return (image * 0.5 + 0.5).clamp(0, 1)[0].permute(1, 2, 0).float().cpu().numpy()

    def finish(self) -> None:
        """Let what is offloaded go back to main memory."""
        self.pipeline.maybe_free_model_hooks()
