"""Schedulers: which of diffusers' classes takes the steps, and what its description lacks for Stable Diffusion."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atlas.errors import UserError, one_line
from atlas.weights.folder import described, weights_header

SCHEDULERS = {
    "ddim": "DDIMScheduler",
    "ddpm": "DDPMScheduler",
    "dpm++": "DPMSolverMultistepScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler-a": "EulerAncestralDiscreteScheduler",
    "heun": "HeunDiscreteScheduler",
    "lcm": "LCMScheduler",
    "lms": "LMSDiscreteScheduler",
    "pndm": "PNDMScheduler",
    "tcd": "TCDScheduler",
    "unipc": "UniPCMultistepScheduler",
}
# What Stable Diffusion was trained with and these classes take otherwise where a description does not name it: a model saved
# with another scheduler has no such entries, and its latents, which reach about -4 to 4, would be cut off at -1 and 1.
_TRAINED_WITH: dict[str, dict[str, Any]] = {
    "ddim": {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1},
    "ddpm": {"clip_sample": False, "steps_offset": 1},
    "pndm": {"skip_prk_steps": True, "set_alpha_to_one": False, "steps_offset": 1},
}
_PREDICTIONS = ("epsilon", "v_prediction", "sample")
_OTHER_NOISE = ("Flow", "EDM", "CogVideoX", "Consistency")  # classes of schedulers of models with another kind of noise
_V, _ZERO = "v_pred", "ztsnr"  # tensors, mostly empty, by which single files say how they were trained
FILE = "scheduler_config.json"


@dataclass(frozen=True)
class Schedule:
    """What was asked for: a name of `SCHEDULERS`, and what replaces the model's own settings."""

    name: str
    karras: bool = False
    spacing: str | None = None
    prediction: str | None = None

    def settings(self, known: Mapping[str, Any], marked: Mapping[str, Any]) -> dict[str, Any]:
        """What is changed of a model's description: what is missing there, what its single file says, what was asked for.

        known: the description's entries. marked: `single_file_marks` of the model. Of these the options win.
        """
        lacking = {name: value for name, value in _TRAINED_WITH.get(self.name, {}).items() if name not in known}
        asked: dict[str, Any] = {"use_karras_sigmas": True} if self.karras else {}
        asked |= {} if self.spacing is None else {"timestep_spacing": self.spacing}
        asked |= {} if self.prediction is None else {"prediction_type": self.prediction}
        return lacking | dict(marked) | asked

    def implied(self, known: Mapping[str, Any], marked: Mapping[str, Any]) -> dict[str, Any]:
        """The part of `settings` that no option and no description names."""
        return Schedule(self.name).settings(known, marked)


def named_entries(folder: Path) -> dict[str, Any]:
    """Entries that the description of a model's scheduler names; UserError where it has none, or is of no such model."""
    known = described(folder / "scheduler" / FILE)
    kind = str(known.get("_class_name"))
    if any(word in kind for word in _OTHER_NOISE):
        raise UserError(
            f"{folder} is made for {kind[:80]}, another kind of noise: this editor takes Stable Diffusion 1.x, 2.x and XL"
        )
    return known


def single_file_marks(file: Path) -> dict[str, Any]:
    """Settings that a model's .safetensors file tells by its tensors `v_pred` and `ztsnr`, or by its metadata."""
    tensors, texts = weights_header(file)
    predicts_v = _V in tensors or texts.get("modelspec.predict_key", texts.get("modelspec.prediction_type")) == "v"
    marks: dict[str, Any] = {"prediction_type": "v_prediction"} if predicts_v else {}
    # Zero signal at the last step (Lin et al., WACV 2024): the steps have to begin there.
    return marks | ({"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"} if _ZERO in tensors else {})


def scheduler(present: Any, schedule: Schedule, settings: Mapping[str, Any]) -> Any:
    """Make the scheduler that was asked for from the model's own; UserError where the two do not go together."""
    kind, options = _class(schedule.name), _arguments(schedule.name)
    if schedule.karras and "use_karras_sigmas" not in options:
        raise UserError(f"--karras is not for --scheduler {schedule.name}: choose {_those_with('use_karras_sigmas')}")
    wanted = dict(present.config) | dict(settings)
    if wanted.get("rescale_betas_zero_snr") and "rescale_betas_zero_snr" not in options:
        raise UserError(
            f"the model ends in noise alone (zero terminal SNR), which --scheduler {schedule.name} cannot: "
            f"choose {_those_with('rescale_betas_zero_snr')}"
        )
    prediction = wanted.get("prediction_type", "epsilon")
    if prediction not in _PREDICTIONS:
        raise UserError(f"the model predicts {str(prediction)[:40]}, which no scheduler here takes: name another")
    if type(present) is kind and not settings:
        return present
    return kind.from_config(present.config, **settings)


def check_steps(made: Any, steps: int) -> None:
    """UserError where a scheduler cannot take that many steps: LCM and TCD, for one, have as many as they were distilled to."""
    try:
        copy.deepcopy(made).set_timesteps(steps, device="cpu")
    except Exception as problem:  # ValueError mostly, and of few steps whatever division by 0 gives
        raise UserError(
            f"--steps {steps} cannot be taken by this --scheduler ({one_line(problem)}): choose another number"
        ) from None


def _class(name: str) -> Any:
    import diffusers

    if name == "lms":
        from edit.models.lms import LateLMS

        return LateLMS
    return getattr(diffusers, SCHEDULERS[name])


def _arguments(name: str) -> set[str]:
    return set(inspect.signature(_class(name).__init__).parameters)


def _those_with(setting: str) -> str:
    return ", ".join(name for name in SCHEDULERS if setting in _arguments(name))
