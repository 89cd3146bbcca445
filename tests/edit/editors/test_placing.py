"""Edit layers of other sizes, and of the kinds that painters save."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from atlas.clip.clip import Clip, Source
from atlas.errors import UserError
from atlas.maps.maps import Maps
from atlas.model.nla import NlaModel
from atlas.model.nla_config import NlaConfig
from atlas.nla.outputs import write_nla_atlases, write_nla_maps
from atlas.storage.images import read_image, write_image
from atlas.storage.stamps import write_json
from edit.editors.painted import read_painted
from edit.editors.placing import placed

HERE = Path("paint.png")


def disc(height: int, width: int) -> np.ndarray:
    """Red in the middle of nothing, which is stored as white: (H, W, 4) uint8."""
    y, x = (np.indices((height, width)) + 0.5) / np.array([height, width])[:, None, None] - 0.5
    image = np.full((height, width, 4), 255, np.uint8)
    inside = np.hypot(x, y) < 0.25
    image[inside] = (255, 0, 0, 255)
    image[~inside, 3] = 0
    return image


def seen_box(maps: Maps, layer: str) -> tuple[slice, slice]:
    rows, columns = np.nonzero(maps.atlas(layer)[..., 3] > 0)
    return slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)


def test_a_square_layer_spans_the_atlas(sample_clip: Clip) -> None:
    maps = Maps(sample_clip.fit_folder("truth"))
    side = maps.atlas_size("foreground")[0]
    for pixels in (500, 40):
        image, said = placed(disc(pixels, pixels), HERE, maps, "foreground")
        assert image.shape == (side, side, 4) and f"{pixels}x{pixels}" in said and "resized" in said
        right = disc(side, side)[..., 3] > 0
        assert ((image[..., 3] > 127) == right).mean() > 0.95
        paint = image[..., 3] > 0
        assert (np.abs(image[paint].astype(int) - (255, 0, 0, 0))[:, :3] <= 1).all()  # no white from beneath nothing


def test_a_crop_spans_what_is_seen(sample_clip: Clip) -> None:
    maps = Maps(sample_clip.fit_folder("truth"))
    rows, columns = seen_box(maps, "background")
    height, width = 2 * (rows.stop - rows.start), 2 * (columns.stop - columns.start)
    assert height != width
    image, said = placed(disc(height, width), HERE, maps, "background")
    outside = np.ones(image.shape[:2], bool)
    outside[rows, columns] = False
    assert (image[outside] == 0).all() and "what is seen" in said
    middle = image[(rows.start + rows.stop) // 2, (columns.start + columns.stop) // 2]
    assert middle.tolist() == [255, 0, 0, 255]


def test_the_background_of_a_published_fit(tmp_path: Path) -> None:
    """There a square layer spans the square that begins at the least uv of the visible pixels, as the networks have them."""
    count, height, width, side = 3, 30, 40, 500
    config = NlaConfig(width, height, count, number_of_channels_mapping2=16, number_of_channels_alpha=16)
    model = NlaModel(config, torch.Generator().manual_seed(3)).requires_grad_(False)
    model.mapping2.hidden[-1].weight *= 4
    model.mapping2.hidden[-1].bias.fill_(0.1)
    points = torch.cat([model.pixels(t, height, width) for t in range(count)])
    spread, last = model.alpha(points).atanh(), model.alpha.hidden[-1]
    last.bias.copy_((last.bias - spread.mean()) / spread.std())  # half of the pixels are the foreground's
    last.weight /= spread.std()
    clip = Clip(tmp_path, "clip", count, width, height, 24.0, ["foreground", "background"], Source("", "", width, height))
    write_nla_maps(model, clip, tmp_path / "fit")
    maps = Maps(tmp_path / "fit")
    write_nla_atlases(model, maps, tmp_path / "fit", 0, [side])
    write_json(tmp_path / "fit" / "config.json", {"preset": "nla"})
    uv = model.mapping2(points)[model.alpha(points)[:, 0] < 0.5]  # so do the published editors choose what counts
    assert 100 < len(uv) < len(points)
    low, high = ((end + 1).numpy() * side / 2 for end in (uv.amin(0), uv.amax(0)))
    edge = (high - low).max()
    assert low.min() > 0 and (low + edge).max() < side and edge < 0.8 * side
    for pixels in (1000, 60):
        image, _ = placed(np.full((pixels, pixels, 4), 255, np.uint8), HERE, maps, "background")
        alpha = image[..., 3] / 255
        assert abs(np.sqrt(alpha.sum()) - edge) < 1
        rows, columns = np.indices(alpha.shape) + 0.5
        middle = np.array([(columns * alpha).sum(), (rows * alpha).sum()]) / alpha.sum()
        assert np.abs(middle - (low + edge / 2)).max() < 0.5
    assert (placed(np.full((60, 60, 4), 255, np.uint8), HERE, maps, "foreground")[0][..., 3] == 255).all()


def test_what_cannot_be_placed(sample_clip: Clip) -> None:
    maps = Maps(sample_clip.fit_folder("truth"))
    with pytest.raises(UserError, match="no alpha"):
        placed(disc(100, 100)[..., :3], HERE, maps, "foreground")
    with pytest.raises(UserError, match="paint.png is 400x100, the atlas of layer 'foreground' is"):
        placed(disc(100, 400), HERE, maps, "foreground")


def test_kinds_of_files(sample_clip: Clip, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Palette with transparency, grey with alpha, 16 bits: the same paint."""
    maps = Maps(sample_clip.fit_folder("truth"))
    side = maps.atlas_size("foreground")[0]
    paint = disc(side, side)
    Image.fromarray(paint).quantize(4).save(tmp_path / "palette.png")
    write_image(tmp_path / "deep.png", paint.astype(np.uint16) * 257)
    Image.fromarray(np.ascontiguousarray(paint[..., [1, 3]])).save(tmp_path / "grey.png")
    seen = read_image(maps.atlas_path("foreground"))[..., 3] > 0
    inside = seen & (paint[..., 3] > 0)
    for name, colour in (("palette", (65535, 0, 0)), ("deep", (65535, 0, 0)), ("grey", (0, 0, 0))):
        edited, reference = read_painted(tmp_path / f"{name}.png", maps, "foreground")
        assert (edited[inside][:, :3] == colour).all() and (edited[inside][:, 3] == 65535).all()
        away = ~(paint[..., 3] > 0)
        assert (edited[away][:, 3] == 0).all() and edited.dtype == reference.dtype == np.uint16
    assert capsys.readouterr().err == ""
    write_image(tmp_path / "other.png", disc(50, 50))
    read_painted(tmp_path / "other.png", maps, "foreground")
    assert capsys.readouterr().err.count("\n") == 1
