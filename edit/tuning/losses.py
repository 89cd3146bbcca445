"""Losses of fine-tuning, in closed form: what a network is to answer to a noised latent, and how its error counts.

a is the share of the signal at a timestep (the scheduler's alphas_cumprod), SNR = a / (1 - a):

    noised:    z_t = sqrt(a) z(x) + sqrt(1 - a) eps
    answer:    e*  = (z_t - sqrt(a) z(y)) / sqrt(1 - a) = eps + sqrt(SNR) (z(x) - z(y))

y is the edit of the frame x. Its answer to noise over x is the noise that would be left over y: at guidance 1, denoising that
starts from the frame ends at its edit. With y = x that is plain training. |e* - e|^2 = SNR |clean estimate - z(y)|^2, so that
timesteps near 0, where SNR is in the hundreds, would count for nearly all: min-SNR (Hang et al., ICCV 2023) bounds it by 5.
"""

from __future__ import annotations

from torch import Tensor

_CAP = 5.0  # of SNR, as published


def noised(clean: Tensor, noise: Tensor, share: float) -> Tensor:
    """Add noise to a latent, as the scheduler does at a timestep with this share of signal."""
    return share**0.5 * clean + (1 - share) ** 0.5 * noise


def wanted_noise(noise: Tensor, source: Tensor, edited: Tensor | None, share: float) -> Tensor:
    """Compute e*, the noise that leads from the noised `source` to `edited`; the noise itself where there is no edit."""
    return noise if edited is None else noise + (share / (1 - share)) ** 0.5 * (source - edited)


def as_output(noise: Tensor, clean: Tensor, share: float, prediction: str) -> Tensor:
    """Turn the noise and the clean latent of one noised latent into what a network of this prediction type answers.

    prediction: "epsilon", "v_prediction" (v = sqrt(a) noise - sqrt(1 - a) clean, Salimans and Ho, ICLR 2022) or "sample".
    """
    if prediction == "epsilon":
        return noise
    if prediction == "sample":
        return clean
    if prediction == "v_prediction":
        return share**0.5 * noise - (1 - share) ** 0.5 * clean
    raise ValueError(f"there is no prediction type {prediction!r}")


def snr_weight(share: float, prediction: str) -> float:
    """Compute the min-SNR weight of a squared error: that of the clean estimate counts min(SNR, 5), whatever is predicted.

    The squared error of a prediction is SNR (epsilon), SNR + 1 (v_prediction) or 1 times that of the clean estimate.
    """
    snr = share / (1 - share)
    if prediction == "epsilon":
        return _CAP / max(snr, _CAP)
    return min(snr, _CAP) * (1 - share if prediction == "v_prediction" else 1)


def squared_error(
    output: Tensor,  # (1, C, h, w)
    wanted: Tensor,  # (1, C, h, w)
    mask: Tensor | None = None,  # (1, 1, h, w) in [0, 1], how far a cell counts at all
    foreground: Tensor | None = None,  # (1, 1, h, w) in [0, 1]
    parts: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> Tensor:  # ()
    """Mean the squared error e^2 over all cells: mask (l1 e^2 + l2 (m_f e)^2 + l3 (m_b e)^2), in float32.

    parts: l1, l2 and l3, the weights of the whole, the foreground m_f and the background m_b = 1 - m_f (combined tuning of
    consistency tuning, 2024); without a foreground the error counts plainly, once.
    """
    error = (output.float() - wanted.float()).square()
    if foreground is not None:
        whole, front, back = parts
        error = error * (whole + front * foreground.square() + back * (1 - foreground).square())
    return (error if mask is None else error * mask).mean()
