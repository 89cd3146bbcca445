"""PatchMatch: errors and votes as written out by hand, fields against brute force."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from atlas.geometry.patch_match import Search, error, nearest_field, vote

SHIFT = (3, 2)  # x, y


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _image(height: int, width: int, seed: int = 0) -> Tensor:  # (1, H, W, 3)
    """Blurred noise and some fine noise: every place looks different, and like its neighbours."""
    draw = _seeded(seed)
    coarse = torch.rand(1, 3, height // 2, width // 2, generator=draw)
    smooth = F.interpolate(coarse, (height, width), mode="bicubic").permute(0, 2, 3, 1)
    return smooth + 0.1 * torch.rand(1, height, width, 3, generator=draw)


def _shifted(image: Tensor) -> Tensor:
    """The image that shows at p what `image` shows at p + SHIFT."""
    return torch.roll(image, (-SHIFT[1], -SHIFT[0]), (1, 2))


def _within(field: Tensor) -> Tensor:
    """Offsets that are moved to the border where they leave the image."""
    height, width = field.shape[1:3]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    ends = (x + field[..., 0]).clamp(0, width - 1) - x, (y + field[..., 1]).clamp(0, height - 1) - y
    return torch.stack(ends, -1).to(torch.int32)


def _random_field(batch: int, height: int, width: int, seed: int = 0) -> Tensor:
    shape = (batch, height, width, 2)
    return _within(torch.randint(-max(height, width), max(height, width), shape, generator=_seeded(seed)))


def _pixel(image: Tensor, y: int, x: int) -> Tensor:  # (H, W, C)
    inside = 0 <= y < image.shape[0] and 0 <= x < image.shape[1]
    return image[y, x] if inside else torch.zeros(image.shape[2])


@pytest.mark.parametrize("side", [1, 5, 9])
def test_error_is_the_sum_of_squared_differences_of_patches(side: int) -> None:
    images, target = torch.rand(2, 6, 8, 2, generator=_seeded(1)), torch.rand(2, 6, 8, 2, generator=_seeded(2))
    field, radius = _random_field(2, 6, 8), side // 2
    expected = torch.zeros(2, 6, 8)
    for b in range(2):
        for y in range(6):
            for x in range(8):
                for dy in range(-radius, radius + 1):
                    for dx in range(-radius, radius + 1):
                        there = _pixel(images[b], y + int(field[b, y, x, 1]) + dy, x + int(field[b, y, x, 0]) + dx)
                        expected[b, y, x] += ((there - _pixel(target[b], y + dy, x + dx)) ** 2).sum()
    torch.testing.assert_close(error(images, target, field, side), expected, rtol=1e-5, atol=1e-4)


def test_a_vote_is_the_mean_of_what_the_patches_over_a_pixel_show_there() -> None:
    image, field = torch.rand(1, 8, 9, 3, generator=_seeded(1)), _random_field(1, 8, 9)
    result = vote(image, field, 3)
    for y in range(8):
        for x in range(9):
            shown = []
            for v in range(max(0, y - 1), min(8, y + 2)):
                for u in range(max(0, x - 1), min(9, x + 2)):
                    row, column = y + int(field[0, v, u, 1]), x + int(field[0, v, u, 0])
                    if 0 <= row < 8 and 0 <= column < 9:
                        shown.append(image[0, row, column])
            torch.testing.assert_close(result[0, y, x], torch.stack(shown).mean(0), rtol=0, atol=1e-6)


@pytest.mark.parametrize("side", [1, 5, 13])
def test_the_vote_of_the_identity_is_the_image(side: int) -> None:
    image = 255 * torch.rand(2, 20, 17, 3, generator=_seeded(0))
    voted = vote(image, torch.zeros(2, 20, 17, 2, dtype=torch.int32), side)
    torch.testing.assert_close(voted, image, rtol=0, atol=1e-3)


@pytest.mark.parametrize(("sizes", "share"), [((13, 11, 9, 7, 5), 0.95), ((5,) * 5, 0.99)])
def test_the_field_is_that_of_brute_force(sizes: tuple[int, ...], share: float) -> None:
    """An image shifted by a whole number of pixels, away from what has come in at the border."""
    image = _image(24, 32)
    target = _shifted(image)
    patches = [F.unfold(each.permute(0, 3, 1, 2), 5, padding=2)[0].T for each in (target, image)]
    nearest = torch.cdist(*patches).argmin(1).view(24, 32)
    found = []
    for seed in range(5):
        field = nearest_field(image, target, torch.zeros_like(image), generator=_seeded(seed), search=Search(sizes=sizes))[0]
        y, x = torch.meshgrid(torch.arange(24), torch.arange(32), indexing="ij")
        same = (y + field[..., 1]) * 32 + x + field[..., 0] == nearest
        found.append(same[4:-6, 4:-7].float().mean())
    assert torch.stack(found).mean() >= share


@pytest.mark.parametrize("start", ["identity", "random"])
@pytest.mark.parametrize("levels", [1, 2])
def test_no_error_is_above_the_starts(start: str, levels: int) -> None:
    image, other = _image(26, 33, 1), _image(26, 33, 2)
    first = _random_field(1, 26, 33) if start == "random" else torch.zeros(1, 26, 33, 2, dtype=torch.int32)
    search = Search(sizes=(5,), levels=levels)
    field = nearest_field(image, other, torch.zeros_like(image), generator=_seeded(0), search=search, start=first)
    if levels == 1:  # a coarser level starts from what it sees of the field
        before, after = error(image, other, first, 5), error(image, other, field, 5)
        assert (after <= before * (1 + 1e-5)).all()
        assert after.mean() < before.mean()
    assert torch.equal(field, _within(field)), "some offsets lead out of the image"


def test_equal_images_stay_where_they_are() -> None:
    image = _image(31, 45)
    style = torch.rand(1, 31, 45, 3, generator=_seeded(5))
    for joint in (False, True):
        field = nearest_field(image, image, style, generator=_seeded(0), joint=joint)
        assert not field.any()
        torch.testing.assert_close(255 * vote(style, field, 5), 255 * style, rtol=0, atol=1e-3)


def test_a_true_start_stays() -> None:
    image = _image(24, 32)
    start = torch.tensor(SHIFT).expand(1, 24, 32, 2)
    search = Search(sizes=(7, 5), levels=1)
    field = nearest_field(image, _shifted(image), image, generator=_seeded(0), search=search, start=start)
    assert torch.equal(field[:, 4:-6, 4:-7], start[:, 4:-6, 4:-7].to(torch.int32))


def test_styles_decide_where_guides_do_not() -> None:
    """A guide of one colour, a style of two halves: places keep to styles like those that they vote for."""
    guide = torch.zeros(1, 24, 24, 3)
    style = torch.zeros(1, 24, 24, 3)
    style[:, :, 12:] = 1
    noisy = _within(torch.randint(-3, 4, (1, 24, 24, 2), generator=_seeded(3)))
    field = nearest_field(guide, guide, style, generator=_seeded(0), search=Search(sizes=(5,), levels=1), start=noisy)
    before, after = (vote(style, each, 1) for each in (noisy, field))
    assert (after - style).abs().mean() < 0.5 * (before - style).abs().mean()


def test_a_batch_of_pairs_with_one_target() -> None:
    image = _image(26, 40)
    both = torch.cat([image, _shifted(image)])
    field = nearest_field(both, image, both, generator=_seeded(0))
    assert not field[0].any()
    assert (field[1, 6:-6, 6:-6] == -torch.tensor(SHIFT)).all(-1).float().mean() > 0.95


def test_the_same_seed_gives_the_same_field() -> None:
    image, other = _image(26, 33, 1), _image(26, 33, 2)
    fields = [nearest_field(image, other, image, generator=_seeded(seed)) for seed in (3, 3, 4)]
    assert torch.equal(fields[0], fields[1]) and not torch.equal(fields[0], fields[2])


def test_levels_hold_a_patch_of_the_first_size() -> None:
    assert [Search().levels_of(*size) for size in ((136, 240), (288, 512), (24, 32), (8, 8))] == [3, 4, 1, 1]
    assert Search(levels=2).levels_of(8, 8) == 2


def test_images_smaller_than_a_patch() -> None:
    image = torch.rand(1, 3, 2, 3, generator=_seeded(0))
    assert nearest_field(image, image.flip(1), image, generator=_seeded(0)).shape == (1, 3, 2, 2)
