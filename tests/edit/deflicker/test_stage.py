"""The deflicker stage: what it makes of edits on frames and of others, what it leaves, what it refuses."""

from __future__ import annotations

import json
import runpy
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregate.stage import AggregateOptions, aggregate
from atlas.clip.clip import Clip
from atlas.clip.edits import Edit
from atlas.errors import UserError
from atlas.maps.maps import open_maps
from atlas.rendering.frames import Rendering
from atlas.storage.images import read_image, to_float, write_image
from atlas.storage.stamps import read_json
from atlas.system.cost import read_costs
from edit.deflicker import stage
from edit.deflicker.options import DeflickerOptions
from edit.deflicker.stage import deflicker
from edit.editors import EditOptions
from edit.stage import edit

ROOT = Path(__file__).resolve().parents[3]


def _options(clip: Clip, **changes: Any) -> DeflickerOptions:
    return DeflickerOptions(clip=clip.folder, quiet=True, **({"edit": "flicker", "way": "flow", "device": "cpu"} | changes))


def _flicker(clip: Clip, folder: Path, *, deep: bool = False, alpha: bool = False) -> Path:
    """Frames of the clip, every second one darker, as an editor would have left them."""
    for index in range(clip.frames):
        image = clip.frame(index).astype(np.float64) * (0.7 if index % 2 else 1.0)
        image = (image * 257).astype(np.uint16) if deep else image.astype(np.uint8)
        if alpha:
            opaque = np.full(image.shape[:2], np.iinfo(image.dtype).max, image.dtype)
            opaque[:20] = 0
            image = np.dstack([image, opaque])
        write_image(folder / f"{index:05d}.png", image)
    return folder


def _on_frames(clip: Clip, folder: Path, layer: str = "all", name: str = "flicker", **how: bool) -> Edit:
    images = _flicker(clip, folder / "images", **how)
    options = EditOptions(
        clip=clip.folder, name=name, layer=layer, editor="images", images=images, on="frames", fit="truth", quiet=True
    )
    return edit(options).edit


def _frames(entry: Edit, layer: str) -> np.ndarray:
    return np.stack([to_float(read_image(path)) for path in entry.keyframes(layer).values()])


def _snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}


def _unevenness(frames: np.ndarray) -> float:
    """How the brightness of (T, H, W, 3) jumps from frame to frame."""
    return float(np.abs(np.diff(frames[..., :3].mean((1, 2, 3)))).mean())


@pytest.mark.parametrize("way", ["atlas", "flow"])
def test_whole_frames_agree_and_can_be_rendered(fresh_clip: Clip, tmp_path: Path, way: str) -> None:
    given = _on_frames(fresh_clip, tmp_path)
    before = _snapshot(given.folder)
    result = deflicker(_options(fresh_clip, way=way))
    made = result.edit
    assert _snapshot(given.folder) == before and made.name == f"flicker-{way}" and not result.up_to_date
    assert _unevenness(_frames(made, "all")) < 0.5 * _unevenness(_frames(given, "all"))
    saved = Edit.open(fresh_clip, made.name).layers["all"]
    assert saved["editor"] == "deflicker" and saved["on"] == "frames" and saved["frames"] == list(range(12))
    assert saved["deflicker"]["name"] == way and saved["deflicker"]["edit"] == "flicker"
    rendered = [frame for _, frame in Rendering.open(fresh_clip.folder, made.name).frames()]
    assert np.array_equal(rendered, [read_image(path)[..., :3] for path in made.keyframes("all").values()])
    line = f"whole frames: 12 frames agree by {way}, in {made.folder}"
    assert str(result) == f"{line}; next: scripts/render.py {fresh_clip.folder} --edit {made.name}"
    assert read_costs(fresh_clip.folder)[f"deflicker {made.name}"]["frames"] == 12


def test_each_layer_on_frames_agrees_for_itself_with_its_alpha(fresh_clip: Clip, tmp_path: Path) -> None:
    given = _on_frames(fresh_clip, tmp_path / "a", "foreground", alpha=True)
    _on_frames(fresh_clip, tmp_path / "b", "background", deep=True)
    made = deflicker(_options(fresh_clip, way="atlas", name="calm")).edit
    assert list(made.layers) == ["foreground", "background"] and made.fit == "truth"
    for layer in made.layers:
        for index, path in made.keyframes(layer).items():
            before, after = read_image(given.keyframe_path(layer, index)), read_image(path)
            assert after.dtype == before.dtype and np.array_equal(before[..., 3], after[..., 3])
            untouched = before[..., 3] == 0
            assert np.array_equal(before[untouched], after[untouched]) and not np.array_equal(before, after)
    Rendering.open(fresh_clip.folder, "calm")


def test_any_other_edit_agrees_as_it_is_rendered(fresh_clip: Clip) -> None:
    chosen = {"clip": fresh_clip.folder, "fit": "truth", "keyframes": "0,6", "quiet": True}
    edit(EditOptions(name="flicker", layer="foreground", editor="filter", filter="recolour:color=red", **chosen))
    aggregate(AggregateOptions(clip=fresh_clip.folder, edit="flicker", method="mean", quiet=True))
    made = deflicker(_options(fresh_clip, way="atlas")).edit
    assert list(made.layers) == ["all"]
    rendered = np.stack([frame for _, frame in Rendering.open(fresh_clip.folder, "flicker").frames()]) / 255
    assert np.abs(_frames(made, "all")[..., :3] - rendered).mean() < 0.02


def test_an_edit_with_a_layer_that_is_not_on_frames_agrees_as_a_whole(fresh_clip: Clip, tmp_path: Path) -> None:
    _on_frames(fresh_clip, tmp_path, "foreground")
    size = open_maps(fresh_clip, "truth").atlas_size("background")
    write_image(tmp_path / "grey.png", np.full((*size, 3), 90, np.uint8))
    chosen = {"clip": fresh_clip.folder, "fit": "truth", "quiet": True}
    edit(EditOptions(name="flicker", layer="background", editor="atlas", image=tmp_path / "grey.png", **chosen))
    assert list(deflicker(_options(fresh_clip)).edit.layers) == ["all"]


def test_what_is_up_to_date_is_left_alone(fresh_clip: Clip, tmp_path: Path) -> None:
    given = _on_frames(fresh_clip, tmp_path)
    made = deflicker(_options(fresh_clip)).edit
    write_image(made.keyframe_path("all", 3), np.full((64, 96, 4), 90, np.uint8))
    before = _snapshot(made.folder)
    again = deflicker(_options(fresh_clip))
    assert again.up_to_date and "(up to date)" in str(again) and _snapshot(made.folder) == before
    write_image(given.keyframe_path("all", 5), np.full((64, 96, 4), 30, np.uint8))
    changed = deflicker(_options(fresh_clip))
    assert not changed.up_to_date
    assert (read_image(made.folder / "replaced" / "keyframes" / "all" / "00003.png") == 90).all()
    assert "repainted by hand" in str(changed) and str(changed).splitlines()[-1].startswith("whole frames: 12 frames")


def test_another_way_or_setting_replaces_what_was_made(fresh_clip: Clip, tmp_path: Path) -> None:
    _on_frames(fresh_clip, tmp_path)
    first = _frames(deflicker(_options(fresh_clip, name="calm")).edit, "all")
    other = deflicker(_options(fresh_clip, name="calm", window=1))
    assert not other.up_to_date and not np.array_equal(first, _frames(other.edit, "all"))
    again = deflicker(_options(fresh_clip, name="calm"))
    assert not again.up_to_date and np.array_equal(first, _frames(again.edit, "all"))
    assert not (again.edit.folder / "unfinished").exists() and not list(again.edit.folder.rglob("*.bin"))


def test_layers_of_what_was_made_before_go(fresh_clip: Clip, tmp_path: Path) -> None:
    _on_frames(fresh_clip, tmp_path / "a", name="whole")
    _on_frames(fresh_clip, tmp_path / "b", "foreground", name="layered")
    deflicker(_options(fresh_clip, edit="whole", name="calm"))
    made = deflicker(_options(fresh_clip, edit="layered", name="calm")).edit
    assert list(Edit.open(fresh_clip, "calm").layers) == ["foreground"]
    assert not made.keyframes_folder("all").exists() and len(made.keyframes("foreground")) == 12


def test_a_run_that_fails_leaves_what_was_there(fresh_clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _on_frames(fresh_clip, tmp_path / "a", "foreground")
    _on_frames(fresh_clip, tmp_path / "b", "background")
    made = deflicker(_options(fresh_clip, name="calm")).edit
    before = {layer: _frames(made, layer) for layer in made.layers}
    described = read_json(made.folder / "edit.json")
    written = 0

    def write_most(path: Path, image: np.ndarray) -> None:
        nonlocal written
        written += 1
        if written == 20:  # in the second layer
            raise KeyboardInterrupt
        write_image(path, image)

    with monkeypatch.context() as patched:
        patched.setattr(stage, "write_image", write_most)
        with pytest.raises(KeyboardInterrupt):
            deflicker(_options(fresh_clip, name="calm", window=1))
    assert read_json(made.folder / "edit.json") == described
    assert all(np.array_equal(before[layer], _frames(made, layer)) for layer in made.layers)
    assert deflicker(_options(fresh_clip, name="calm")).up_to_date
    assert not deflicker(_options(fresh_clip, name="calm", window=1)).up_to_date


def test_a_single_frame_is_copied(fresh_clip: Clip, tmp_path: Path) -> None:
    described = read_json(fresh_clip.folder / "clip.json")
    described["frames"] = 1
    described["source"]["indices"] = [0]
    (fresh_clip.folder / "clip.json").write_text(json.dumps(described))
    shutil.rmtree(fresh_clip.folder / "fits")
    clip = Clip.open(fresh_clip.folder)
    given = _on_frames(clip, tmp_path, deep=True)
    made = deflicker(_options(clip)).edit
    assert read_image(made.keyframe_path("all", 0)).tobytes() == read_image(given.keyframe_path("all", 0)).tobytes()


def test_the_prompt_goes_on_with_the_frames(fresh_clip: Clip, tmp_path: Path) -> None:
    given = _on_frames(fresh_clip, tmp_path)
    given.layers["all"]["diffusion"] = {"prompt": "a gold car", "steps": 3}
    given.save()
    assert deflicker(_options(fresh_clip)).edit.request("all").prompt == "a gold car"


def test_whole_frames_may_be_looked_at_through_another_fit(fresh_clip: Clip, tmp_path: Path) -> None:
    shutil.copytree(fresh_clip.fit_folder("truth"), fresh_clip.fit_folder("other"))
    _on_frames(fresh_clip, tmp_path / "a")
    assert deflicker(_options(fresh_clip, way="atlas", fit="other")).edit.fit == "other"
    _on_frames(fresh_clip, tmp_path / "b", "foreground", name="layered")
    with pytest.raises(UserError, match="were cut out by the fit 'truth': leave --fit other out"):
        deflicker(_options(fresh_clip, edit="layered", fit="other"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"edit": "nope"}, "has no edit 'nope' (its edits: flicker, painted)"),
        ({"way": "dream"}, "there is no way 'dream' of deflickering"),
        ({"name": "flicker"}, "--name flicker is the edit itself, which stays as it is: choose another --name"),
        ({"name": "painted"}, "is an edit that was not made by deflickering: choose another --name"),
        ({"name": "a/b"}, "cannot name a folder"),
        ({"name": ""}, "cannot name a folder"),
        ({"way": "atlas", "fit": "nope"}, "has no fit 'nope' (its fits: truth): run scripts/fit.py"),
        ({"edit": "painted"}, "has no edited atlas of foreground: run scripts/aggregate.py"),
        ({"fit": ""}, "cannot name a folder of this fit"),
        ({"window": 0}, "--window 0 is out of range"),
        ({"epochs": 2}, "--epochs is for --with prior, not --with flow"),
    ],
)
def test_wrong_requests_write_nothing(fresh_clip: Clip, tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    _on_frames(fresh_clip, tmp_path)
    chosen = {"clip": fresh_clip.folder, "fit": "truth", "keyframes": "0", "quiet": True}
    edit(EditOptions(name="painted", layer="foreground", editor="filter", filter="invert", **chosen))
    before = _snapshot(fresh_clip.folder)
    with pytest.raises(UserError) as problem:
        deflicker(_options(fresh_clip, **changes))
    assert said in str(problem.value) and "\n" not in str(problem.value)
    assert _snapshot(fresh_clip.folder) == before


def test_a_damaged_fit_stops_only_what_looks_through_it(fresh_clip: Clip, tmp_path: Path) -> None:
    _on_frames(fresh_clip, tmp_path)
    (fresh_clip.fit_folder("truth") / "maps" / "maps.json").write_text("{", encoding="utf-8")
    for way, start in (("atlas", None), ("patches", None), ("patches", "atlas")):
        with pytest.raises(UserError, match="maps.json"):
            deflicker(_options(fresh_clip, way=way, start=start))
    for way, start in (("flow", None), ("patches", "flow")):
        assert deflicker(_options(fresh_clip, way=way, start=start)).edit.layers.keys() == {"all"}


def test_missing_frames_and_a_missing_fit_are_named(fresh_clip: Clip, tmp_path: Path) -> None:
    given = _on_frames(fresh_clip, tmp_path)
    shutil.rmtree(fresh_clip.folder / "fits")
    with pytest.raises(UserError, match="has no fit 'truth' .*: run scripts/fit.py"):
        deflicker(_options(fresh_clip, way="atlas"))
    for index in (2, 7):
        given.keyframe_path("all", index).unlink()
    with pytest.raises(UserError, match="lacks frames 2 and 7"):
        deflicker(_options(fresh_clip))
    assert not fresh_clip.edit_folder("flicker-flow").exists()


@pytest.mark.slow
def test_the_command_prints_one_line(
    fresh_clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _on_frames(fresh_clip, tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["deflicker.py", str(fresh_clip.folder), *arguments])
        monkeypatch.setattr(sys, "path", list(sys.path))
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(ROOT / "scripts" / "deflicker.py"), run_name="__main__")
        return int(stop.value.code or 0), *capsys.readouterr()

    code, out, err = run("--edit", "flicker", "--with", "flow")
    assert code == 0 and out.count("\n") == 1 and out.startswith("whole frames: 12 frames agree by flow, in ")
    assert "agree" in err and f"next: scripts/render.py {fresh_clip.folder} --edit flicker-flow" in out
    assert run("--edit", "flicker", "--with", "flow", "--quiet")[1:] == (out.replace("; next", " (up to date); next"), "")
    code, out, err = run("--edit", "flicker", "--with", "flow", "--form", "replace")
    assert (code, out) == (2, "") and err.startswith("error: --form is for --with atlas") and err.count("\n") == 1
