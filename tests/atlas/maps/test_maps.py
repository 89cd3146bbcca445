"""Maps on disk: round trip, rounding, and damaged files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.evaluation.stage import EvaluateOptions, evaluate
from atlas.maps.maps import Maps, MapsWriter, open_maps, write_atlas
from atlas.sample.scene import Sample
from atlas.storage.stamps import read_json, write_json


def test_round_trip(sample_clip_two: Clip, sample_two: Sample) -> None:
    maps = Maps(sample_clip_two.fit_folder("truth"))
    assert (maps.layers, maps.frames, maps.height, maps.width) == (sample_two.layers, 12, 64, 96)
    for layer in maps.layers:
        for i in (0, 11):
            # Beyond the atlas nothing is seen, and nothing is kept.
            np.testing.assert_allclose(maps.uv(layer, i), sample_two.uvs[layer][i].clip(-1, 1), atol=1.01 / 65535)
            np.testing.assert_allclose(maps.opacity(layer, i), sample_two.opacities[layer][i], atol=1.01 / 255)
            assert np.array_equal(maps.light(layer, i), sample_two.lights[layer][i])
        assert np.array_equal(maps.atlas(layer), sample_two.atlases[layer])
        assert maps.atlas_size(layer) == sample_two.atlases[layer].shape[:2]
        assert maps.has_light(layer)


def test_opacities_sum_to_255(sample_clip_two: Clip) -> None:
    folder = sample_clip_two.fit_folder("truth") / "maps"
    total = sum(np.load(folder / layer / "opacity.npy").astype(int) for layer in sample_clip_two.layers)
    assert np.all(total == 255)


def test_what_is_not_there_is_exactly_zero(sample_clip: Clip, sample: Sample) -> None:
    maps = Maps(sample_clip.fit_folder("truth"))
    nowhere = sample.opacities["foreground"][3] == 0
    assert np.all(maps.opacity("foreground", 3)[nowhere] == 0)
    assert np.all(maps.opacity("background", 3)[nowhere] == 1)


def write_small(folder: Path) -> None:
    writer = MapsWriter(folder, ["foreground", "background"], 2, 4, 6)
    for _ in range(2):
        uv = np.zeros((4, 6, 2), np.float32)
        half = np.full((4, 6), 0.5, np.float32)
        writer.append_frame({"foreground": uv, "background": uv}, {"foreground": half, "background": half})
    for layer in ("foreground", "background"):
        write_atlas(folder, layer, np.ones((8, 8, 4), np.float32))
    writer.close()


def test_without_light_it_is_one(tmp_path: Path) -> None:
    write_small(tmp_path / "fit")
    maps = Maps(tmp_path / "fit")
    assert not maps.has_light("foreground")
    assert np.array_equal(maps.light("foreground", 1), np.ones((4, 6, 3), np.float32))


def test_an_unfinished_fit_has_no_maps(tmp_path: Path) -> None:
    MapsWriter(tmp_path / "clip" / "fits" / "half", ["background"], 2, 4, 6)
    with pytest.raises(UserError, match="holds no finished fit: run scripts/fit.py .*clip --name half"):
        Maps(tmp_path / "clip" / "fits" / "half")


def test_unknown_layer(sample_clip: Clip) -> None:
    with pytest.raises(UserError, match="no layer 'dog'"):
        Maps(sample_clip.fit_folder("truth")).check_layer("dog")


@pytest.mark.parametrize("name", ["uv", "opacity"])
def test_missing_cut_and_misshaped_arrays(tmp_path: Path, name: str) -> None:
    write_small(tmp_path)
    path = tmp_path / "maps" / "background" / f"{name}.npy"
    whole = path.read_bytes()
    for content in (None, b"", whole[:-7], whole[:20], b"something else"):
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(UserError, match=f"{name}.npy is missing or damaged: run scripts/fit.py again"):
            Maps(tmp_path)
    np.save(path, np.zeros((2, 4, 5), np.uint8))
    with pytest.raises(UserError, match="has shape"):
        Maps(tmp_path)


def test_damaged_light(tmp_path: Path) -> None:
    write_small(tmp_path)
    path = tmp_path / "maps" / "background" / "light.npy"
    for content in (b"", b"something else"):
        path.write_bytes(content)
        with pytest.raises(UserError, match="light.npy"):
            Maps(tmp_path)
    np.save(path, np.ones((3, 2, 2, 3), np.float16))  # three frames of two
    with pytest.raises(UserError, match="light.npy has shape"):
        Maps(tmp_path)
    np.save(path, np.array([1, np.nan], np.float16)[:, None, None, None] * np.ones((2, 2, 2, 3), np.float16))
    assert Maps(tmp_path).light("background", 0).max() == 1
    with pytest.raises(UserError, match="light.npy holds values that are no numbers, in frame 1"):
        Maps(tmp_path).light("background", 1)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data | {"version": 99},
        lambda data: [1, 2],
        lambda data: {k: v for k, v in data.items() if k != "layers"},
        lambda data: data | {"frames": "two"},
        lambda data: data | {"frames": float("inf")},
        lambda data: data | {"layers": ["../../../elsewhere"]},
        lambda data: data | {"layers": [3]},
    ],
)
def test_damaged_description(tmp_path: Path, change: Callable[[dict], object]) -> None:
    write_small(tmp_path)
    path = tmp_path / "maps" / "maps.json"
    write_json(path, change(read_json(path)))
    with pytest.raises(UserError, match="maps.json"):
        Maps(tmp_path)


def test_maps_of_another_type_are_refused(tmp_path: Path) -> None:
    write_small(tmp_path)
    path = tmp_path / "maps" / "foreground" / "uv.npy"
    np.save(path, np.full(np.load(path).shape, np.nan))
    with pytest.raises(UserError, match="uv.npy has shape or type"):
        Maps(tmp_path)


def test_a_missing_atlas_is_named(tmp_path: Path) -> None:
    write_small(tmp_path)
    (tmp_path / "layers" / "foreground" / "atlas.png").unlink()
    with pytest.raises(UserError, match="atlas.png is missing"):
        Maps(tmp_path).atlas("foreground")


def test_an_error_closes_the_files_and_leaves_no_whole_maps(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="mine"), MapsWriter(tmp_path, ["background"], 2, 4, 6) as writer:
        raise KeyError("mine")
    with pytest.raises(ValueError, match="closed file"):
        writer.append_frame({"background": np.zeros((4, 6, 2))}, {"background": np.ones((4, 6))})
    assert not (tmp_path / "maps" / "maps.json").exists()


@pytest.mark.parametrize("layers", [[], ["foreground", "foreground", "background"]])
def test_maps_without_layers_or_with_one_twice_are_damaged(fresh_clip: Clip, layers: list[str]) -> None:
    path = fresh_clip.fit_folder("truth") / "maps" / "maps.json"
    write_json(path, read_json(path) | {"layers": layers})
    with pytest.raises(UserError, match=r"maps\.json is damaged"):
        Maps(fresh_clip.fit_folder("truth"))


@pytest.mark.parametrize("layers", [["background"], ["background", "foreground"]])
def test_maps_of_other_layers_than_the_clip_s_are_not_opened(fresh_clip: Clip, layers: list[str]) -> None:
    path = fresh_clip.fit_folder("truth") / "maps" / "maps.json"
    write_json(path, read_json(path) | {"layers": layers})
    with pytest.raises(UserError, match="truth was fitted to the layers background"):
        open_maps(fresh_clip, "truth")
    with pytest.raises(UserError, match="truth was fitted to the layers background"):
        evaluate(EvaluateOptions(clip=fresh_clip.folder, fit="truth", quiet=True))
