"""Maps at the source's size: evaluated once, kept, made again when the fit changes; interpolated where they cannot be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from atlas.clip.clip import Clip, Source
from atlas.clip.edits import Edit
from atlas.errors import UserError
from atlas.fitting.data import FitData
from atlas.fitting.presets import FitConfig
from atlas.maps.compositing import ScaledMaps
from atlas.maps.maps import Maps
from atlas.masks.depth import EDGE, depth_of
from atlas.model.checkpoint import build_model, open_model, save_model
from atlas.model.layered import LayeredAtlas, Shape, sharpening
from atlas.rendering.full_size import enlarged_depth, maps_at_size
from atlas.rendering.stage import RenderOptions, render
from atlas.storage.images import read_image, write_image
from atlas.storage.stamps import read_json, write_json
from atlas.video.source import open_source

CPU = torch.device("cpu")


def give_checkpoint(clip: Clip, seed: int = 0) -> LayeredAtlas:
    """A model for the fit "truth": not the one that its maps are from, which shows what is read from where."""
    config = FitConfig("standard", seed=seed)
    shape = Shape(tuple(clip.layers), clip.frames, clip.height, clip.width, (8, 12), (4, 6), (32,) * len(clip.layers))
    model = build_model(shape, config.mapping, config.opacity, seed)
    generator = torch.Generator().manual_seed(seed)
    for mapping in model.mappings:
        mapping.offset.data.normal_(0, 0.02, generator=generator)
    folder = clip.fit_folder("truth")
    write_json(folder / "config.json", {"version": 1, **config.to_dict(), "follow_edges": False})
    save_model(folder / "checkpoint.safetensors", model)
    return model


def test_maps_are_the_fields_at_that_size(fresh_clip: Clip, tmp_path: Path) -> None:
    model = give_checkpoint(fresh_clip)
    own = Maps(fresh_clip.fit_folder("truth"))
    large = maps_at_size(fresh_clip, own, 160, 240, CPU, quiet=True)
    assert isinstance(large, Maps) and (large.height, large.width) == (160, 240)
    FitData.write(fresh_clip, tmp_path / "data", quiet=True)
    depth = enlarged_depth(FitData(fresh_clip, tmp_path / "data").depth(5), 160, 240)
    uv, opacity = model.frame_maps(5, torch.from_numpy(depth))
    for i, layer in enumerate(fresh_clip.layers):
        np.testing.assert_allclose(large.uv(layer, 5), uv[i].numpy(), atol=2e-5)
        np.testing.assert_allclose(large.opacity(layer, 5), opacity[i].numpy(), atol=1.01 / 255)
        assert large.light(layer, 5).shape == (160, 240, 3) and large.has_light(layer)
        np.testing.assert_array_equal(large.atlas(layer), own.atlas(layer))
    assert not list((own.folder / "maps-240x160").glob("tmp*"))


def test_frames_that_decide_nothing_are_not_read(fresh_clip: Clip) -> None:
    give_checkpoint(fresh_clip)  # of a fit that does not follow the picture's edges
    fresh_clip.frame_path(5).write_bytes(b"damaged")
    assert isinstance(maps_at_size(fresh_clip, Maps(fresh_clip.fit_folder("truth")), 80, 120, CPU, quiet=True), Maps)


def test_they_are_kept_until_the_fit_changes(fresh_clip: Clip) -> None:
    give_checkpoint(fresh_clip)
    maps = Maps(fresh_clip.fit_folder("truth"))
    file = maps.folder / "maps-192x128" / "background" / "uv.npy"
    maps_at_size(fresh_clip, maps, 128, 192, CPU, quiet=True)
    first, when = file.read_bytes(), file.stat().st_mtime_ns
    maps_at_size(fresh_clip, maps, 128, 192, CPU, quiet=True)
    assert file.stat().st_mtime_ns == when
    give_checkpoint(fresh_clip, seed=1)
    maps_at_size(fresh_clip, maps, 128, 192, CPU, quiet=True)
    assert file.read_bytes() != first


def test_without_a_checkpoint_they_are_interpolated_and_one_line_says_so(
    fresh_clip: Clip, capsys: pytest.CaptureFixture[str]
) -> None:
    maps = Maps(fresh_clip.fit_folder("truth"))
    assert maps_at_size(fresh_clip, maps, 64, 96, CPU) is maps
    assert isinstance(maps_at_size(fresh_clip, maps, 128, 192, CPU), ScaledMaps)
    said = capsys.readouterr().err
    assert "interpolated to 192x128" in said and said.count("\n") == 1
    give_checkpoint(fresh_clip)
    config = read_json(maps.folder / "config.json")
    write_json(maps.folder / "config.json", {name: value for name, value in config.items() if name != "mapping"})
    assert isinstance(maps_at_size(fresh_clip, maps, 128, 192, CPU), ScaledMaps)
    assert "of another version" in capsys.readouterr().err
    assert not (maps.folder / "maps-192x128").exists()


def test_what_is_not_edited_is_the_source_to_the_bit(fresh_clip: Clip, tmp_path: Path) -> None:
    frames = [fresh_clip.frame(i).repeat(2, 0).repeat(2, 1) for i in range(fresh_clip.frames)]
    for index, frame in enumerate(frames):
        write_image(tmp_path / "large" / f"{index:05d}.png", frame)
    source = open_source(tmp_path / "large")
    fresh_clip.source = Source(str(source.path), source.sha256, 192, 128, indices=list(range(12)))
    fresh_clip.save()
    give_checkpoint(fresh_clip)
    maps = Maps(fresh_clip.fit_folder("truth"))
    edit = Edit(fresh_clip.edit_folder("red"), "red", "truth", {"foreground": {"editor": "atlas"}})
    edit.save()
    write_image(edit.atlas_path("foreground"), np.full((*maps.atlas_size("foreground"), 4), (255, 0, 0, 255), np.uint8))
    render(RenderOptions(clip=fresh_clip.folder, edit="red", format="png", size="source", device="cpu", quiet=True))
    large = Maps(maps.folder, "maps-192x128")
    for index, frame in enumerate(frames):
        result = read_image(edit.folder / "frames" / f"{index:05d}.png")
        away = large.opacity("foreground", index) == 0
        np.testing.assert_array_equal(result[away], frame[away])
        assert (result[~away] != frame[~away]).any()


def test_a_model_that_is_none(fresh_clip: Clip) -> None:
    folder = fresh_clip.fit_folder("truth")
    with pytest.raises(UserError, match="another version"):
        open_model(folder)
    write_json(folder / "config.json", [])
    with pytest.raises(UserError, match="no config of a fit"):
        open_model(folder)


def test_a_checkpoint_of_other_layers_or_frames_is_not_evaluated(
    fresh_clip: Clip, sample_clip_two: Clip, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = fresh_clip.fit_folder("truth")
    short = Clip(**(vars(fresh_clip) | {"frames": 5}))
    others = Clip(**(vars(sample_clip_two) | {"folder": fresh_clip.folder}))
    for clip in (short, others):
        give_checkpoint(clip)
        assert isinstance(maps_at_size(fresh_clip, Maps(folder), 128, 192, CPU, quiet=True), ScaledMaps)
        said = capsys.readouterr().err
        assert "checkpoint.safetensors is of other layers or frames" in said and said.count("\n") == 1


def test_an_outline_is_sharp_and_in_its_place_at_any_size() -> None:
    """An ellipse drawn at 160x90 without soft edges, against the same ellipse drawn larger."""

    def inside(height: int, width: int, scale: float) -> np.ndarray:
        y, x = (np.indices((height, width)) + 0.5) / scale
        return np.hypot((x - 72) / 48, (y - 45) / 31) < 1

    for scale in (2.0, 3.0, 4.5):
        height, width = round(90 * scale), round(160 * scale)
        depth = depth_of(np.where(inside(90, 160, 1), 255, 0).astype(np.uint8))[None]
        large = torch.from_numpy(enlarged_depth(depth, height, width))
        opacity = torch.sigmoid(large * EDGE * sharpening(large, scale))[0].numpy()
        truth = inside(height, width, scale)
        assert ((opacity > 0.5) & truth).sum() / ((opacity > 0.5) | truth).sum() > 0.985
        soft = ((opacity > 0.1) & (opacity < 0.9)).sum()
        around = np.pi * (48 + 31) * scale
        assert 1 < soft / around < 3  # pixels across the edge, however large the frame


def test_a_soft_matte_stays_soft() -> None:
    ramp = np.tile(np.linspace(0.1, 0.9, 60, dtype=np.float32), (20, 1))
    depth = depth_of((ramp * 255).astype(np.uint8))[None]
    large = torch.from_numpy(enlarged_depth(depth, 60, 180))
    opacity = torch.sigmoid(large * EDGE * sharpening(large, 3))[0, 30].numpy()
    middle = slice(30, 150)
    assert np.abs(opacity - np.interp(np.arange(180), np.arange(60) * 3 + 1, ramp[0]))[middle].max() < 0.04
