"""Importing Layered Neural Atlases: what a plain evaluation of the checkpoint gives is what the clip's layers render."""

from __future__ import annotations

import json
import math
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.maps.compositing import composite_frame, fit_textures
from atlas.maps.maps import Maps
from atlas.nla.importing import ImportOptions, import_nla
from atlas.storage.images import read_image, write_image
from atlas.storage.stamps import read_json
from atlas.system.command import parse_options

WIDTH, HEIGHT, FRAMES = 40, 27, 4
CONFIG: dict[str, Any] = {
    "resx": WIDTH,
    "resy": HEIGHT,
    "maximum_number_of_frames": FRAMES,
    "data_folder": "data/clip",
    "uv_mapping_scale": 0.8,
    "number_of_channels_mapping1": 23,
    "number_of_layers_mapping1": 5,
    "use_positional_encoding_mapping1": False,
    "number_of_positional_encoding_mapping1": 4,
    "number_of_channels_mapping2": 11,
    "number_of_layers_mapping2": 3,
    "use_positional_encoding_mapping2": True,
    "number_of_positional_encoding_mapping2": 2,
    "number_of_channels_atlas": 37,
    "number_of_layers_atlas": 8,
    "positional_encoding_num_atlas": 8,
    "number_of_channels_alpha": 19,
    "number_of_layers_alpha": 7,
    "positional_encoding_num_alpha": 5,
}
State = dict[str, torch.Tensor]


def random_network(
    inputs: int, channels: int, layers: int, outputs: int, skips: tuple[int, ...], rng: torch.Generator
) -> State:
    """As torch begins a network."""
    state = {}
    for i in range(layers):
        width = inputs if i == 0 else channels + (inputs if i in skips else 0)
        height = outputs if i == layers - 1 else channels
        for part, shape in (("weight", (height, width)), ("bias", (height,))):
            state[f"hidden.{i}.{part}"] = (torch.rand(shape, generator=rng) * 2 - 1) / math.sqrt(width)
    return state


def random_checkpoint(seed: int = 0) -> dict[str, Any]:
    rng = torch.Generator().manual_seed(seed)
    return {
        "F_atlas_state_dict": random_network(2 * 2 * 8, 37, 8, 3, (4, 7), rng),
        "iteration": 400_000,
        "model_F_mapping1_state_dict": random_network(3, 23, 5, 2, (), rng),
        "model_F_mapping2_state_dict": random_network(2 * 3 * 2, 11, 3, 2, (), rng),
        "model_F_alpha_state_dict": random_network(2 * 3 * 5, 19, 7, 1, (), rng),
        "optimizer_all_state_dict": {"state": {0: {"step": 3}}, "param_groups": [{"lr": 1e-4, "params": [0]}]},
    }


def plain(state: State, point: np.ndarray, octaves: int, skips: tuple[int, ...] = ()) -> np.ndarray:
    """One point through one network."""
    encoded = point.astype(np.float64)
    if octaves:
        waves = []
        for k in range(octaves):
            waves += [np.sin(2.0**k * np.pi * encoded), np.cos(2.0**k * np.pi * encoded)]
        encoded = np.concatenate(waves)
    values = encoded
    for i in range(len(state) // 2):
        if i > 0:
            values = np.maximum(values, 0)
        if i in skips:
            values = np.concatenate([values, encoded])
        values = state[f"hidden.{i}.weight"].double().numpy() @ values + state[f"hidden.{i}.bias"].double().numpy()
    return np.tanh(values)


def plain_frame(checkpoint: dict[str, Any], t: int, count: int = FRAMES) -> np.ndarray:
    """Frame `t` pixel by pixel, (H, W, 3) in [0, 1]."""
    image = np.zeros((HEIGHT, WIDTH, 3))
    half = max(WIDTH, HEIGHT) / 2
    for y in range(HEIGHT):
        for x in range(WIDTH):
            point = np.array([x / half - 1, y / half - 1, t / (count / 2) - 1])
            fore = plain(checkpoint["model_F_mapping1_state_dict"], point, 0) * 0.5 + 0.5
            back = plain(checkpoint["model_F_mapping2_state_dict"], point, 2) * 0.5 - 0.5
            alpha = 0.99 * (0.5 * (plain(checkpoint["model_F_alpha_state_dict"], point, 5)[0] + 1)) + 0.001
            colours = [(plain(checkpoint["F_atlas_state_dict"], uv, 8, (4, 7)) + 1) * 0.5 for uv in (fore, back)]
            image[y, x] = alpha * colours[0] + (1 - alpha) * colours[1]
    return image


def write_folder(folder: Path, checkpoint: Any = None, config: dict[str, Any] = CONFIG, frames: int = FRAMES) -> Path:
    """A folder as StableVideo has it: FOLDER/{config.json,checkpoint}, FOLDER/<its name>/00000.png, larger than trained."""
    (folder / folder.name).mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    torch.save(random_checkpoint() if checkpoint is None else checkpoint, folder / "checkpoint")
    rng = np.random.default_rng(0)
    noise = cv2.resize(rng.random((10, 14, 3)), (80, 54), interpolation=cv2.INTER_CUBIC)
    for t in range(frames):
        write_image(folder / folder.name / f"{t:05d}.png", np.roll(noise, 2 * t, 1))
    return folder


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


def options(folder: Path, clip: Path, **changes: object) -> ImportOptions:
    return replace(ImportOptions(folder=folder, clip=clip, quiet=True, device="cpu"), **changes)


def off_by(clip: Clip, checkpoint: dict[str, Any], t: int, count: int = FRAMES, fit: str = "default") -> float:
    """Largest difference of the rendered layers from a plain evaluation, in 8-bit steps."""
    maps = Maps(clip.fit_folder(fit))
    found = composite_frame(t, maps, fit_textures(maps))
    return float(np.abs(found - plain_frame(checkpoint, t, count)).max() * 255)


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


class Evil:
    """A pickle that runs a command when it is read."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch evil",)


def truncate(folder: Path) -> None:
    data = (folder / "checkpoint").read_bytes()
    (folder / "checkpoint").write_bytes(data[: len(data) // 2])


def compress(folder: Path) -> None:
    with zipfile.ZipFile(folder / "checkpoint") as archive:
        entries = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    with zipfile.ZipFile(folder / "checkpoint", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries:
            archive.writestr(name, data)


def changed(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        torch.save(random_checkpoint() | changes, folder / "checkpoint")

    return change


def changed_tensor(network: str, name: str, tensor: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        checkpoint = random_checkpoint()
        checkpoint[network][name] = tensor
        torch.save(checkpoint, folder / "checkpoint")

    return change


def sparse_rows() -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls them a beta
        return torch.ones(37, 32).to_sparse_csr()


def nested() -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls them a prototype
        return torch.nested.nested_tensor([torch.ones(37), torch.ones(2)])


def written(name: str, content: bytes | str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return change


def configured(**changes: Any) -> Callable[[Path], None]:
    return written("config.json", json.dumps(CONFIG | changes))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), r"config\.json is missing"),
        (lambda folder: (folder / "checkpoint").unlink(), "checkpoint is missing"),
        (written("config.json", "{no json"), r"config\.json is no config of Layered Neural Atlases"),
        (written("config.json", "[" * 100_000), r"config\.json is no config of Layered Neural Atlases"),
        (written("config.json", '{"resx": ' + "9" * 5000 + "}"), r"config\.json is no config of Layered Neural Atlases"),
        (written("config.json", b"\xff\xfe\x00"), r"config\.json is no config of Layered Neural Atlases"),
        (written("config.json", "{}"), r"config\.json .*maximum_number_of_frames \(or number_of_frames\) is missing"),
        (configured(resx=10**9), "resx is 1000000000, not a whole number from 16 to 8192"),
        (configured(uv_mapping_scale=10**400), r"config\.json .*uv_mapping_scale is 1000"),
        (configured(uv_mapping_scale=math.inf), "uv_mapping_scale is inf, not a number"),
        (configured(uv_mapping_scale=math.nan), "uv_mapping_scale is nan, not a number"),
        (configured(number_of_channels_atlas=8000), r"config\.json .*parameters, more than"),
        (configured(number_of_layers_atlas=9), "model.*config.json belongs to another checkpoint|F_atlas_state_dict, hidden"),
        (configured(number_of_layers_alpha=6), "config.json describes"),
        (configured(number_of_channels_alpha=20), "19x30 numbers for model_F_alpha_state_dict, hidden.0.weight, config.json"),
        (written("checkpoint", b""), "truncated or no checkpoint of torch"),
        (written("checkpoint", pickle.dumps(Evil())), "truncated or no checkpoint of torch"),
        (truncate, "truncated or no checkpoint of torch"),
        (compress, "is compressed or over 500 MB"),
        (lambda folder: torch.save(Evil(), folder / "checkpoint"), "damaged or holds more than numbers"),
        (lambda folder: torch.save([1, 2], folder / "checkpoint"), "holds a list, no dictionary of networks"),
        (changed(model_F_alpha_state_dict=Evil()), "damaged or holds more than numbers"),
        (changed(F_atlas_state_dict=None), "lacks F_atlas_state_dict"),
        (changed(F_atlas_state_dict={}), "has no numbers for F_atlas_state_dict, hidden.0.weight"),
        (changed_tensor("F_atlas_state_dict", "hidden.9.weight", torch.ones(1)), "more layers than config.json describes"),
        (changed_tensor("F_atlas_state_dict", "hidden.0.bias", "text"), "has no numbers for F_atlas_state_dict, hidden.0.bias"),
        (changed_tensor("F_atlas_state_dict", "hidden.0.bias", torch.ones(37).int()), "has no numbers for"),
        (changed_tensor("F_atlas_state_dict", "hidden.0.bias", torch.full((37,), math.nan)), "holds NaN or infinity"),
        (changed_tensor("F_atlas_state_dict", "hidden.0.bias", torch.ones(1).expand(10**6, 10**6)), "1000000x1000000 numbers"),
        (changed_tensor("F_atlas_state_dict", "hidden.0.bias", torch.ones(37, device="meta")), "has no numbers for F_atlas"),
        (changed_tensor("F_atlas_state_dict", "hidden.0.weight", sparse_rows()), "holds more than numbers"),
        (changed_tensor("F_atlas_state_dict", "hidden.0.bias", torch.ones(37).to(torch.float8_e5m2)), "has no numbers for"),
        (changed_tensor("F_atlas_state_dict", "hidden.0.bias", nested()), "has no numbers for F_atlas|more than numbers"),
        (lambda folder: [path.unlink() for path in (folder / "clip").iterdir()], "holds no frames"),
        (written("clip/00002.png", b"no image"), r"00002\.png is not a readable image"),
        (lambda folder: write_image(folder / "clip" / "00003.png", np.zeros((30, 30, 3), np.uint8)), r"00003\.png is 30x30"),
    ],
)
def test_what_is_wrong_or_hostile_ends_in_one_line(
    spoil: Callable[[Path], None], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "clip")
    monkeypatch.chdir(tmp_path)
    spoil(folder)
    with pytest.raises(UserError, match=message) as caught:
        import_nla(options(folder, tmp_path / "out"))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip"], "nothing is half written, nothing was run"


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
