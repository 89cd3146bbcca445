"""Checkpoints that are wrong, or were made to harm: refused in one line, with nothing run and nothing half written."""

from __future__ import annotations

import json
import math
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from atlas.errors import UserError
from atlas.nla.importing import import_nla
from atlas.storage.images import write_image
from tests.atlas.nla.published import CONFIG, options, random_checkpoint, write_folder


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
