"""The linear map of colours is found exactly, and what is predicted is it and the network's correction."""

from __future__ import annotations

import numpy as np
import torch

from edit.deflicker.video_prior.network import PriorNetwork
from edit.deflicker.video_prior.predictor import Prior, as_images, colour_map
from tests.edit.deflicker.video_prior.conftest import MATRIX, MakeFootage, recoloured


def network(outputs: int = 3) -> PriorNetwork:
    return PriorNetwork(2, outputs, torch.Generator().manual_seed(0))


def test_a_change_of_colours_is_found(make_footage: MakeFootage, source: np.ndarray) -> None:
    footage = make_footage(recoloured(source))
    np.testing.assert_allclose(colour_map(footage, 6), MATRIX, atol=0.02)
    predicted = np.dstack([footage.source[4], np.ones(footage.size)]) @ colour_map(footage, 6)
    assert np.abs(predicted - footage.edited[4][..., :3]).max() < 2e-3


def test_greys_give_a_map_as_well(make_footage: MakeFootage, source: np.ndarray) -> None:
    source[:] = source.mean(-1, keepdims=True)
    footage = make_footage(recoloured(source))
    found = colour_map(footage, 6)
    assert np.isfinite(found).all() and np.abs(found).max() < 2
    assert np.abs(footage.source[1] @ found[:3] + found[3] - footage.edited[1][..., :3]).max() < 2e-3


def test_what_the_edit_does_not_apply_to_is_not_in_the_map(make_footage: MakeFootage, source: np.ndarray) -> None:
    edited, left = recoloured(source), np.zeros((64, 96), np.float32)
    left[:, :48] = 1
    edited[:, :, 48:] = 1 - source[:, :, 48:]
    np.testing.assert_allclose(colour_map(make_footage(edited, applies=lambda index: left), 6), MATRIX, atol=0.03)


def test_prediction_is_map_and_correction(source: np.ndarray) -> None:
    frame = source[0, :20, :30]
    corrected = network()(as_images(frame, torch.device("cpu"))).detach()[0].permute(1, 2, 0).numpy()
    expected = np.clip(corrected + frame @ MATRIX[:3] + MATRIX[3], 0, 1)
    np.testing.assert_allclose(Prior(network(), MATRIX).predict(frame), expected, atol=1e-6)


def test_of_two_looks_the_main_one_is_shown(source: np.ndarray) -> None:
    prior = Prior(network(6), MATRIX)
    looks = prior(as_images(source[0], torch.device("cpu"))).detach()
    assert looks.shape == (1, 6, 64, 96)
    np.testing.assert_allclose(prior.predict(source[0]), looks[0, :3].clamp(0, 1).permute(1, 2, 0), atol=1e-7)
