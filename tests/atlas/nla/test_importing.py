"""Importing Layered Neural Atlases: what a plain evaluation of the checkpoint gives is what the clip's layers render."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.maps.maps import Maps
from atlas.nla.importing import ImportOptions, import_nla
from atlas.storage.images import read_image, write_image
from atlas.storage.stamps import read_json
from atlas.system.command import parse_options
from tests.atlas.nla.published import (
    CONFIG,
    FRAMES,
    HEIGHT,
    WIDTH,
    off_by,
    options,
    plain_frame,
    random_checkpoint,
    write_folder,
)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to import. Shared: only read it."""
    return write_folder(tmp_path_factory.mktemp("nla") / "clip")


@pytest.fixture(scope="module")
def imported(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """`published`, imported. Shared: only read it."""
    folder = tmp_path_factory.mktemp("imported") / "clip"
    import_nla(options(published, folder))
    return Clip.open(folder)


def test_the_layers_render_what_the_networks_say(imported: Clip) -> None:
    for t in (0, FRAMES - 1):
        assert off_by(imported, random_checkpoint(), t) < 1


def test_the_clip_is_a_prepared_one(imported: Clip, published: Path) -> None:
    assert (imported.frames, imported.width, imported.height) == (FRAMES, WIDTH, HEIGHT)
    assert imported.layers == ["foreground", "background"] and (imported.source.width, imported.source.height) == (80, 54)
    assert Path(imported.source.path) == published.resolve() / "clip" and imported.source.indices == list(range(FRAMES))
    for way in ("forward", "backward"):
        assert imported.flow(way).shape == (FRAMES - 1, HEIGHT, WIDTH, 2) and imported.flow_validity(way)[:].any()
    frame = read_image(published / "clip" / "00002.png").astype(np.float32) / 255
    wanted = cv2.resize(frame, (WIDTH, HEIGHT))  # as in training
    assert np.abs(imported.frame(2) / 255 - wanted).max() < 0.51 / 255
    maps = Maps(imported.fit_folder("default"))
    for t in range(FRAMES):
        assert ((imported.mask("foreground", t) == 255) == (maps.opacity("foreground", t) > 0.5)).all()
    for name in ("masks.png", "stamp.json", "cost.json"):
        assert (imported.folder / name).is_file()
    for name in ("config.json", "checkpoint.safetensors", "log.json", "metrics.json", "sheet.png", "preview.mp4", "stamp.json"):
        assert (imported.fit_folder("default") / name).is_file()
    config = read_json(imported.fit_folder("default") / "config.json")
    assert (config["preset"], config["imported"], config["number_of_channels_atlas"]) == ("nla", True, 37)


def test_alpha_is_where_a_layer_is_seen(imported: Clip) -> None:
    """Not in dots, though there are far more texels than pixels: the pixels' corners and what lies between them."""
    maps = Maps(imported.fit_folder("default"))
    for layer in maps.layers:
        alpha = maps.atlas(layer)[..., 3]
        size = len(alpha)
        for t in range(FRAMES):
            uv = maps.uv(layer, t)
            for place in (uv, (uv[1:, 1:] + uv[:-1, :-1]) / 2):
                texel = np.clip(np.floor((place + 1) * size / 2).astype(int), 0, size - 1)
                assert alpha[texel[..., 1], texel[..., 0]].min() > 0.5
        assert 0 < (alpha == 0).mean() < 1


def test_again_and_a_second_checkpoint(published: Path, tmp_path: Path) -> None:
    write_masks(published.parent / "masks")
    first = options(published, tmp_path / "clip", masks=str(published.parent / "masks"))
    import_nla(first)
    assert "up to date" in import_nla(first)
    other = write_folder(tmp_path / "clip 2" / "clip", random_checkpoint(1))
    second = replace(first, folder=other, name="other")
    import_nla(second)
    clip = Clip.open(tmp_path / "clip")
    assert sorted(path.name for path in (clip.folder / "fits").iterdir()) == ["default", "other"]
    assert off_by(clip, random_checkpoint(1), 1, fit="other") < 1 and "up to date" in import_nla(first)
    with pytest.raises(UserError, match="holds another clip: name a new or empty folder"):
        import_nla(replace(first, masks="opacity"))


def test_a_second_checkpoint_without_masks(published: Path, tmp_path: Path) -> None:
    """The masks stay those of the first; a fit that was not imported is never replaced."""
    first = options(published, tmp_path / "clip", atlas_size=100)
    import_nla(first)
    clip = Clip.open(tmp_path / "clip")
    masks = [clip.mask_path("foreground", t).read_bytes() for t in range(FRAMES)]
    other = write_folder(tmp_path / "clip 2" / "clip", random_checkpoint(1))
    assert "keeps its masks" in import_nla(replace(first, folder=other, name="other"))
    assert [clip.mask_path("foreground", t).read_bytes() for t in range(FRAMES)] == masks
    assert "up to date" in import_nla(first) and "up to date" in import_nla(replace(first, folder=other, name="other"))
    for name, content in (("mine", '{"preset": "standard"}'), ("begun", None)):
        folder = clip.fit_folder(name)
        (folder / "resume").mkdir(parents=True)
        (folder / "resume" / "state").write_text("hours")
        if content:
            (folder / "config.json").write_text(content)
        with pytest.raises(UserError, match="holds a fit that was not imported: choose another --name"):
            import_nla(replace(first, name=name))
        assert (folder / "resume" / "state").read_text() == "hours"
    import_nla(replace(first, folder=other))  # an imported one is
    assert read_json(clip.fit_folder("default") / "stamp.json") == read_json(clip.fit_folder("other") / "stamp.json")


def write_masks(folder: Path, frames: int = FRAMES) -> None:
    for t in range(frames):
        mask = np.zeros((54, 80), np.uint8)
        mask[10:30, 20 + t : 50 + t] = 255
        write_image(folder / f"{t:05d}.png", mask)


def test_masks_beside_the_frames_are_taken(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "data" / "clip")
    write_masks(folder / "clip_maskrcnn")
    import_nla(options(folder, tmp_path / "out"))
    mask = Clip.open(tmp_path / "out").mask("foreground", 2)
    assert mask[10, 18] == 255 and mask[20, 18] == 0 and mask[10, 35] == 0
    write_image(folder / "clip_maskrcnn" / "00001.png", np.zeros((9, 9), np.uint8))
    with pytest.raises(UserError, match=r"00001\.png is 9x9.*import without them: --masks opacity"):
        import_nla(options(folder, tmp_path / "other"))
    assert not (tmp_path / "other").exists()


def test_more_frames_than_were_trained_on(tmp_path: Path) -> None:
    """Time is normalised by the config's count, whichever way it is spelled."""
    config = {name: value for name, value in CONFIG.items() if name != "maximum_number_of_frames"} | {"number_of_frames": 3}
    said = import_nla(options(write_folder(tmp_path / "clip", config=config), tmp_path / "out"))
    assert "holds 4 frames, the networks were trained on 3: the first 3 are taken" in said
    clip = Clip.open(tmp_path / "out")
    assert clip.frames == 3 and off_by(clip, random_checkpoint(), 2, count=3) < 1


def test_fewer_frames_than_the_config_counts(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "clip", config=CONFIG | {"maximum_number_of_frames": 70})
    said = import_nla(options(folder, tmp_path / "out"))
    assert "time is normalised by 70 frames, of which there are 4" in said
    assert off_by(Clip.open(tmp_path / "out"), random_checkpoint(), 3, count=70) < 1
    assert (import_nla(options(folder, tmp_path / "out", frame_count=70, name="said"))).startswith(str(tmp_path / "out"))
    # Frames that the networks explain with their own number of frames, as when the clip was shorter than the config allows.
    for t in range(FRAMES):
        write_image(folder / "clip" / f"{t:05d}.png", plain_frame(random_checkpoint(), t).repeat(2, 0).repeat(2, 1))
    said = import_nla(options(folder, tmp_path / "auto"))
    assert "time is taken as normalised by the 4 frames there are" in said
    assert off_by(Clip.open(tmp_path / "auto"), random_checkpoint(), 3) < 1


def test_where_frames_may_lie(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model")
    clip = tmp_path / "out"
    (folder / "model").rename(folder / "clip")  # the config's data/clip
    write_masks(folder / "clip_maskrcnn")
    import_nla(options(folder, clip, atlas_size=300))
    assert Maps(Clip.open(clip).fit_folder("default")).atlas_size("foreground") == (300, 300)
    (folder / "clip").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"holds no frames .*name their folder with --frames"):
        import_nla(options(folder, tmp_path / "none"))
    with pytest.raises(UserError, match="is not a folder of frames"):
        import_nla(options(folder, tmp_path / "none", frames=tmp_path / "missing"))
    import_nla(options(folder, tmp_path / "named", frames=tmp_path / "elsewhere"))
    assert (Clip.open(tmp_path / "named").frame(1) == Clip.open(clip).frame(1)).all()
    # A path in the config leads nowhere: its last part is looked for inside the folder only.
    (folder / "config.json").write_text(json.dumps(CONFIG | {"data_folder": str(tmp_path / "elsewhere")}))
    with pytest.raises(UserError, match="holds no frames"):
        import_nla(options(folder, tmp_path / "none"))
    for named in (None, 3, "..", "a\0b", "x" * 5000):
        (folder / "config.json").write_text(json.dumps(CONFIG | {"data_folder": named}))
        with pytest.raises(UserError, match="holds no frames"):
            import_nla(options(folder, tmp_path / "none"))
    assert not (tmp_path / "none").exists()


def test_where_a_clip_cannot_be_made(published: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter").write_text("mine")
    cases = ((tmp_path / "file", "is a file"), (tmp_path / "full", "holds other files"), (published, "lies inside"))
    for target, message in cases:
        with pytest.raises(UserError, match=message):
            import_nla(options(published, target))
    with pytest.raises(UserError, match="--frame-count 1"):
        import_nla(options(published, tmp_path / "out", frame_count=1))
    with pytest.raises(UserError, match="--atlas-size 5000"):
        import_nla(options(published, tmp_path / "out", atlas_size=5000))
    with pytest.raises(UserError, match="cannot name a folder"):
        import_nla(options(published, tmp_path / "out", name="../x"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full"]


def test_options_of_the_command() -> None:
    found = parse_options(ImportOptions, ["model", "out", "--frames", "there", "--name", "a"])
    assert (found.folder, found.clip, found.frames, found.name) == (Path("model"), Path("out"), Path("there"), "a")
