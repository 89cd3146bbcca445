"""Open-vocabulary detection: boxes in the frame's pixels, duplicates left out, other folders refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from atlas.errors import UserError
from atlas.masks.learned.detector import Detector, apart
from tests.atlas.masks.learned import tiny

CPU = torch.device("cpu")
FRAME = np.random.default_rng(0).integers(0, 255, (60, 90, 3)).astype(np.uint8)


@pytest.mark.parametrize("save", [tiny.save_grounding_dino, tiny.save_owl])
def test_boxes_lie_in_the_frame(save: Callable[[Path], Path], tmp_path: Path) -> None:
    detector = Detector(save(tmp_path / "detector"), CPU)
    boxes, best = detector.found(FRAME, "a black swan")
    assert 1 <= len(boxes) <= 8 and detector.least < best <= 1
    for box in boxes:
        assert box.x >= 0 and box.y >= 0 and box.x + box.width <= 90 and box.y + box.height <= 60
    assert detector.found(FRAME, "a black swan") == (boxes, best)
    detector.least = 1.01
    assert detector.found(FRAME, "a black swan")[0] == []
    with pytest.raises(UserError, match="tokens too long for the detector"):
        detector.found(FRAME, "swan " * 300)


def test_grounding_dino_is_asked_as_its_library_asks(tmp_path: Path) -> None:
    from transformers import BertTokenizer, GroundingDinoForObjectDetection

    folder = tiny.save_grounding_dino(tmp_path / "dino")
    detector = Detector(folder, CPU)
    network = GroundingDinoForObjectDetection.from_pretrained(folder).eval()
    tokens = BertTokenizer.from_pretrained(folder)(["a black swan."], return_tensors="pt")
    pixels = detector._inputs(FRAME)["pixel_values"]
    assert pixels.shape == (1, 3, 800, 1200)  # the shorter side is 800, the longer at most 1333
    with torch.no_grad():
        output = network(pixel_values=pixels, **tokens)
    scores = output.logits.sigmoid().amax(-1)[0]
    assert detector.found(FRAME, "A black swan")[1] == pytest.approx(float(scores.max()), abs=1e-6)
    x, y, width, height = output.pred_boxes[0, scores.argmax()].tolist()
    (first, *_), _ = detector.found(FRAME, "A black swan.")
    assert (first.x + first.width / 2, first.y + first.height / 2) == pytest.approx((90 * x, 60 * y), abs=1)
    assert (first.width, first.height) == pytest.approx((90 * width, 60 * height), abs=1)


def test_duplicates_are_left_out() -> None:
    corners = np.array([[0, 0, 10, 10], [0, 0, 10, 11], [0, 0, 10, 20], [30, 30, 40, 40]], float)
    assert apart(corners, np.array([0.5, 0.9, 0.4, 0.7])) == [1, 3, 2]
    assert apart(corners[:0], np.zeros(0)) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "owlvit"}, "a model of type 'owlvit', no Grounding DINO or OWLv2"),
        ({"backbone_config": {"model_type": "resnet"}}, "another backbone_config"),
        ({"use_timm_backbone": True}, "'use_timm_backbone', which can load programs"),
        ({"encoder_layers": 5000}, "far larger than the weights"),
        ({"encoder_layers": 2}, "lacks detector weights"),
    ],
)
def test_what_is_no_detector_is_refused(change: dict[str, object], words: str, tmp_path: Path) -> None:
    tiny.check_refused(Detector, tiny.save_grounding_dino(tmp_path / "dino"), change, words)
