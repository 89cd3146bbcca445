"""The losses against their formulas, and what a network that had learned both sets perfectly would make of guidance."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from edit.tuning.losses import as_output, noised, snr_weight, squared_error, wanted_noise

SHARES = (0.999, 0.7, 0.2, 0.005)


def drawn(count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(1, 4, 6, 5, generator=generator, dtype=torch.float64) for _ in range(count)]


def largest(difference: Tensor) -> float:
    return float(difference.abs().max())


@pytest.mark.parametrize("share", SHARES)
def test_the_wanted_noise_leads_from_the_frame_to_its_edit(share: float) -> None:
    frame, edited, noise = drawn(3)
    latent = noised(frame, noise, share)
    assert largest(latent - (math.sqrt(share) * frame + math.sqrt(1 - share) * noise)) < 1e-12
    written_out = (latent - math.sqrt(share) * edited) / math.sqrt(1 - share)
    assert largest(wanted_noise(noise, frame, edited, share) - written_out) < 1e-9


@pytest.mark.parametrize("share", SHARES)
def test_an_edit_that_changes_nothing_is_plain_training(share: float) -> None:
    frame, noise = drawn(2)
    assert torch.equal(wanted_noise(noise, frame, frame, share), noise)
    assert torch.equal(wanted_noise(noise, frame, None, share), noise)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("share", SHARES)
def test_min_snr_bounds_how_the_clean_estimate_counts(share: float, prediction: str) -> None:
    """weight * |answer - other answer|^2 = min(SNR, 5) * |clean estimate - other estimate|^2, whatever is predicted."""
    latent, clean, other = drawn(3)
    answers = []
    for estimate in (clean, other):
        noise = (latent - math.sqrt(share) * estimate) / math.sqrt(1 - share)  # both are of the same noised latent
        answers.append(as_output(noise, estimate, share, prediction))
    error = squared_error(*answers) * snr_weight(share, prediction)
    wanted = min(share / (1 - share), 5) * (clean - other).square().mean()
    assert float(error) == pytest.approx(float(wanted), rel=1e-5)


def test_the_weights_written_out() -> None:
    assert snr_weight(0.5, "epsilon") == 1 and snr_weight(0.9, "epsilon") == pytest.approx(5 / 9)
    assert snr_weight(0.5, "v_prediction") == pytest.approx(1 / 2)
    assert snr_weight(0.9, "v_prediction") == pytest.approx(5 / 10)
    assert snr_weight(0.0, "epsilon") == 1  # of a schedule that ends in noise alone


def test_v_written_out() -> None:
    noise, clean = drawn(2)
    assert largest(as_output(noise, clean, 0.36, "v_prediction") - (0.6 * noise - 0.8 * clean)) < 1e-12
    with pytest.raises(ValueError, match="no prediction type 'flow'"):
        as_output(noise, clean, 0.36, "flow")


def test_the_parts_written_out() -> None:
    output, wanted = drawn(2)
    mask, front = (part[:, :1].sigmoid() for part in drawn(2))
    error = output - wanted
    parts = 0.5 * error**2 + 2 * (front * error) ** 2 + 3 * ((1 - front) * error) ** 2
    computed = squared_error(output, wanted, mask, front, (0.5, 2.0, 3.0))
    assert abs(float(computed) - float((mask * parts).mean())) < 1e-6
    assert abs(float(squared_error(output, wanted)) - float((error**2).mean())) < 1e-6


def test_equal_parts_under_masks_of_0_and_1_count_everything_twice() -> None:
    output, wanted = drawn(2)
    front = (drawn(1)[0][:, :1] > 0).double()
    assert abs(float(squared_error(output, wanted, None, front)) - 2 * float(squared_error(output, wanted))) < 1e-6


def test_what_is_masked_teaches_nothing() -> None:
    output, wanted = drawn(2)
    mask = torch.ones(1, 1, 6, 5)
    mask[..., :2] = 0
    output.requires_grad_()
    squared_error(output, wanted, mask).backward()
    assert output.grad is not None
    assert (output.grad[..., :2] == 0).all() and (output.grad[..., 2:] != 0).all()


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("guidance", [0.0, 1.0, 2.0, 7.5])
def test_guidance_goes_on_from_the_frame_beyond_its_edit(guidance: float, prediction: str) -> None:
    frame, edited, noise = drawn(3)
    share = 0.4
    latent = noised(frame, noise, share)
    without = as_output(wanted_noise(noise, frame, None, share), frame, share, prediction)
    with_prompt = as_output(wanted_noise(noise, frame, edited, share), edited, share, prediction)
    guided = without + guidance * (with_prompt - without)
    estimate = {
        "epsilon": (latent - math.sqrt(1 - share) * guided) / math.sqrt(share),
        "v_prediction": math.sqrt(share) * latent - math.sqrt(1 - share) * guided,
        "sample": guided,
    }[prediction]
    assert largest(estimate - (frame + guidance * (edited - frame))) < 1e-9
