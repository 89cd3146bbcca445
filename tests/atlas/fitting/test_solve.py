"""Closed-form passes on the sample's true maps: atlases that give the frames back, and light that was known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from atlas.clip.clip import Clip
from atlas.fitting import solve
from atlas.maps.maps import Maps
from atlas.model.fields import NetworkConfig
from atlas.model.layered import LayeredAtlas, Shape
from atlas.sample.scene import Sample

CPU = torch.device("cpu")


def empty_model(sample: Sample) -> LayeredAtlas:
    """Atlases of about a texel per pixel, as a fit has them."""
    count, height, width = sample.frames.shape[:3]
    sizes = tuple(round(len(sample.atlases[layer]) / 1.35) for layer in sample.layers)
    config = NetworkConfig(width=8)
    shape = Shape(tuple(sample.layers), count, height, width, (16, 24), (8, 12), sizes)
    return LayeredAtlas(shape, config, config, torch.Generator().manual_seed(0))


def frames_of(sample: Sample, clip: Clip, model: LayeredAtlas) -> solve.FrameSet:
    return solve.FrameSet(lambda t: sample.frames[t], Maps(clip.fit_folder("truth")), model, CPU)


@pytest.mark.parametrize(("name", "decibels"), [("sample", 37.0), ("sample_two", 37.2)])
def test_true_maps_give_the_frames_back(name: str, decibels: float, request: pytest.FixtureRequest) -> None:
    sample: Sample = request.getfixturevalue(name)
    clip: Clip = request.getfixturevalue("sample_clip" if name == "sample" else "sample_clip_two")
    frames = frames_of(sample, clip, empty_model(sample))
    solve.start_atlases(frames)
    scores = [np.mean(solve.solve_light(frames))]
    solve.start_atlases(frames)
    scores += [np.mean(solve.improve_atlases(frames)) for _ in range(3)]
    scores.append(np.mean(solve.solve_light(frames)))
    assert all(later > earlier for earlier, later in zip(scores, scores[1:], strict=False))
    assert scores[-1] > decibels


def test_light_recovers_a_known_gain(sample: Sample, sample_clip: Clip) -> None:
    model = empty_model(sample)
    for layer, name in enumerate(sample.layers):
        truth = torch.from_numpy(np.ascontiguousarray(sample.atlases[name][..., :3]))
        model._buffers[f"atlas_{layer}"] = truth.clone()
    frames = frames_of(sample, sample_clip, model)
    before = np.mean(solve.solve_light(frames))
    after = [solve.frame_psnr(solve.composite_parts(frames.parts(t), (64, 96), CPU), frames.colours(t)) for t in range(12)]
    assert np.mean(after) > before + 8
    for layer, name in enumerate(sample.layers):
        errors = []
        for t in range(12):
            seen = sample.opacities[name][t] > 0.95
            bright = (sample.frames[t] > 40).all(-1)  # what is black tells nothing of the light
            found = solve.light_at(model, layer, t, (64, 96)).permute(1, 2, 0).numpy()
            errors.append(np.abs(found / sample.lights[name][t] - 1)[seen & bright])
        assert np.median(np.concatenate(errors)) < 0.01 and np.quantile(np.concatenate(errors), 0.95) < 0.03


def test_light_stays_near_one_where_a_layer_is_black_or_unseen(sample: Sample, sample_clip: Clip) -> None:
    model = empty_model(sample)
    frames = frames_of(sample, sample_clip, model)  # black atlases
    solve.solve_light(frames)
    for layer in (0, 1):
        gain = model.lights[layer].log_gain.exp()
        assert torch.isfinite(gain).all() and gain.min() > 0.25 and gain.max() < 4


def test_seen_texels_stay_and_unseen_ones_continue_them() -> None:
    generator = np.random.default_rng(0)
    atlas = generator.uniform(0, 1, (50, 37, 3)).astype(np.float32)
    seen = np.zeros((50, 37), np.float32)
    seen[10:30, 5:20] = generator.uniform(1, 9, (20, 15))
    filled = solve.fill_unseen(atlas, seen)
    np.testing.assert_allclose(filled[seen > 0], atlas[seen > 0], atol=1e-5)
    atlas[:] = (0.2, 0.5, 0.8)
    atlas[seen == 0] = 0
    np.testing.assert_allclose(solve.fill_unseen(atlas, seen), np.full(atlas.shape, (0.2, 0.5, 0.8)), atol=1e-4)
    assert np.isfinite(solve.fill_unseen(atlas, np.zeros_like(seen))).all()


def test_a_layer_that_is_seen_nowhere_does_no_harm(sample: Sample, fresh_clip: Clip) -> None:
    opacity = fresh_clip.fit_folder("truth") / "maps" / "foreground" / "opacity.npy"
    np.save(opacity, np.zeros((12, 64, 96), np.uint8))
    frames = frames_of(sample, fresh_clip, empty_model(sample))
    solve.start_atlases(frames)
    solve.solve_light(frames)
    solve.improve_atlases(frames)
    assert all(torch.isfinite(value).all() for value in frames.model.state_dict().values())


def test_psnr_of_a_frame() -> None:
    assert solve.frame_psnr(torch.full((4, 4, 3), 0.6), torch.full((4, 4, 3), 0.5)) == pytest.approx(20, abs=1e-4)
    assert solve.frame_psnr(torch.full((4, 4, 3), 1.7), torch.ones(4, 4, 3)) == pytest.approx(100)
