"""What a prompt needs beside itself: options of the command, checked as far as that takes no weights."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from atlas.errors import UserError
from edit.prompts.syntax import parsed
from edit.request.files import weighted_files, worded_files

MODEL = "stable-diffusion-v1-5/stable-diffusion-v1-5"
CONTROLNETS = {
    "canny": "lllyasviel/control_v11p_sd15_canny",
    "depth": "lllyasviel/control_v11f1p_sd15_depth",
    "pose": "lllyasviel/control_v11p_sd15_openpose",
    "softedge": "lllyasviel/control_v11p_sd15_softedge",
}
# XL's for poses lie under names of their own (thibaud's) or want thicker limbs than others do (xinsir's): none is a default.
XL_CONTROLNETS = {"canny": "diffusers/controlnet-canny-sdxl-1.0", "depth": "diffusers/controlnet-depth-sdxl-1.0"}
IP_ADAPTER = "h94/IP-Adapter"
DEPTH_MODEL = "Intel/dpt-hybrid-midas"
STRENGTH = 0.8
STEPS = 20
GUIDANCE = 9.0
STRATEGY = "propagate"
_LONGEST_WINDOW = 999  # frames
_RANGES = (
    ("strength", 0.0, 1.0),
    ("hold", 0.0, 1.0),
    ("steps", 1, 1000),
    ("guidance", 0.0, 100.0),
    ("control_scale", 0.0, 10.0),
    ("control_start", 0.0, 1.0),
    ("control_end", 0.0, 1.0),
    ("image_prompt_scale", 0.0, 10.0),
    ("clip_skip", 1, 12),
)

Control = Literal["canny", "depth", "pose", "softedge", "images"]
STEADIED: tuple[Control, ...] = ("depth", "softedge", "images")
"""What --steady-controls makes agree: edges of a steadied picture would be other edges, and poses are smoothed as points."""
_READ: dict[Control, tuple[str, str]] = {
    "pose": ("poses", "DIR"),
    "softedge": ("softedge", "FILE"),
    "images": ("control_images", "DIR"),
}  # the option that names what a control is read from
Scheduler = Literal["ddim", "ddpm", "dpm++", "euler", "euler-a", "heun", "lcm", "lms", "pndm", "tcd", "unipc"]


@dataclass(kw_only=True)
class DiffusionOptions:
    """Options of --editor diffusion."""

    prompt: str | None = None
    """With --editor diffusion: what the layer is to become. (red:1.5) counts more, [red] less; BREAK begins a new part."""
    prompt_at: tuple[str, ...] = ()
    """Another prompt for single keyframes, as FRAME:TEXT."""
    negative: str = ""
    """What is not wanted."""
    strategy: str | None = None
    """How keyframes are kept alike."""
    strength: float | None = None
    """How far a keyframe may leave what it starts from: 0 keeps it, 1 forgets it. Default: 0.8; with --on atlas 1 (from noise alone)."""  # noqa: E501
    hold: float = 0.0
    """With propagate: share by which every step is drawn back to what earlier keyframes show, from 0 (free) to 1 (held)."""
    steps: int | None = None
    """Denoising steps. Default: 20; with --on frames the recipe's."""
    guidance: float | None = None
    """How strongly the prompt counts; 1 and below switches guidance off. Default: 9; with --on frames the recipe's."""
    model: str = MODEL
    """Base model: hub id, folder, or .safetensors file; Stable Diffusion 1.x, 2.x or XL."""
    model_config: str | None = None
    """With a .safetensors file as --model: folder or hub id with its configuration. Default: that of the file's kind, from the hub."""  # noqa: E501
    vae: str | None = None
    """Autoencoder in place of the model's: hub id, folder or .safetensors file. Single files without one need it."""
    prediction_type: Literal["epsilon", "v_prediction"] | None = None
    """What the model was trained to predict, where its files do not tell: noise (epsilon), or v. Default: as they say."""
    clip_skip: int = 1
    """Which layer of the text encoder is read, from the end, as other tools count it: 2 is the one before the last. XL reads that anyway."""  # noqa: E501
    textual_inversion: tuple[str, ...] = ()
    """Textual inversion files as PATH:WORD, the word standing in a prompt. Default word: the file's name."""
    control: tuple[Control, ...] = ("canny",)
    """What the picture is held to: canny (edges), depth, pose (see --poses), softedge (see --softedge), images (your own, see --control-images); several add up."""  # noqa: E501
    controlnet: tuple[str, ...] = ()
    """ControlNet for each --control: hub id, folder or .safetensors file. Default: that of the model's family; --control images needs one, and with Stable Diffusion XL pose and softedge do."""  # noqa: E501
    control_scale: tuple[float, ...] = ()
    """Weight of each ControlNet. Default: 1."""
    control_start: tuple[float, ...] = ()
    """Share of the steps before which each ControlNet is silent; one number holds for all. Default: 0."""
    control_end: tuple[float, ...] = ()
    """Share of the steps after which each ControlNet is silent. Default: 1."""
    control_images: Path | None = None
    """For --control images: folder of frame-sized images named by frame number; with --on atlas one image of its size."""
    poses: Path | None = None
    """For --control pose: folder of OpenPose's JSON files named by frame number (walk_000000000012_keypoints.json, 00012.json)."""  # noqa: E501
    pose_window: int | None = None
    """Frames over which poses are smoothed, an odd number; 0 for none. Default: about 0.3 seconds."""
    softedge: Path | None = None
    """For --control softedge: ControlNet's HED network as a .safetensors file (docs/prompts.md says how it is made)."""
    steady_controls: bool = False
    """Make depth maps, soft edges and control images of your own agree through the atlas before they are used."""
    canny: tuple[int, int] = (100, 200)
    """Lower and upper threshold of the edges."""
    depth_model: str = DEPTH_MODEL
    """Depth estimator for --control depth: hub id or folder."""
    lora: tuple[str, ...] = ()
    """LoRA files as PATH:SCALE; several add up."""
    image_prompt: Path | None = None
    """Image whose look is to be taken on (IP-Adapter)."""
    image_prompt_scale: float = 0.6
    """How strongly the image prompt counts."""
    ip_adapter: str = IP_ADAPTER
    """IP-Adapter for --image-prompt: hub id, or a .safetensors file with its image_encoder/ folder beside it."""
    scheduler: Scheduler = "ddim"
    """How steps are taken; lcm and tcd with LoRAs or models made for few steps."""
    karras: bool = False
    """Space the noise levels as Karras et al. do; for dpm++, euler, heun, lms and unipc."""
    timestep_spacing: Literal["leading", "linspace", "trailing"] | None = None
    """Where steps lie; trailing for models made for few steps (Turbo, Lightning). Default: the model's own."""
    resolution: int | None = None
    """Shorter side in pixels of what the model sees. Default: what the model was made for."""
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """Precision; auto: float16 on a GPU, float32 elsewhere."""
    offload: Literal["none", "model", "sequential"] = "none"
    """Keep parts in main memory while they are not used: `model` whole networks, `sequential` layer by layer (slow)."""
    vae_slicing: bool = False
    """Decode images one by one."""
    vae_tiling: bool = False
    """Decode images tile by tile: less GPU memory."""
    compile: bool = False
    """Compile the networks first: worth it for many keyframes on a GPU."""
    offline: bool = False
    """Take weights from folders and the cache alone."""

    def check(self) -> None:
        """UserError for what is wrong whatever the weights are."""
        if not (self.prompt or "").strip():
            raise UserError("the prompt is empty: say with --prompt what the layer is to become")
        for name, low, high in _RANGES:
            value = getattr(self, name)
            for number in value if isinstance(value, tuple) else (value,):
                if number is not None and not (math.isfinite(number) and low <= number <= high):
                    option = name.replace("_", "-")
                    raise UserError(f"--{option} {number} is out of range: choose from {low:g} to {high:g}")
        if self.resolution is not None and (self.resolution % 64 or not 64 <= self.resolution <= 4096):
            raise UserError(f"--resolution {self.resolution} does not suit the model: choose a multiple of 64 up to 4096")
        self._check_controls()
        self.keyframe_prompts()
        self.loras()
        self.words()
        for text in self.all_prompts():
            parsed(text)
        if self.image_prompt is not None and not self.image_prompt.is_file():
            raise UserError(f"--image-prompt {self.image_prompt} is missing: check the path")

    def _check_controls(self) -> None:
        if not self.control:
            raise UserError(f"--control is empty: choose one of {', '.join(get_args(Control))}")
        needed = [kind for kind in self.control if kind not in CONTROLNETS]
        if self.controlnet and len(self.controlnet) != len(self.control):
            raise UserError(
                f"{len(self.controlnet)} ControlNets for {len(self.control)} controls: give one --controlnet for each --control"
            )
        if needed and not self.controlnet:
            raise UserError("--control images needs --controlnet: name the ControlNet that was made for such images")
        if self.control_scale and len(self.control_scale) != len(self.control):
            raise UserError("give one --control-scale for each --control, or none")
        for start, end in self.control_spans():
            if start >= end:
                raise UserError(
                    f"--control-start {start:g} is not before --control-end {end:g}: the ControlNet would do nothing"
                )
        for kind, (name, what) in _READ.items():
            self._check_read(kind, name, what)
        self._check_steadiness()
        if not 0 <= self.canny[0] <= self.canny[1]:
            raise UserError(f"--canny {self.canny[0]} {self.canny[1]}: the lower threshold comes first")

    def _check_read(self, kind: Control, name: str, what: str) -> None:
        path, option = getattr(self, name), f"--{name.replace('_', '-')}"
        if (kind in self.control) != (path is not None):
            raise UserError(f"--control {kind} and {option} {what} belong together: give both or none")
        if path is not None and not path.exists():
            raise UserError(f"{option} {path} is missing: check the path")

    def _check_steadiness(self) -> None:
        window = self.pose_window
        if window is not None and self.poses is None:
            raise UserError("--pose-window is for --control pose: leave it out")
        if window and not (window % 2 and 3 <= window <= _LONGEST_WINDOW):
            raise UserError(
                f"--pose-window {window} is no window: choose an odd number from 3 to {_LONGEST_WINDOW}, or 0 for none"
            )
        if self.steady_controls and not set(STEADIED) & set(self.control):
            raise UserError(f"--steady-controls has nothing to steady: it is for --control {', '.join(STEADIED)}")

    def keyframe_strength(self) -> float:
        """How far keyframes may leave what they start from."""
        return STRENGTH if self.strength is None else self.strength

    def keyframe_strategy(self) -> str:
        """How keyframes are kept alike."""
        return STRATEGY if self.strategy is None else self.strategy

    def keyframe_steps(self) -> int:
        """Denoising steps of keyframes and atlases."""
        return STEPS if self.steps is None else self.steps

    def keyframe_guidance(self) -> float:
        """How strongly the prompt counts for keyframes and atlases."""
        return GUIDANCE if self.guidance is None else self.guidance

    def controlnets(self, is_xl: bool = False) -> tuple[str, ...]:
        """The ControlNet of each control; where none is named, that of the model's family. UserError where it has none."""
        usual = XL_CONTROLNETS if is_xl else CONTROLNETS
        unknown = [kind for kind in self.control if kind not in usual]
        if unknown and not self.controlnet:
            raise UserError(f"--control {unknown[0]} has no usual ControlNet with this model: name one with --controlnet")
        return self.controlnet or tuple(usual[kind] for kind in self.control)

    def control_scales(self) -> tuple[float, ...]:
        """The weight of each control."""
        return self.control_scale or (1.0,) * len(self.control)

    def control_spans(self) -> list[tuple[float, float]]:
        """Between which shares of the steps each control counts; UserError where their number is not that of the controls."""
        count, sides = len(self.control), []
        for option, given, usual in (("start", self.control_start, 0.0), ("end", self.control_end, 1.0)):
            if len(given) not in (0, 1, count):
                raise UserError(f"give one --control-{option} for each --control, one for all, or none")
            sides.append(given * count if len(given) == 1 else given or (usual,) * count)
        return list(zip(*sides, strict=True))

    def keyframe_prompts(self) -> dict[int, str]:
        """Prompts of single keyframes by frame number; UserError where one is not FRAME:TEXT."""
        prompts = {}
        for text in self.prompt_at:
            number, _, prompt = text.partition(":")
            if not (re.fullmatch(r"\s*[0-9]{1,9}\s*", number) and prompt.strip()):
                raise UserError(f'--prompt-at {text!r} is not understood: write FRAME:TEXT, such as 24:"a red car"')
            prompts[int(number)] = prompt.strip()
        return prompts

    def loras(self) -> list[tuple[Path, float]]:
        """LoRA files and their weights; UserError where a file is missing or is no .safetensors file."""
        return weighted_files(self.lora)

    def words(self) -> list[tuple[Path, str]]:
        """Textual inversion files and their words; UserError where one cannot be read, or stands in no prompt."""
        return worded_files(self.textual_inversion, self.all_prompts())

    def all_prompts(self) -> list[str]:
        """Every text that the model is given: the prompt, those of single keyframes, and what is not wanted."""
        return [(self.prompt or "").strip(), *self.keyframe_prompts().values(), self.negative]

    def settings(self) -> dict[str, Any]:
        """What was chosen, JSON-ready: every option that is not at its default, the strategy and the model."""
        chosen = {f.name: getattr(self, f.name) for f in fields(DiffusionOptions)} | {"strategy": self.keyframe_strategy()}
        plain = {name: str(value) if isinstance(value, Path) else value for name, value in chosen.items()}
        defaults = {f.name: f.default for f in fields(DiffusionOptions)}
        for name, usual in (("steps", STEPS), ("guidance", GUIDANCE)):  # given as what it is anyway: not chosen
            plain[name] = None if plain[name] == usual else plain[name]
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in plain.items()
            if value != defaults[name] or name in ("strategy", "model")
        }
