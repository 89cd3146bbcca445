"""Presets of recipes: each published method of editing all frames is one line of choices; ours is the default."""

from __future__ import annotations

from dataclasses import dataclass

from edit.recipes.recipe import Finish, Sample, Stage, Tune

DEFAULT = "layered"


@dataclass(frozen=True)
class Preset:
    """A recipe by name: what it is, where it comes from, its stages."""

    meaning: str
    source: str
    stages: tuple[Stage, ...]


_DIFFSYNTH = Sample(
    noise="fixed",
    attend="joint",
    window=16,
    stride=8,
    blend="triangular",
    agree="patches",
    agree_at="0.2,0.45,0.7,0.95",
    agree_form="direct",
    guidance=7.0,
)
_RELEASED = Sample(
    noise="fixed",
    attend="joint",
    attend_control=False,
    window=8,
    stride=4,
    blend="triangular",
    agree="patches",
    agree_at="0.2,0.45,0.7,0.95",
    agree_form="direct",
    agree_tone="1.1:1.1",
    guidance=7.0,
)
_CO_DENOISE = Sample(attend="joint", window=16, stride=8)
_IMG2IMG = Sample(noise="fixed", start="frames", strength=0.45, steps=50)

PRESETS: dict[str, Preset] = {
    "layered": Preset(
        "noise that moves with the layers, anchors, agreement through the atlas in most steps and once at the end",
        "this project",
        (Sample(noise="atlas", attend="anchors", agree="atlas", agree_at="0.2-0.85"), Finish("atlas")),
    ),
    "diffsynth": Preset(
        "joint attention in windows, agreement by patch matching at four steps and at the end",
        "DiffSynth (2023), with attention in the ControlNet as its article has it; contrast and sharpness once",
        (_DIFFSYNTH, Finish("patches"), Finish("tone:1.1:1.1")),
    ),
    "diffsynth-released": Preset(
        "the same as its code was released: attention in the UNet alone, contrast and sharpness in the loop",
        "DiffSynth-Studio (2023)",
        (_RELEASED, Finish("patches")),
    ),
    "co-denoise": Preset(
        "windows that overlap are denoised jointly and averaged in every step",
        "Gen-L-Video (2023), without tuning",
        (_CO_DENOISE,),
    ),
    "consistency-tuning": Preset(
        "average fusion of the background, tuning on what comes of it, co-denoising",
        "consistency tuning (2024)",
        (
            Sample(agree="fusion", agree_at="0.5"),
            Tune(on="fused", steps=200, rate=1e-6, late=1000, masks=True),
            _CO_DENOISE,
        ),
    ),
    "clip-tuning": Preset(
        "tuning on the clip and one edited frame, then every frame from itself with the same noise",
        "the 2022 post on short clips; guidance 2 is ours",
        (
            Tune(on="clip", steps=1000, rate=1e-5, late=500, how="full"),
            Sample(noise="fixed", start="frames", strength=0.45, steps=50, guidance=2.0),
        ),
    ),
    "img2img": Preset("every frame from itself with the same noise", "the baseline of the 2022 post", (_IMG2IMG,)),
    "first-frame": Preset(
        "every frame attends to the first", "Text2Video-Zero (2023)", (Sample(noise="fixed", attend="anchors:first"),)
    ),
    "rave": Preset(
        "frames are denoised in grids of nine, shuffled in every step",
        "RAVE (CVPR 2024); noise instead of inversion",
        (Sample(start="frames", strength=0.9, attend="grid:3", steps=50, guidance=7.5),),
    ),
    "fixed": Preset("every frame from the same noise", "the plain baseline", (Sample(noise="fixed"),)),
    "random": Preset("every frame from noise of its own", "the plainest baseline", (Sample(),)),
}


def preset_help() -> str:
    """Explain the presets, a line each."""
    return "\n".join(f"{name}: {preset.meaning} ({preset.source})" for name, preset in PRESETS.items())
