"""A stack in a file reads as the tensor of its images does, and leaves nothing behind."""

from __future__ import annotations

import os
from collections import namedtuple
from pathlib import Path

import pytest
import torch

from aggregate.stack import ImageStack
from atlas.errors import UserError
from atlas.system.parallel import in_order
from tests.aggregate.stored import stacked

PARTS = [
    (slice(None), slice(3, 9)),
    (slice(None), slice(0, 20), slice(2, 7)),
    (slice(None), slice(19, 20), slice(None)),
    (slice(None), slice(5, 5)),
]


@pytest.mark.parametrize("channels", [(), (3,)])
def test_it_reads_as_a_tensor_does(tmp_path: Path, channels: tuple[int, ...]) -> None:
    images = torch.rand(5, 20, 13, *channels, generator=torch.Generator().manual_seed(0))
    boxes = [
        (slice(0, 20), slice(0, 13)),
        (slice(2, 8), slice(4, 6)),
        None,
        (slice(19, 20), slice(0, 13)),
        (slice(5, 9), slice(12, 13)),
    ]
    with ImageStack(tmp_path / "stack", tuple(images.shape[1:]), 5) as stack:
        expected = torch.zeros_like(images)
        for image, whole, box in zip(images, expected, boxes, strict=True):
            stack.append(image, box)
            if box is not None:
                whole[box] = image[box]
        assert stack.shape == images.shape and len(stack) == 5
        assert all(torch.equal(stack[number], image) for number, image in enumerate(expected))
        assert all(torch.equal(stack[part], expected[part]) for part in PARTS)
        some = stack[[4, 0, 1]]
        assert len(some) == 3 and all(torch.equal(some[part], expected[[4, 0, 1]][part]) for part in PARTS)
        assert os.path.getsize(tmp_path / "stack") == 4 * (260 + 12 + 13 + 4) * (3 if channels else 1)


def test_an_image_is_replaced_within_its_box(tmp_path: Path) -> None:
    with ImageStack(tmp_path / "stack", (6, 6), 2) as stack:
        stack.append(torch.ones(6, 6), (slice(1, 3), slice(1, 4)))
        stack.append(torch.ones(6, 6))
        stack[0] = torch.full((6, 6), 5.0)
        assert stack[0].sum() == 5 * 6 and torch.equal(stack[1], torch.ones(6, 6))


def test_the_file_is_gone_at_the_end_and_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError), stacked(tmp_path / "stack", torch.ones(2, 4, 4)):
        assert (tmp_path / "stack").is_file()
        raise KeyError
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_too_full_is_told_at_the_first_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(1000 * 4 * 100 - 1))
    with ImageStack(tmp_path / "edit" / "making" / "stack", (10, 10), 1000) as stack:
        with pytest.raises(UserError, match="1000 keyframes need 1 MB while they are merged: free some space"):
            stack.append(torch.ones(10, 10))
        stack.append(torch.ones(10, 10), (slice(0, 10), slice(0, 9)))


def test_threads_read_it_at_once(tmp_path: Path) -> None:
    images = torch.rand(6, 200, 30, generator=torch.Generator().manual_seed(0))
    with ImageStack(tmp_path / "stack", (200, 30), 6) as stack:
        for image in images:
            stack.append(image)
        rows = [slice(start, start + 10) for start in range(0, 200, 10)] * 20
        for part, read in zip(rows, in_order(lambda part: stack[:, part], rows, 4), strict=True):
            assert torch.equal(read, images[:, part])
