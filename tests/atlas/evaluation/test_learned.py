"""Metrics that need weights, on tiny models that are built here: their values, and every reason why they cannot be had."""

from __future__ import annotations

import importlib.util
import json
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from atlas.clip.clip import Clip
from atlas.clip.edits import Edit
from atlas.errors import UserError
from atlas.evaluation import learned
from atlas.evaluation.learned import Learned, LearnedOptions, prompt_of
from atlas.evaluation.report import printed
from atlas.evaluation.stage import EvaluateOptions, evaluate
from atlas.evaluation.table import table
from atlas.metrics.embeddings import CLIP_MODEL, DINO_MODEL
from atlas.rendering.frames import Rendering, RenderSettings
from atlas.sample.scene import Sample
from atlas.storage.images import to_uint8, write_image
from atlas.storage.stamps import read_json
from atlas.weights import hub
from tests.atlas.metrics import tiny_embeddings

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "evaluate.py"


@pytest.fixture(scope="session")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the models clip and dino and the file lpips.safetensors. Shared: only read it."""
    pytest.importorskip("transformers", reason="transformers is not installed: pip install -e .[diffusion]")
    folder = tmp_path_factory.mktemp("networks")
    tiny_embeddings.save_clip(folder / "clip")
    tiny_embeddings.save_dino(folder / "dino")
    tiny_embeddings.save_lpips(folder / "lpips.safetensors")
    return folder


def named(networks: Path) -> dict[str, Any]:
    return {
        "clip_model": str(networks / "clip"),
        "dino_model": str(networks / "dino"),
        "lpips_weights": networks / "lpips.safetensors",
        "device": "cpu",
    }


def make_edit(clip: Clip, sample: Sample, name: str = "dim", prompt: str | None = "a cat") -> Edit:
    atlas = sample.atlases["foreground"].copy()
    atlas[..., :3] = 1 - atlas[..., :3]
    request = {"editor": "atlas"} if prompt is None else {"editor": "diffusion", "diffusion": {"prompt": prompt}}
    edit = Edit(clip.edit_folder(name), name, "truth", {"foreground": request})
    edit.save()
    write_image(edit.atlas_path("foreground"), to_uint8(atlas))
    return edit


def options(clip: Clip, **changes: Any) -> EvaluateOptions:
    return EvaluateOptions(clip=clip.folder, quiet=True, **changes)


def place_in_cache(folder: Path, name: str) -> Path:
    """A model in the hub's cache, as a download leaves it."""
    from huggingface_hub import constants

    place = Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}" / "snapshots" / ("0" * 40)
    shutil.copytree(folder, place)
    (place.parents[1] / "refs").mkdir()
    (place.parents[1] / "refs" / "main").write_text("0" * 40)
    return place


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """No name is resolved; returns those that were asked for."""
    asked: list[str] = []

    def fail(host: str, *_: object, **__: object) -> None:
        asked.append(host)
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    return asked


def test_values_are_those_of_transformers(networks: Path, fresh_clip: Clip, sample: Sample) -> None:
    from transformers import CLIPModel, Dinov2Model

    make_edit(fresh_clip, sample)
    found = evaluate(options(fresh_clip, edit="dim", **named(networks)))["edit"]
    pairs = list(Rendering.open(fresh_clip.folder, "dim", RenderSettings(device="cpu")).frames())
    clip = CLIPModel.from_pretrained(networks / "clip").eval()
    dino = Dinov2Model.from_pretrained(networks / "dino").eval()
    text = torch.tensor([[512, 353, 99, 97, 372, 513]])  # "a cat" in the tiny model's letters
    for number, side in enumerate(("source", "edit")):
        frames = [pair[number] for pair in pairs]
        with torch.no_grad():
            out = clip(input_ids=text, attention_mask=torch.ones_like(text), pixel_values=prepared(networks / "clip", frames))
            seen = dino(pixel_values=prepared(networks / "dino", frames)).last_hidden_state[:, 0]
        images, words = out.image_embeds, out.text_embeds
        assert found["clip_text"][side] == pytest.approx(100 * float((images @ words[0]).mean()), abs=1e-3)
        assert found["clip_frame"][side] == pytest.approx(neighbours(images), abs=1e-5)
        assert found["object_consistency"][side] == pytest.approx(neighbours(seen), abs=1e-5)
    for name in ("clip_text", "clip_frame", "object_consistency"):
        assert found[name]["difference"] == pytest.approx(found[name]["edit"] - found[name]["source"])
    assert abs(found["clip_text"]["difference"]) > 0.01  # the tiny model sees the edit at all


def prepared(folder: Path, frames: list[np.ndarray]) -> torch.Tensor:
    from transformers import AutoImageProcessor

    processor = AutoImageProcessor.from_pretrained(folder)
    return processor(images=[frame.copy() for frame in frames], return_tensors="pt")["pixel_values"]


def neighbours(vectors: torch.Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(vectors[1:], vectors[:-1]).mean())


def test_frames_that_are_all_the_same(networks: Path, fresh_clip: Clip, sample: Sample) -> None:
    series = Learned.open(LearnedOptions(**named(networks))).series(make_edit(fresh_clip, sample))
    frame, still = sample.frames[0], np.zeros((*sample.frames[0].shape[:2], 2), np.float32)
    for index in range(20):
        series.add(frame, frame)
        if index:
            for side in ("edit", "source"):
                series.add_pair(side, frame, frame, still, np.ones(frame.shape[:2], bool))
    found = series.values()
    for name in ("clip_frame", "object_consistency"):
        assert found[name] == {
            "edit": pytest.approx(1, abs=1e-6), "source": pytest.approx(1, abs=1e-6), "difference": pytest.approx(0, abs=1e-6)
        }  # fmt: skip
    assert found["clip_text"]["edit"] == pytest.approx(found["clip_text"]["source"], abs=1e-4)
    assert found["lpips"]["edit"] == found["lpips"]["source"] == found["lpips_from_source"] == 0


def test_frames_that_are_too_small_for_lpips(networks: Path, fresh_clip: Clip, sample: Sample) -> None:
    series = Learned.open(LearnedOptions(lpips_weights=networks / "lpips.safetensors", device="cpu")).series(
        make_edit(fresh_clip, sample)
    )
    small = sample.frames[0][:20]
    series.add(small, small)
    series.values()
    assert series.absent["lpips"] == series.absent["lpips_from_source"] == "needs frames of 31 pixels a side or more"


def test_batches_change_nothing(networks: Path, fresh_clip: Clip, sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    edit = make_edit(fresh_clip, sample)
    opened = Learned.open(LearnedOptions(**named(networks)))
    found = []
    for size in (2, 10, 1000):
        monkeypatch.setattr(learned, "BATCH", size)
        series = opened.series(edit)
        for frame in sample.frames:
            series.add(frame, 255 - frame)
            assert max(len(waiting) for waiting in series._waiting.values()) < size
        found.append(series.values())
    for name in ("clip_text", "clip_frame", "object_consistency"):
        assert found[1][name] == pytest.approx(found[0][name], abs=1e-4) and found[2][name] == pytest.approx(
            found[0][name], abs=1e-4
        )


def test_the_prompt_is_the_edits_or_the_one_given(networks: Path, fresh_clip: Clip, sample: Sample) -> None:
    edit = make_edit(fresh_clip, sample, prompt=None)
    assert prompt_of(edit) is None
    found = evaluate(options(fresh_clip, edit="dim", **named(networks)))
    assert "clip_text" not in found["edit"] and found["absent"]["clip_text"] == "the edit has no prompt: give one with --prompt"
    assert found["edit"]["clip_frame"]["edit"] > 0
    found = evaluate(options(fresh_clip, edit="dim", prompt="a dog", **named(networks)))
    assert found["edit"]["models"]["prompt"] == "a dog" and "clip_text" not in found["absent"]
    edit.layers = {
        "foreground": {"diffusion": {"prompt": " a cat"}},
        "background": {"diffusion": {"prompt": "a beach", "on": "atlas"}},
    }
    assert prompt_of(edit) == "a cat, a beach"
    for damaged in ({"prompt": 3}, [], "x"):  # edit.json may come from anyone
        edit.layers = {"foreground": {"diffusion": damaged}}
        assert prompt_of(edit) is None
    edit.layers = {"foreground": {"diffusion": {"prompt": "a" * 90}}}
    assert "too long for CLIP" in Learned.open(LearnedOptions(**named(networks))).series(edit).absent["clip_text"]
    with pytest.raises(UserError, match="the prompt is 15 tokens too long for CLIP"):
        Learned.open(LearnedOptions(prompt="a" * 90, **named(networks)))


def test_tables_reports_and_comparisons_have_them(networks: Path, fresh_clip: Clip, sample: Sample) -> None:
    edit = make_edit(fresh_clip, sample)
    make_edit(fresh_clip, sample, "other", prompt=None)
    found = evaluate(options(fresh_clip, edit="dim", **named(networks)))
    said = table(found)
    assert f"{found['edit']['clip_text']['edit']:.2f}" in said and "the prompt: a cat" in said
    assert f"{found['edit']['lpips_from_source']:.4f}" in said and str(networks / "clip") in said
    assert read_json(edit.folder / "metrics.json")["object_consistency"] == found["edit"]["object_consistency"]
    compared = str(printed(options(fresh_clip, compare=("dim", "other"), report=True, **named(networks))))
    alone = evaluate(options(fresh_clip, edit="other", **named(networks)))["edit"]
    after = read_json(fresh_clip.edit_folder("other") / "metrics.json")  # the source was embedded for the first edit alone
    for name in ("clip_frame", "object_consistency"):
        assert after[name] == alone[name]
    text = found["edit"]["clip_text"]
    shown, against = (line.split() for line in compared.splitlines() if line.startswith("CLIP-text"))
    assert shown[1:] == [f"{text['edit']:.2f}", "-"] and against[-2:] == [f"{text['difference']:+.2f}", "-"]
    assert "clip_text: absent from other, the edit has no prompt" in compared
    page = (fresh_clip.folder / "edits" / "comparison.html").read_text(encoding="utf-8")
    assert "object consistency" in page and "absent from other" in page
    assert read_json(fresh_clip.edit_folder("other") / "metrics.json")["absent"]["clip_text"].startswith(
        "the edit has no prompt"
    )


def test_weights_in_the_cache_are_used_and_nothing_else_is_asked_for(
    networks: Path, fresh_clip: Clip, sample: Sample, no_network: list[str]
) -> None:
    make_edit(fresh_clip, sample)
    absent = evaluate(options(fresh_clip, edit="dim"))["absent"]
    assert f"the CLIP model {CLIP_MODEL} is not in the cache" in absent["clip_text"] and "--download" in absent["clip_text"]
    assert "--clip-model names a folder" in absent["clip_frame"] and f"hf download {DINO_MODEL}" in absent["object_consistency"]
    assert "--lpips-weights" in absent["lpips"] and {"fid", "pose_mse", "aesthetic_score"} <= set(absent)
    assert all("\n" not in reason for reason in absent.values())
    place_in_cache(networks / "clip", CLIP_MODEL)
    broken = place_in_cache(networks / "dino", DINO_MODEL)
    (broken / "model.safetensors").write_bytes(b"cut short")
    found = evaluate(options(fresh_clip, edit="dim"))
    assert found["edit"]["models"] == {"clip": CLIP_MODEL, "prompt": "a cat"}
    assert "cannot be loaded as a DINOv2 model" in found["absent"]["object_consistency"] and no_network == []
    skipped = evaluate(options(fresh_clip, edit="dim", weights="none"))
    assert skipped["absent"]["clip_text"] == "left out by --weights none" and "models" not in skipped["edit"]


def test_a_hub_that_is_out_of_reach_is_a_reason(networks: Path, no_network: list[str]) -> None:
    began = time.process_time()
    opened = Learned.open(LearnedOptions(download=True))
    assert "cannot be fetched" in opened.absent["clip_text"] and "name a folder" in opened.absent["object_consistency"]
    assert no_network and time.process_time() - began < 10
    with pytest.raises(UserError, match="the CLIP model a/b cannot be fetched"):
        Learned.open(LearnedOptions(download=True, clip_model="a/b"))


def test_a_hub_that_never_answers_is_not_waited_for(networks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_PATIENCE", 0.5)
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:  # connects, and says nothing
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        began = time.monotonic()
        opened = Learned.open(LearnedOptions(download=True))
    assert "cannot be fetched" in opened.absent["clip_text"] and time.monotonic() - began < 20


def test_without_the_package(networks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "transformers" else there(name))
    opened = Learned.open(LearnedOptions(lpips_weights=networks / "lpips.safetensors"))
    assert opened.absent["clip_text"] == "transformers is not installed: pip install -e .[diffusion]"
    assert opened.lpips is not None and "lpips" not in opened.absent
    with pytest.raises(UserError, match="transformers is not installed"):
        Learned.open(LearnedOptions(dino_model=str(networks / "dino")))


def test_a_package_that_does_not_import(networks: Path, fresh_clip: Clip, sample: Sample, tmp_path: Path) -> None:
    """torchvision of another build than torch breaks transformers: its own words are the reason."""
    make_edit(fresh_clip, sample)
    place = tmp_path / "packages" / "transformers"
    place.mkdir(parents=True)
    (place / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    code = "from atlas.evaluation.learned import *; print(Learned.open(LearnedOptions(device='cpu')).absent['clip_text'])"
    place_in_cache(networks / "clip", CLIP_MODEL)
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = [{str(place.parent)!r}, {str(SCRIPT.parents[1])!r}]; {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    reason = "transformers does not import here (operator torchvision::nms does not exist): pip uninstall torchvision"
    assert done.stdout.strip() == reason and done.stderr == ""


def damaged(networks: Path, tmp_path: Path) -> None:
    """Folders that are no models, each in its own way."""
    from safetensors.torch import load_file, save_file

    for name in ("cut", "lacking", "pickled", "wordless", "adapter", "sizes", "vast", "nan", "listed", "deep", "wide"):
        shutil.copytree(networks / "clip", tmp_path / name)
    (tmp_path / "cut" / "model.safetensors").write_bytes((networks / "clip" / "model.safetensors").read_bytes()[:5000])
    weights = load_file(networks / "clip" / "model.safetensors")
    save_file({k: v for k, v in weights.items() if "projection" not in k}, tmp_path / "lacking" / "model.safetensors")
    (tmp_path / "pickled" / "model.safetensors").rename(tmp_path / "pickled" / "pytorch_model.bin")
    (tmp_path / "wordless" / "tokenizer.json").unlink()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    sizes = json.loads((tmp_path / "sizes" / "preprocessor_config.json").read_text())
    sizes["crop_size"] = {"height": 40, "width": 40}
    (tmp_path / "sizes" / "preprocessor_config.json").write_text(json.dumps(sizes))
    sizes["size"] = {"shortest_edge": 10**9}
    (tmp_path / "vast" / "preprocessor_config.json").write_text(json.dumps(sizes))
    nothing = {k: v * float("nan") for k, v in weights.items() if v.is_floating_point()}
    save_file(nothing, tmp_path / "nan" / "model.safetensors")
    (tmp_path / "listed" / "config.json").write_text("[1]")
    for name, changes in (("deep", {"num_hidden_layers": 10**5}), ("wide", {"vocab_size": 10**10})):
        described = json.loads((tmp_path / name / "config.json").read_text())
        described["text_config"] |= changes
        (tmp_path / name / "config.json").write_text(json.dumps(described))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"clip_model": "{tmp}/none"}, "none is no folder, no file and no hub id"),
        ({"clip_model": "{tmp}"}, "is no CLIP model \\(it has no config.json\\)"),
        ({"clip_model": "{tmp}/cut"}, "cut cannot be loaded as a CLIP model"),
        ({"clip_model": "{tmp}/lacking"}, "lacks weights of its CLIP model \\(2 of them\\)"),
        ({"clip_model": "{tmp}/pickled"}, "it has no model.safetensors"),
        ({"clip_model": "{tmp}/wordless"}, "it has no tokenizer.json"),
        ({"clip_model": "{tmp}/adapter"}, "holds an adapter"),
        ({"clip_model": "{tmp}/sizes"}, "sizes cannot be loaded as a CLIP model"),
        ({"clip_model": "{tmp}/vast"}, "asks for pictures of 1000000000 pixels a side"),
        ({"clip_model": "{tmp}/nan"}, "holds weights that are no numbers"),
        ({"clip_model": "{tmp}/listed"}, "listed holds a model of type None, not a CLIP model"),
        ({"clip_model": "{tmp}/deep"}, "asks for a CLIP model far larger than the weights beside it"),
        ({"clip_model": "{tmp}/wide"}, "config.json has 10000000000 .'vocab_size'., which no such model has"),
        ({"clip_model": "{networks}/clip/model.safetensors"}, "is a file: name the folder"),
        ({"dino_model": "{networks}/clip"}, "holds a model of type 'clip', not a DINOv2 model"),
        ({"dino_model": "a/b"}, "the DINOv2 model a/b is not in the cache"),
        ({"lpips_weights": Path("none.safetensors")}, "none.safetensors is missing: check --lpips-weights"),
        ({"lpips_weights": "{networks}/clip/model.safetensors"}, "has no weights of LPIPS with AlexNet"),
        ({"lpips_weights": "{networks}/clip/config.json"}, "config.json is no .safetensors file"),
        ({"weights": "none", "download": True}, "--weights none uses no weights, and --download asks for some"),
        ({"prompt": " "}, "--prompt is empty"),
    ],
)  # fmt: skip
def test_what_is_named_and_cannot_be_used_ends_at_once(
    networks: Path, tmp_path: Path, no_network: list[str], changes: dict[str, Any], said: str
) -> None:
    damaged(networks, tmp_path)

    def filled(name: str, value: Any) -> Any:
        text = value.replace("{tmp}", str(tmp_path)).replace("{networks}", str(networks)) if isinstance(value, str) else value
        return Path(text) if name == "lpips_weights" else text

    with pytest.raises(UserError, match=said) as problem:
        Learned.open(LearnedOptions(device="cpu", **{name: filled(name, value) for name, value in changes.items()}))
    assert "\n" not in str(problem.value) and no_network == []


def test_the_command_says_so_before_it_measures(fresh_clip: Clip, sample: Sample, tmp_path: Path) -> None:
    make_edit(fresh_clip, sample)
    command = [sys.executable, str(SCRIPT), str(fresh_clip.folder), "--edit", "dim", "--clip-model", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "is no CLIP model" in done.stderr and done.stderr.count("\n") == 1
    assert not (fresh_clip.edit_folder("dim") / "metrics.json").exists()
    with pytest.raises(UserError, match="--clip-model is for measuring an edit: name one with --edit"):
        evaluate(options(fresh_clip, fit="truth", clip_model=str(tmp_path)))
