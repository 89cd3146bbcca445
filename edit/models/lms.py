"""The linear multistep scheduler, begun late: diffusers' own takes more steps into account than were made."""

from __future__ import annotations

from typing import Any

from diffusers import LMSDiscreteScheduler


class LateLMS(LMSDiscreteScheduler):
    """LMS of as high an order as there are derivatives, from wherever in the schedule it begins.

    diffusers takes the order from the step's number. Where an image is known and the first steps are left out, as at low
    strength, that is the weights of four derivatives for the one that there is; they no longer add up to the step.
    """

    def step(self, model_output: Any, timestep: Any, sample: Any, order: int = 4, return_dict: bool = True) -> Any:
        """Step as diffusers does, with no more derivatives than were made: from the schedule's beginning that is the same."""
        return super().step(model_output, timestep, sample, min(order, len(self.derivatives) + 1), return_dict)
