"""The aggregate stage on a clip whose layers are known: true edits come back, repainting is respected, bad input."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from aggregate.merging import writable
from aggregate.stage import AggregateOptions, aggregate
from atlas.clip.clip import Clip
from atlas.clip.edits import Edit
from atlas.errors import UserError
from atlas.maps.maps import Maps, fit_identity
from atlas.rendering.frames import Rendering
from atlas.rendering.settings import RenderSettings
from atlas.sample.files import write_clip, write_truth_fit
from atlas.sample.scene import Sample, make_sample
from atlas.storage.images import read_image, to_float, to_uint8, write_image
from atlas.storage.own.listed import LIST
from atlas.storage.stamps import read_stamp
from atlas.system.command import parse_options
from edit.editors import EditOptions
from edit.stage import edit


def run(clip: Clip, method: str = "mean", **more: object) -> str:
    given = {"edit": "test", "method": method, "merge_steps": 40, "quiet": True, "device": "cpu"} | more
    return str(aggregate(AggregateOptions(clip=clip.folder, **given)))  # type: ignore[arg-type]


def edited_with(clip: Clip, folder: Path, images: dict[int, np.ndarray], layer: str = "foreground") -> Edit:
    for index, image in images.items():
        write_image(folder / f"{index}.png", image)
    options = EditOptions(clip=clip.folder, name="test", layer=layer, fit="truth", editor="images", images=folder, quiet=True)
    return edit(options).edit


def filtered(clip: Clip, layer: str = "foreground", keyframes: str = "0,6,11", filter: str = "invert") -> Edit:
    return edit(
        EditOptions(
            clip=clip.folder,
            name="test",
            layer=layer,
            fit="truth",
            editor="filter",
            filter=filter,
            keyframes=keyframes,
            quiet=True,
        )
    ).edit


def textured(atlas: np.ndarray) -> np.ndarray:  # (N, N, 4) -> (N, N, 3)
    size = len(atlas)
    y, x = np.mgrid[:size, :size] / size
    waves = 0.4 + 0.3 * np.stack([np.sin(25 * x), np.cos(20 * y + 8 * x), np.sin(22 * (x - y))], -1)
    return (0.4 * atlas[..., :3] + 0.6 * waves).astype(np.float32)


def rendered(clip: Clip, edit: Edit, frame: int) -> np.ndarray:
    """Frame number `frame` of the edit."""
    frames = Rendering.open(clip.folder, edit.name, RenderSettings(device="cpu")).frames()
    return to_float(next(itertools.islice(frames, frame, None))[1])


@pytest.mark.parametrize(
    ("layer", "method", "least"),
    [("foreground", "mean", 36), ("foreground", "median", 36), ("foreground", "network", 36.5), ("background", "mean", 33)],
)
def test_a_true_texture_edit_comes_back_on_the_other_frames(
    sample: Sample, fresh_clip: Clip, tmp_path: Path, layer: str, method: str, least: float
) -> None:
    truth = np.clip(sample.render({layer: textured(sample.atlases[layer])}), 0, 1)
    made = edited_with(fresh_clip, tmp_path / "in", {i: to_uint8(truth[i]) for i in (0, 3, 6, 9, 11)}, layer)
    assert "% of its visible pixels" in run(fresh_clip, method)
    decibels = []
    for frame in (1, 5, 8, 10):
        inside = sample.opacities[layer][frame] > 0.5
        error = (rendered(fresh_clip, made, frame) - truth[frame])[inside]
        decibels.append(-10 * np.log10((error**2).mean()))
    assert np.mean(decibels) > least


@pytest.mark.parametrize("method", ["mean", "median", "network"])
def test_unedited_keyframes_leave_no_difference(fresh_clip: Clip, tmp_path: Path, method: str) -> None:
    made = edited_with(fresh_clip, tmp_path / "in", {i: fresh_clip.frame(i) for i in (0, 6, 11)})
    run(fresh_clip, method)
    assert np.array_equal(read_image(made.atlas_path("foreground")), read_image(made.reference_path("foreground")))


def test_files_and_their_formats(fresh_clip: Clip) -> None:
    made = filtered(fresh_clip)
    run(fresh_clip)
    size = (*Maps(fresh_clip.fit_folder("truth")).atlas_size("foreground"), 4)
    for path in (made.atlas_path("foreground"), made.reference_path("foreground")):
        image = read_image(path)
        assert image.shape == size and image.dtype == np.uint16 and image[..., 3].max() == 65535 and image[..., 3].min() == 0
    partials = sorted(p.name for p in made.partial_folder("foreground").iterdir())
    assert partials == [LIST, "00000.png", "00006.png", "00011.png"]
    assert read_image(made.partial_folder("foreground") / "00006.png").shape == size
    coverage = [read_image(made.partial_folder("foreground") / f"{i:05d}.png")[..., 3] for i in (0, 6, 11)]
    merged = read_image(made.atlas_path("foreground"))[..., 3] / 257
    assert np.abs(np.max(coverage, 0) - merged).max() <= 1


def test_another_fit_makes_it_out_of_date(fresh_clip: Clip) -> None:
    made = filtered(fresh_clip)
    run(fresh_clip)
    maps = Maps(fresh_clip.fit_folder("truth"))
    assert read_stamp(made.folder)["fit foreground"] == fit_identity(fresh_clip, maps, "foreground")
    write_image(maps.atlas_path("foreground"), read_image(maps.atlas_path("foreground")) // 2)
    assert "up to date" not in run(fresh_clip)
    assert read_stamp(made.folder)["fit foreground"] == fit_identity(fresh_clip, maps, "foreground")


def test_every_option_that_counts_makes_it_anew(fresh_clip: Clip) -> None:
    filtered(fresh_clip)
    chosen: dict[str, object] = {"method": "network", "merge_steps": 2, "colours": "kept"}
    run(fresh_clip, **chosen)  # type: ignore[arg-type]
    for name, value in (("match_gain", False), ("match_shift", False), ("merge_steps", 3), ("seed", 1), ("colours", "learned")):
        assert "up to date" in run(fresh_clip, **chosen)  # type: ignore[arg-type]
        chosen[name] = value
        assert "up to date" not in run(fresh_clip, **chosen), name  # type: ignore[arg-type]


def test_the_same_seed_gives_the_same_bytes(fresh_clip: Clip) -> None:
    made = filtered(fresh_clip)
    results = []
    for _ in range(2):
        (made.folder / "stamp.json").unlink()
        run(fresh_clip, "network", seed=5)
        results.append(made.atlas_path("foreground").read_bytes() + made.reference_path("foreground").read_bytes())
    assert results[0] == results[1]


def test_a_repainted_keyframe_is_picked_up_and_a_repainted_atlas_stays(fresh_clip: Clip) -> None:
    made = filtered(fresh_clip)
    run(fresh_clip)
    first = made.atlas_path("foreground").read_bytes()
    assert "up to date" in run(fresh_clip)

    keyframe = made.keyframe_path("foreground", 6)
    image = read_image(keyframe)
    image[..., :3] = (255, 0, 0)
    write_image(keyframe, image[..., :3])  # saved without transparency, as some painters do
    assert "up to date" not in run(fresh_clip)
    second = made.atlas_path("foreground").read_bytes()
    assert second != first

    painted = np.full_like(read_image(made.atlas_path("foreground")), 30000)
    write_image(made.atlas_path("foreground"), painted)
    assert "up to date" in run(fresh_clip)
    assert np.array_equal(read_image(made.atlas_path("foreground")), painted)
    assert "repainted by hand: kept as" in run(fresh_clip, "median")
    assert np.array_equal(read_image(made.folder / "replaced" / "atlas" / "foreground.png"), painted)


def test_only_the_changed_layer_is_done_again(fresh_clip: Clip) -> None:
    made = filtered(fresh_clip)
    filtered(fresh_clip, "background", "0,11")
    run(fresh_clip)
    before = made.atlas_path("foreground").stat().st_mtime_ns
    filtered(fresh_clip, "background", "0,11", "grey")
    said = run(fresh_clip).splitlines()
    assert said[0] == "foreground: 3 keyframes, up to date" and said[1].startswith("background: 2 keyframes cover")
    assert made.atlas_path("foreground").stat().st_mtime_ns == before


def test_the_further_keyframe_is_named(fresh_clip: Clip) -> None:
    filtered(fresh_clip, "background", "0")
    result = aggregate(AggregateOptions(clip=fresh_clip.folder, edit="test", method="mean", quiet=True)).layers[0]
    assert result.further is not None and result.further[0] > 5 and result.further[1] > 0.05
    assert result.covered is not None and 0.4 < result.covered < 1
    assert result.follows == pytest.approx(1 - result.covered, abs=0.01)  # an edit of all colours
    assert f"% follow the change of colours alone; keyframe {result.further[0]} would add" in str(result)
    assert "\n" not in str(result) and "stay" not in str(result)
    told = str(aggregate(AggregateOptions(clip=fresh_clip.folder, edit="test", method="mean", colours="kept", quiet=True)))
    assert f"% stay as they were; keyframe {result.further[0]} would add" in told and "follow" not in told


def test_a_painted_atlas_needs_no_merging(fresh_clip: Clip) -> None:
    image = Maps(fresh_clip.fit_folder("truth")).atlas_path("foreground")
    edit(EditOptions(clip=fresh_clip.folder, name="test", layer="foreground", fit="truth", editor="atlas", image=image))
    assert "a painted atlas, nothing to merge" in run(fresh_clip)


def test_matching_is_left_out_by_flags_that_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = parse_options(AggregateOptions, ["clip", "--edit", "e", "--no-match-gain"])
    assert not chosen.match_gain and chosen.match_shift
    with pytest.raises(SystemExit):
        parse_options(AggregateOptions, ["--help"])
    said = capsys.readouterr().out
    assert "Leave keyframes as bright" in said and "default: True" not in said


def test_edits_that_cannot_be_aggregated(fresh_clip: Clip) -> None:
    with pytest.raises(UserError, match=r"has no edit 'test' \(its edits: none yet\)"):
        run(fresh_clip)
    made = filtered(fresh_clip)
    keyframe = made.keyframe_path("foreground", 6)
    good = read_image(keyframe)
    write_image(keyframe, good[:-1])
    with pytest.raises(UserError, match="00006.png is 96x63, the clip's frames are 96x64"):
        run(fresh_clip)
    keyframe.write_bytes(b"")
    with pytest.raises(UserError, match="00006.png is not a readable image"):
        run(fresh_clip)
    write_image(keyframe, good)
    write_image(made.keyframe_path("foreground", 12), good)
    with pytest.raises(UserError, match="00012.png is past the end: the clip has frames 0 to 11"):
        run(fresh_clip)
    for path in made.keyframes_folder("foreground").iterdir():
        path.unlink()
    with pytest.raises(UserError, match="holds no keyframes"):
        run(fresh_clip)
    assert not made.atlas_path("foreground").exists() and not made.partial_folder("foreground").exists()


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """14 frames of 96x64, to be copied."""
    made = make_sample(frames=14, height=64, width=96, objects=1, seed=0)
    clip = write_clip(made, tmp_path_factory.mktemp("many") / "sample")
    write_truth_fit(made, clip, "truth")
    return clip


def on_frames(clip: Clip, folder: Path, layer: str = "foreground") -> Edit:
    """An edit on frames of a copy of the clip in `folder`: all of them, each a little brighter or darker."""
    shutil.copytree(clip.folder, folder / "clip")
    clip = Clip.open(folder / "clip")
    gains = 0.7 + 0.2 * np.random.default_rng(0).random(clip.frames)
    for index in range(clip.frames):
        write_image(folder / "in" / f"{index}.png", to_uint8(to_float(clip.frame(index))[..., [2, 0, 1]] * gains[index]))
    options = EditOptions(
        clip=clip.folder, name="test", layer=layer, fit="truth", editor="images", images=folder / "in", on="frames", quiet=True
    )
    return edit(options).edit


@pytest.mark.parametrize("method", ["network", "mean", "median"])
def test_an_edit_on_frames_is_merged_as_keyframes_are(many: Clip, tmp_path: Path, method: str) -> None:
    made = on_frames(many, tmp_path)
    clip = Clip.open(tmp_path / "clip")
    assert made.is_on_frames("foreground") and "14 keyframes cover" in run(clip, method)
    assert (
        len(list(made.partial_folder("foreground").iterdir())) == 15
    )  # with their list, and nothing that only served to make them
    first = made.atlas_path("foreground").read_bytes()
    for index in (2, 7, 12):
        inside = Maps(clip.fit_folder("truth")).opacity("foreground", index) > 0.9
        expected = 0.8 * to_float(clip.frame(index))[..., [2, 0, 1]]  # as bright as all are on average
        assert np.abs(rendered(clip, made, index) - expected)[inside].mean() < 0.02
    assert "up to date" in run(clip, method)
    if method == "network":  # what is drawn at random
        (made.folder / "stamp.json").unlink()
        run(clip, method)
        assert made.atlas_path("foreground").read_bytes() == first


@pytest.mark.parametrize("method", ["network", "median"])
def test_one_of_many_keyframes_that_differs_is_outvoted_unless_somebody_repainted_it(
    many: Clip, tmp_path: Path, method: str
) -> None:
    made = on_frames(many, tmp_path, "background")
    clip = Clip.open(tmp_path / "clip")
    spot, path, as_made = (slice(8, 22), slice(8, 26)), made.keyframe_path("background", 9), made.made_path("background", 9)
    before, keyframe = as_made.read_bytes(), read_image(path)
    keyframe[spot] = (0, 255, 0, 255)
    write_image(path, keyframe)
    found = {}
    for repainted in (False, True):
        as_made.write_bytes(before if repainted else path.read_bytes())
        (made.folder / "stamp.json").unlink(missing_ok=True)
        assert ("repainted in keyframe 9 counts more" in run(clip, method, colours="kept")) == repainted
        seen = rendered(clip, made, 9)[11:19, 11:23]
        found[repainted] = (seen[..., 1] - seen[..., [0, 2]].mean(-1)).mean()
    assert found[False] < 0.15 and found[True] > 0.6


def test_a_damaged_keyframe_is_found_before_the_first_is_placed(many: Clip, tmp_path: Path) -> None:
    made = on_frames(many, tmp_path)
    path = made.keyframe_path("foreground", 12)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(UserError, match="00012.png is truncated"):
        run(Clip.open(tmp_path / "clip"))
    assert not made.partial_folder("foreground").exists()


def test_whole_frames_have_no_atlas(fresh_clip: Clip) -> None:
    edit(EditOptions(clip=fresh_clip.folder, name="test", layer="all", editor="filter", filter="grey", on="frames", quiet=True))
    with pytest.raises(UserError, match="is an edit of whole frames, which have no atlas") as told:
        run(fresh_clip)
    assert "\n" not in str(told.value)


def test_colours_beyond_white_keep_their_difference() -> None:
    edited, reference = torch.full((2, 2, 3), 1.2), torch.full((2, 2, 3), 0.9)
    first, second = writable(edited, reference, torch.ones(2, 2))
    assert np.abs((first[..., :3].astype(float) - second[..., :3]) / 65535 - 0.3).max() < 1e-4
    assert first.max() == 65535


def test_what_somebody_put_among_partial_atlases_stays(fresh_clip: Clip) -> None:
    made = filtered(fresh_clip)
    run(fresh_clip)
    partial = made.partial_folder("foreground")
    (partial / "notes.txt").write_text("mine")
    (partial / "00006.png").write_text("painted over")
    assert f"{partial / 'replaced' / '00006.png'}" in run(fresh_clip, "median")
    filtered(fresh_clip, keyframes="0,11", filter="grey")
    (partial / "replaced" / "00006.png").unlink()
    assert "replaced" not in run(fresh_clip)
    assert sorted(path.name for path in partial.rglob("*.*") if not path.name.startswith(".")) == [
        "00000.png", "00011.png", "notes.txt",
    ]  # fmt: skip
