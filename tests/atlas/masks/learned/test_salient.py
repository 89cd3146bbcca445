"""Salient masks: the network's file, and what is joined of its word, of motion and of the flow."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import cv2
import numpy as np
import pytest

from atlas.api.stages import prepare
from atlas.errors import UserError
from atlas.masks.learned.salience import SalienceNetwork
from atlas.masks.learned.salient import masks_from_salience
from atlas.storage.images import write_image
from tests.atlas.masks.learned import tiny

FRAMES, HEIGHT, WIDTH = 12, 96, 144
TEXTURE = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 1, (HEIGHT, WIDTH)), (0, 0), 1.5)
TEXTURE *= 25 / TEXTURE.std()
RED = np.array([200, 40, 40])
GREEN = np.array([60, 110, 30])
"""As grey as the red is."""


def frame(index: int, *, blind: bool = False, second: bool = True, moving: bool = True) -> np.ndarray:
    """A red square that moves over a textured ground, and one that lies on it; `blind`: the first is green for once."""
    ground = (120 + TEXTURE)[..., None].repeat(3, 2)
    left, texture = _left(index if moving else 0), TEXTURE[20:60, 60:100, None]
    ground[30:70, left : left + 40] = (GREEN if blind else RED) + texture
    if second:
        ground[5:30, 110:135] = RED + texture[:25, :25]
    return np.clip(ground, 0, 255).astype(np.uint8)


def _left(index: int) -> int:
    return 10 + 3 * index


def truth(index: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[30:70, _left(index) : _left(index) + 40] = True
    return mask


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> SalienceNetwork:
    return SalienceNetwork(tiny.save_salience(tmp_path_factory.mktemp("salience") / "red.onnx"))


def test_the_network_is_asked_as_isnet_is(network: SalienceNetwork) -> None:
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    picture[:, : WIDTH // 2] = RED
    answer = network(picture)
    assert answer.shape == (HEIGHT, WIDTH) and answer.dtype == np.float32
    expected = [1 / (1 + np.exp(-12 * (red - green) / 255 + 6)) for red, green in ((200, 40), (0, 0))]
    np.testing.assert_allclose(answer[5, [5, -5]], expected, atol=1e-5)


@pytest.mark.parametrize("options", [{"logits": True}, {"shape": (1, 3, None, None)}, {"shape": ("batch", 3, "h", "w")}])
def test_logits_and_free_sizes_are_taken(options: dict[str, object], network: SalienceNetwork, tmp_path: Path) -> None:
    other = SalienceNetwork(tiny.save_salience(tmp_path / "other.onnx", **options))  # type: ignore[arg-type]
    np.testing.assert_allclose(other(frame(0))[34:66, 14:46], network(frame(0))[34:66, 14:46], atol=0.2)


def test_what_moves_is_taken_of_what_is_salient(network: SalienceNetwork) -> None:
    masks = list(masks_from_salience(network, frame, FRAMES, quiet=True))
    assert [mask.shape for mask in masks] == [(HEIGHT, WIDTH)] * FRAMES and masks[0].dtype == np.uint8
    for index, mask in enumerate(masks):
        assert overlap(mask > 127, truth(index)) > 0.9
        assert not (mask[5:28, 110:135] > 127).any()  # as red, and lies still


def test_where_nothing_moves_all_that_is_salient_is_taken(network: SalienceNetwork) -> None:
    masks = list(masks_from_salience(network, lambda index: frame(index, moving=False), FRAMES, quiet=True))
    for mask in masks:
        assert (mask[34:66, 14:46] > 127).mean() > 0.95 and (mask[9:26, 114:131] > 127).mean() > 0.95


def test_what_the_network_misses_for_once_comes_along_the_flow(network: SalienceNetwork) -> None:
    def flickering(index: int) -> np.ndarray:
        return frame(index, blind=index == 5, second=False)

    assert overlap(network(flickering(5)) > 0.5, truth(5)) < 0.1
    masks = list(masks_from_salience(network, flickering, FRAMES, quiet=True))
    assert all(overlap(mask > 127, truth(index)) > (0.75 if index == 5 else 0.9) for index, mask in enumerate(masks))


def test_nothing_and_everything_are_refused(network: SalienceNetwork) -> None:
    with pytest.raises(UserError, match="finds nothing salient"):
        next(masks_from_salience(lambda image: np.zeros(image.shape[:2], np.float32), frame, FRAMES, quiet=True))
    with pytest.raises(UserError, match="finds the whole frame salient"):
        next(masks_from_salience(lambda image: np.ones(image.shape[:2], np.float32), frame, FRAMES, quiet=True))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"shape": (1, 1, 64, 96)}, r"takes picture tensor\(float\) \[1, 1, 64, 96\]: give a network as ISNet"),
        ({"shape": (4, 3, 64, 96)}, "give a network as ISNet"),
        ({"shape": (1, 3, 64, 5000)}, "give a network as ISNet"),
        ({"whole_numbers": True}, r"takes picture tensor\(int64\)"),
        ({"several_inputs": True}, "takes picture .*, size .*: give a network"),
        ({"flat": True}, r"gives \(\) first, no mask"),
        ({"infinite": True, "logits": True}, "gives what are no numbers"),
    ],
)
def test_other_networks_are_refused(options: dict[str, object], words: str, tmp_path: Path) -> None:
    file = tiny.save_salience(tmp_path / "other.onnx", **options)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=words) as problem:
        SalienceNetwork(file)
    assert "\n" not in str(problem.value)


def test_other_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(UserError, match="no ONNX network that onnxruntime reads"):
        SalienceNetwork(tmp_path / "text.onnx")
    (tmp_path / "weights.pth").write_text("pickle")
    with pytest.raises(UserError, match=r"is no ONNX file \(.onnx\)"):
        SalienceNetwork(tmp_path / "weights.pth")
    with pytest.raises(UserError, match="missing or no file"):
        SalienceNetwork(tmp_path / "none.onnx")
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else found(name))
    with pytest.raises(UserError, match=r"pip install -e .\[salient\]"):
        SalienceNetwork(tmp_path / "text.onnx")


def test_a_clip_of_it(network: SalienceNetwork, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for index in range(FRAMES):
        write_image(tmp_path / "frames" / f"{index:05d}.png", frame(index))
    with pytest.raises(UserError, match="name its ONNX file .* with --salient FILE"):
        prepare(tmp_path / "frames", tmp_path / "clip", masks="salient")
    clip = prepare(tmp_path / "frames", tmp_path / "clip", masks="salient", salient=network.file)
    assert clip.layers == ["foreground", "background"]
    assert all(overlap(clip.mask("foreground", index) > 127, truth(index)) > 0.9 for index in range(FRAMES))
    assert "red.onnx says what is salient" in capsys.readouterr().out
    prepare(tmp_path / "frames", tmp_path / "clip", masks="salient", salient=network.file)
    assert "is up to date" in capsys.readouterr().out
    assert not list(clip.folder.rglob(".salient*"))
