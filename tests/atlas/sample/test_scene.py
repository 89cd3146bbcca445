"""The sample clip: its truth explains its frames, moves smoothly, and comes out the same every time."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.maps.maps import Maps
from atlas.sample.files import SampleOptions, build_sample, write_clip, write_sample
from atlas.sample.photographs import ASTRONAUT, COFFEE, cut_out, photograph
from atlas.sample.scene import Sample, make_sample
from atlas.storage.images import read_image
from atlas.system.command import parse_options


def both(sample: Sample, sample_two: Sample) -> list[Sample]:
    return [sample, sample_two]


def test_layers_are_named_as_clips_name_them(sample: Sample, sample_two: Sample) -> None:
    assert sample.layers == ["foreground", "background"]
    assert sample_two.layers == ["foreground-1", "foreground-2", "background"]
    assert sample.frames.shape == (12, 64, 96, 3) and sample.frames.dtype == np.uint8


def test_the_truth_renders_the_frames(sample: Sample, sample_two: Sample) -> None:
    for clip in both(sample, sample_two):
        rendered = clip.render()
        assert rendered.max() <= 1, "light must not drive colours beyond white: nothing would be known there"
        assert np.abs(rendered * 255 - clip.frames).max() <= 0.5 + 1e-3


def test_visible_opacities_sum_to_one(sample: Sample, sample_two: Sample) -> None:
    for clip in both(sample, sample_two):
        total = sum(clip.opacities.values())
        np.testing.assert_allclose(total, 1, atol=1e-6)
        assert all(opacity.min() >= 0 for opacity in clip.opacities.values())


def test_mappings_are_smooth_in_space_and_time(sample: Sample, sample_two: Sample) -> None:
    for clip in both(sample, sample_two):
        for layer in clip.layers:
            texels = clip.uvs[layer] * len(clip.atlases[layer]) / 2
            across, down, in_time = (np.diff(texels, axis=axis) for axis in (2, 1, 0))
            # A pixel is about 1.4 texels; no fold: the mapping's determinant keeps its sign.
            seen = clip.opacities[layer][:, 1:, 1:] > 0
            determinant = (across[:, 1:, :, 0] * down[:, :, 1:, 1] - across[:, 1:, :, 1] * down[:, :, 1:, 0])[seen]
            assert determinant.min() > 0.5 and determinant.max() < 6
            # Second differences: no kinks.
            assert np.abs(np.diff(across, axis=2)).max() < 0.1 and np.abs(np.diff(down, axis=1)).max() < 0.1
            assert np.linalg.norm(in_time, axis=-1)[clip.opacities[layer][1:] > 0.5].max() < 20


def test_mappings_stay_in_the_atlas_where_the_layer_is_seen(sample: Sample, sample_two: Sample) -> None:
    for clip in both(sample, sample_two):
        for layer in clip.layers:
            assert np.abs(clip.uvs[layer][clip.opacities[layer] > 0]).max() < 0.99


def test_everything_moves(sample: Sample) -> None:
    for layer in sample.layers:
        assert np.abs(sample.uvs[layer][-1] - sample.uvs[layer][0]).mean() > 0.05
    light = sample.lights["background"]
    assert 0.8 < light.min() < 0.95 and 1.05 < light.max() < 1.2
    assert np.abs(light[-1] - light[0]).max() > 0.05


def test_what_is_hidden_is_seen_at_another_time(sample: Sample) -> None:
    """Of the background behind the object in the middle frame, a good part is seen in the first or the last."""
    size = len(sample.atlases["background"])
    seen = np.zeros((size, size), bool)
    for i in (0, -1):
        u, v = np.moveaxis(((sample.uvs["background"][i] + 1) / 2 * size).astype(int), -1, 0)
        seen[v[clear := sample.opacities["background"][i] > 0.9], u[clear]] = True
    seen = cv2.dilate(seen.astype(np.uint8), np.ones((3, 3))) > 0
    hidden = sample.opacities["background"][6] < 0.1
    u, v = np.moveaxis(((sample.uvs["background"][6][hidden] + 1) / 2 * size).astype(int), -1, 0)
    assert seen[v, u].mean() > 0.4


def test_the_cup_hides_the_astronaut_for_a_while(sample_two: Sample) -> None:
    cup, person = (sample_two.opacities[layer] for layer in sample_two.objects)
    touching = []
    for one, other in zip(cup, person, strict=True):
        near = cv2.dilate((other > 0.9).astype(np.uint8), np.ones((9, 9))) > 0
        touching.append(bool(((one > 0.9) & near).any()))
    assert any(touching) and not touching[0] and not touching[-1]


def test_edges_are_soft_and_thin(sample: Sample) -> None:
    opacity = sample.opacities["foreground"]
    soft = ((opacity > 0.02) & (opacity < 0.98)).mean()
    assert 0.005 < soft < 0.1
    assert (opacity == 0).mean() > 0.4 and (opacity == 1).mean() > 0.15


def test_masks_are_the_larger_half(sample_two: Sample) -> None:
    first, second = (sample_two.masks(layer) for layer in sample_two.objects)
    assert set(np.unique(first)) == {0, 255}
    assert not ((first > 0) & (second > 0)).any()


def test_atlas_alpha_covers_what_is_seen(sample: Sample) -> None:
    for layer in sample.layers:
        atlas = sample.atlases[layer]
        assert atlas.shape[0] == atlas.shape[1] and set(np.unique(atlas[..., 3])) == {0, 1}
        size = len(atlas)
        visible = sample.opacities[layer] > 0.5
        u, v = np.moveaxis(((sample.uvs[layer][visible] + 1) / 2 * size).astype(int), -1, 0)
        assert atlas[v, u, 3].min() == 1
        assert 0.1 < atlas[..., 3].mean() < 0.8


def test_an_edited_atlas_changes_its_layer_alone(sample: Sample) -> None:
    edited = sample.atlases["foreground"].copy()
    edited[..., :3] = [1, 0, 0]
    rendered = sample.render({"foreground": edited})
    outside, inside = sample.opacities["foreground"] == 0, sample.opacities["foreground"] == 1
    assert np.array_equal(rendered[outside], sample.render()[outside])
    np.testing.assert_allclose(rendered[inside], sample.lights["foreground"][inside] * [1, 0, 0], atol=1e-6)


def test_an_edited_atlas_may_have_another_size(sample: Sample) -> None:
    flat = np.full((7, 7, 4), 0.5, np.float32)
    background = sample.opacities["background"] == 1
    np.testing.assert_allclose(
        sample.render({"background": flat})[background], 0.5 * sample.lights["background"][background], atol=1e-6
    )


def test_the_same_seed_gives_the_same_bytes(sample: Sample) -> None:
    again = make_sample(frames=12, height=64, width=96, objects=1, seed=0)
    assert np.array_equal(again.frames, sample.frames)
    for layer in sample.layers:
        assert np.array_equal(again.uvs[layer], sample.uvs[layer])
        assert np.array_equal(again.atlases[layer], sample.atlases[layer])
    assert not np.array_equal(make_sample(frames=12, height=64, width=96, seed=1).frames, sample.frames)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_seed_keeps_the_layers_inside(seed: int) -> None:
    test_mappings_stay_in_the_atlas_where_the_layer_is_seen(
        make_sample(6, 34, 60, 1, seed), make_sample(6, 34, 60, objects=2, seed=seed)
    )


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_photographs_lower_edge_stays_below_the_frame(seed: int) -> None:
    clip = make_sample(8, 68, 120, seed=seed)
    lowest = clip.uvs["foreground"][..., 1][clip.opacities["foreground"] > 0].max()
    assert lowest * 1.12 < 0.99  # the margin is outside the photograph


@pytest.mark.parametrize(("height", "width"), [(96, 54), (33, 47), (40, 40)])
def test_portrait_odd_and_square(height: int, width: int) -> None:
    clip = make_sample(frames=4, height=height, width=width, objects=2)
    assert clip.frames.shape == (4, height, width, 3)
    assert np.abs(clip.render() * 255 - clip.frames).max() <= 0.5 + 1e-3
    test_mappings_stay_in_the_atlas_where_the_layer_is_seen(clip, clip)


@pytest.mark.parametrize("wrong", [{"frames": 1}, {"height": 8}, {"objects": 3}, {"objects": 0}, {"seed": -1}])
def test_numbers_out_of_range(wrong: dict[str, int]) -> None:
    with pytest.raises(UserError, match="at least 2 frames"):
        make_sample(**({"frames": 2, "height": 32, "width": 32} | wrong))


@pytest.mark.parametrize("subject", [ASTRONAUT, COFFEE])
def test_cut_outs_keep_their_inside_and_replace_their_outside(subject) -> None:
    original = photograph(subject.photograph)
    colour, matte = cut_out(subject)
    sure = cv2.erode((matte == 1).astype(np.uint8), np.ones((3, 3))) > 0
    assert np.array_equal(colour[sure], original[sure])
    assert 0.2 < matte.mean() < 0.7
    far = cv2.dilate((matte > 0).astype(np.uint8), np.ones((41, 41))) == 0
    assert np.abs(colour[far] - original[far]).mean() > 0.05


def test_a_photograph_that_is_not_there() -> None:
    with pytest.raises(UserError, match="reinstall"):
        photograph("no-such-thing.png")


def test_written_truth_explains_written_frames(sample_two: Sample, tmp_path: Path) -> None:
    write_sample(sample_two, tmp_path / "out")
    maps = Maps(tmp_path / "out" / "truth")
    assert maps.layers == sample_two.layers
    for i in (0, 5, 11):
        rendered = np.zeros((64, 96, 3), np.float32)
        for layer in maps.layers:
            atlas, uv = maps.atlas(layer), maps.uv(layer, i)
            x, y = ((uv[..., k] + 1) * len(atlas) / 2 - 0.5 for k in (0, 1))
            seen = cv2.remap(np.ascontiguousarray(atlas[..., :3]), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            rendered += maps.opacity(layer, i)[..., None] * maps.light(layer, i) * seen
        frame = read_image(tmp_path / "out" / "frames" / f"{i:05d}.png")
        assert np.abs(rendered * 255 - frame).mean() < 0.5
        assert np.abs(rendered * 255 - frame).max() < 5


def test_masks_on_disk(sample: Sample, sample_two: Sample, tmp_path: Path) -> None:
    from PIL import Image

    write_sample(sample, tmp_path / "one")
    assert np.array_equal(read_image(tmp_path / "one" / "masks" / "00003.png")[..., 0], sample.masks("foreground")[3])
    write_sample(sample_two, tmp_path / "two")
    with Image.open(tmp_path / "two" / "masks" / "00003.png") as image:
        assert image.mode == "P"
        numbers = np.array(image)
    for number, layer in enumerate(sample_two.objects, start=1):
        assert np.array_equal(numbers == number, sample_two.masks(layer)[3] > 0)


def test_a_whole_clip(sample_clip: Clip, sample: Sample) -> None:
    assert sample_clip.layers == ["foreground", "background"]
    assert np.array_equal(sample_clip.frame(7), sample.frames[7])
    assert np.array_equal(sample_clip.mask("foreground", 7), sample.masks("foreground")[7])
    assert sample_clip.flow("forward").shape == (11, 64, 96, 2)
    assert sample_clip.flow_validity("backward")[:].mean() > 0.5
    assert Maps(sample_clip.fit_folder("truth")).frames == 12


def test_measured_flow_follows_the_true_mapping(sample_clip: Clip, sample: Sample) -> None:
    """Along the flow, the background's uv stays where it is (where the flow is valid and nothing hides it)."""
    flow = np.asarray(sample_clip.flow("forward")[5], np.float32)
    x, y = np.meshgrid(np.arange(96, dtype=np.float32), np.arange(64, dtype=np.float32))
    uv = sample.uvs["background"]
    moved = cv2.remap(uv[6], x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR)
    good = (sample_clip.flow_validity("forward")[5] > 0) & (sample.opacities["background"][5] == 1)
    pixel = np.abs(uv[5][32, 41, 0] - uv[5][32, 40, 0])
    assert np.median(np.linalg.norm(moved - uv[5], axis=-1)[good]) / pixel < 0.3


def test_the_same_clip_twice_is_the_same_bytes(sample: Sample, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_clip(sample, tmp_path / name / "clip")
    first, second = (sorted((tmp_path / name).rglob("*.*")) for name in ("a", "b"))
    assert len(first) == len(second) > 20
    for one, other in zip(first, second, strict=True):
        if one.is_file() and one.name != "clip.json":  # it holds the absolute path of the source
            assert one.read_bytes() == other.read_bytes(), one.name


class TestCommand:
    @staticmethod
    def options(out: Path, **more: int) -> SampleOptions:
        return SampleOptions(out=out, quiet=True, **({"frames": 3, "width": 48, "height": 32} | more))

    def test_builds_once(self, tmp_path: Path) -> None:
        out = tmp_path / "with space é"
        assert "built" in build_sample(self.options(out))
        frame = out / "frames" / "00002.png"
        before = frame.stat().st_mtime_ns
        assert "up to date" in build_sample(self.options(out))
        assert frame.stat().st_mtime_ns == before
        assert "built" in build_sample(self.options(out, seed=5))

    def test_leaves_what_is_not_a_sample_alone(self, tmp_path: Path) -> None:
        (tmp_path / "precious.txt").write_text("mine")
        with pytest.raises(UserError, match="no sample clip"):
            build_sample(self.options(tmp_path))
        with pytest.raises(UserError, match="no sample clip"):
            build_sample(self.options(tmp_path / "precious.txt"))
        assert (tmp_path / "precious.txt").read_text() == "mine"

    def test_wrong_numbers_leave_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="at least 2 frames"):
            build_sample(self.options(tmp_path / "out", frames=1))
        assert not list(tmp_path.iterdir())

    def test_command_line(self, tmp_path: Path) -> None:
        options = parse_options(SampleOptions, [str(tmp_path), "--frames", "5", "--objects", "2", "--quiet"])
        assert (options.out, options.frames, options.objects, options.quiet) == (tmp_path, 5, 2, True)
