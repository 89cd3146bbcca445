"""Windows cover every frame, the last one ends at the last frame, and what they predict is averaged as it should be."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from edit.sampling.windows import averaged, weights, windows


def test_windows_cover_all_frames_and_the_last_ends_at_the_last() -> None:
    assert windows(20, 16, 8) == [range(16), range(4, 20)]
    assert windows(24, 16, 8) == [range(16), range(8, 24)]
    assert windows(5, 0, 0) == [range(5)]
    for frames, size in itertools.product(range(1, 25), range(2, 13)):
        for stride in range(1, size + 1):
            spans = windows(frames, size, stride)
            assert {frame for span in spans for frame in span} == set(range(frames))
            assert spans[-1][-1] == frames - 1 and all(len(span) == min(size, frames) for span in spans)
            assert len(set(spans)) == len(spans)


def test_one_window_gives_its_prediction_to_the_bit() -> None:
    made = torch.randn(6, 4, 3, 5, generator=torch.Generator().manual_seed(0))
    for blend in ("flat", "triangular"):
        assert torch.equal(averaged([range(6)], blend, made.shape, lambda span: made[list(span)]), made)


@pytest.mark.parametrize("blend", ["flat", "triangular"])
def test_overlapping_windows_are_the_weighted_mean_of_each_frame(blend: str) -> None:
    spans, shape = windows(11, 5, 3), (11, 2, 3, 3)
    made = {span: torch.randn(5, *shape[1:], generator=torch.Generator().manual_seed(span.start)) for span in spans}

    def predict(span: range) -> Tensor:
        return made[span]

    result = averaged(spans, blend, shape, predict)  # type: ignore[arg-type]
    for frame in range(11):
        held = [(made[span][frame - span.start], weights(5, blend)[frame - span.start]) for span in spans if frame in span]  # type: ignore[arg-type]
        plain = sum(image * share for image, share in held) / sum(share for _, share in held)
        assert torch.allclose(result[frame], plain, atol=1e-6)


def test_triangular_weights_fall_from_the_middle_and_never_to_nothing() -> None:
    shares = weights(16, "triangular")
    assert shares == shares[::-1] and min(shares) == pytest.approx(0.01, abs=1e-2) and min(shares) >= 0.01
    assert max(shares) == shares[7] == shares[8] and shares[3] == pytest.approx(1 - 4.5 / (15.01 / 2))


def test_averaging_predictions_is_averaging_stepped_latents_under_ddim() -> None:
    """As Gen-L-Video has it: for a step that is linear in the prediction the two are the same."""
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed: pip install -e .[diffusion]")
    scheduler = diffusers.DDIMScheduler(clip_sample=False, steps_offset=1)
    scheduler.set_timesteps(10)
    spans, shape = windows(7, 4, 2), (7, 4, 4, 4)
    latents = torch.randn(shape, generator=torch.Generator().manual_seed(9))
    made = {span: torch.randn(4, *shape[1:], generator=torch.Generator().manual_seed(span.start)) for span in spans}
    time = scheduler.timesteps[3]
    ours = scheduler.step(averaged(spans, "flat", shape, lambda span: made[span]), time, latents).prev_sample
    stepped = averaged(spans, "flat", shape, lambda span: scheduler.step(made[span], time, latents[list(span)]).prev_sample)
    assert float((ours - stepped).abs().max()) < 2e-5
