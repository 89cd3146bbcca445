"""Following by SAM 2: as its library follows with all in memory, in memory that does not grow."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from atlas.errors import UserError
from atlas.masks.learned.follow import Follower, soft_mask
from atlas.masks.learned.prompts import Point, Prompt
from atlas.masks.learned.segmenter import Segmenter
from tests.atlas.masks.learned import tiny

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Segmenter:
    return Segmenter(tiny.save_segmenter(tmp_path_factory.mktemp("sam"), seed=2), CPU)


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    """40 frames of noise that moves, (T, H, W, 3) uint8."""
    rng = np.random.default_rng(0)
    noise = np.kron(rng.integers(0, 256, (10, 30, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    return np.stack([noise[4:68, 3 * t : 3 * t + 96] for t in range(40)])


def test_it_is_as_the_library_follows_with_all_in_memory(segmenter: Segmenter, frames: np.ndarray) -> None:
    known = {2: _answer(segmenter, frames[2], 40, 30), 9: _answer(segmenter, frames[9], 20, 20)}
    follower = Follower(segmenter, frames.__getitem__, len(frames))
    for forward in (True, False):
        session = segmenter.session(dtype=torch.float32)
        session.processed_frames = {t: segmenter.pixels(frame, segmenter.follow_side) for t, frame in enumerate(frames)}
        for index, logits in known.items():
            session.add_mask_inputs(session.obj_id_to_idx(1), index, follower._as_input(logits))
            session.obj_with_new_inputs = [1]
            segmenter.video(session, frame_idx=index)
        expected = {
            output.frame_idx: output.pred_masks[0, 0].numpy()
            for output in segmenter.video.propagate_in_video_iterator(session, start_frame_idx=2, reverse=not forward)
        }
        followed = {index: masks[0] for index, masks in follower.one_way([known], forward=forward)}
        assert list(followed) == list(expected) == (list(range(2, 40)) if forward else [2, 1, 0])
        for index, mask in followed.items():
            assert mask is not None
            np.testing.assert_array_equal(mask, known.get(index, expected[index]))


def test_each_object_is_followed_from_where_it_is_known(segmenter: Segmenter, frames: np.ndarray) -> None:
    first, second = {1: _answer(segmenter, frames[1], 40, 30)}, {3: _answer(segmenter, frames[3], 20, 20)}
    follower = Follower(segmenter, frames.__getitem__, 6)
    forward = {index: masks for index, masks in follower.one_way([first, second], forward=True)}
    back = {index: masks for index, masks in follower.one_way([first, second], forward=False)}
    assert list(forward) == [1, 2, 3, 4, 5] and list(back) == [3, 2, 1, 0]
    assert [one is None for one, _ in back.values()] == [True, True, False, False]
    assert [one is None for _, one in forward.values()] == [True, True, False, False, False]
    alone = {index: masks[0] for index, masks in follower.one_way([second], forward=True)}
    for index in (3, 4, 5):
        np.testing.assert_array_equal(forward[index][1], alone[index])


def test_memory_does_not_grow_with_the_clip(segmenter: Segmenter, frames: np.ndarray) -> None:
    known = {0: _answer(segmenter, frames[0], 40, 30)}
    follower = Follower(segmenter, lambda index: frames[index % 40], 200)
    tensors, objects = {}, {}
    tracemalloc.start()
    for index, _ in follower.one_way([known], forward=True):
        if index in (40, 199):
            objects[index] = tracemalloc.get_traced_memory()[0]
            tensors[index] = sum(one.numel() * one.element_size() for one in gc.get_objects() if type(one) is torch.Tensor)
    tracemalloc.stop()
    assert tensors[199] == tensors[40]  # a memory of one frame is 8 kB here
    assert objects[199] < objects[40] + 160 * 2_000  # a frame is 18 kB


def _answer(segmenter: Segmenter, frame: np.ndarray, x: float, y: float) -> np.ndarray:
    return segmenter.answers(frame, [Prompt((Point(x, y),))], [None])[0]


def test_answers_depend_on_the_prompt_and_the_mask_before(segmenter: Segmenter, frames: np.ndarray) -> None:
    prompts = [Prompt((Point(20, 30),)), Prompt((Point(70, 30),)), Prompt((Point(20, 30), Point(70, 30, inside=False)))]
    answers = segmenter.answers(frames[0], prompts, [None] * 3)
    assert [mask.shape for mask in answers] == [(tiny.SIDE // 4, tiny.SIDE // 4)] * 3
    assert all(not np.allclose(answers[0], other) for other in answers[1:])
    (again,) = segmenter.answers(frames[0], prompts[:1], [None])
    np.testing.assert_array_equal(again, answers[0])
    (corrected,) = segmenter.answers(frames[0], prompts[:1], [answers[1]])
    assert not np.allclose(corrected, answers[0])


def test_pictures_are_prepared_as_the_library_says(segmenter: Segmenter) -> None:
    grey = np.full((40, 60, 3), 128, np.uint8)
    pixels = segmenter.pixels(grey, 32)
    assert pixels.shape == (3, 32, 32)
    expected = [(128 / 255 - mean) / deviation for mean, deviation in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))]
    np.testing.assert_allclose(pixels.mean((1, 2)), expected, atol=1e-5)


def test_masks_are_soft() -> None:
    logits = np.full((8, 8), -1024, np.float32)
    assert soft_mask(logits, (48, 32)).max() == 0
    logits[:, 4:] = 6
    mask = soft_mask(np.maximum(logits, -6), (48, 32))
    assert mask.shape == (32, 48) and mask[:, :21].max() < 5 and mask[:, 27:].min() > 250
    assert (np.diff(mask.astype(int), axis=1) >= 0).all() and len(np.unique(mask[0])) > 5


@pytest.mark.parametrize("whole", [False, True])
def test_sam_3_is_taken_alike(whole: bool, frames: np.ndarray, tmp_path: Path) -> None:
    segmenter = Segmenter(tiny.save_sam_3(tmp_path / "sam", whole=whole), CPU)
    assert segmenter.side == segmenter.follow_side == 112
    known = {1: _answer(segmenter, frames[1], 40, 30)}
    followed = dict(Follower(segmenter, frames.__getitem__, 5).one_way([known], forward=True))
    assert list(followed) == [1, 2, 3, 4]
    assert all(mask is not None and mask.shape == (32, 32) and np.isfinite(mask).all() for (mask,) in followed.values())
    if whole:
        weights = load_file(tmp_path / "sam" / "model.safetensors")
        name = "tracker_model.no_object_pointer"
        torch.testing.assert_close(segmenter.video.no_object_pointer.detach(), weights[name])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "sam2"}, "SAM 2 for single pictures"),
        ({"model_type": "edgetam_video"}, "EdgeTAM, which needs timm"),
        ({"model_type": "bert"}, "a model of type 'bert', no SAM 2 or 3"),
        ({"image_size": 1_000}, "pictures of 1000 pixels"),
        ({"image_size": 199_936}, "pictures of 199936 pixels"),
        ({"vision_config": {"model_type": "timm_wrapper"}}, "another encoder"),
        ({"auto_map": {"AutoModel": "hostile.Model"}}, "'auto_map', which can load programs"),
        ({"memory_attention_num_layers": 5000}, "far larger than the weights"),
        ({"memory_attention_num_layers": 2}, "lacks segmenter weights"),
    ],
)
def test_what_is_no_segmenter_is_refused(change: dict[str, object], words: str, tmp_path: Path) -> None:
    tiny.check_refused(Segmenter, tiny.save_segmenter(tmp_path / "sam"), change, words)


def test_other_formats_and_files_are_refused(tmp_path: Path) -> None:
    folder = tiny.save_segmenter(tmp_path / "sam")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"no \.safetensors file"):
        Segmenter(folder, CPU)
    with pytest.raises(UserError, match="is a file"):
        Segmenter(folder / "pytorch_model.bin", CPU)
