"""Models from strangers: nothing that a folder or file names is run, no pickle is opened, and little that is vast is made."""

from __future__ import annotations

import json
import os
import pickle
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.metrics.embeddings import Embedder
from atlas.weights.folder import check_room
from atlas.weights.hub import fingerprint, located
from edit.diffusion.conditions import DepthEstimator
from edit.diffusion.weights import load
from edit.models.base import is_xl_model
from edit.models.weights import Weights
from edit.request.prompting import DiffusionOptions
from tests.atlas.metrics import tiny_embeddings
from tests.edit import tiny

ROOT = Path(__file__).resolve().parents[3]
CPU = torch.device("cpu")
FOLDERS = {
    "ControlNet": "controlnet",
    "image encoder": "adapter/image_encoder",
    "depth estimator": "depth",
    "CLIP model": "clip",
    "DINOv2 model": "dino",
}
KINDS = tuple(FOLDERS)
PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
RUN = "from pathlib import Path\nPath({marker!r}).touch()\nclass Evil: pass\nclass EvilConfig: pass\n"


class Touching:
    """Pickled: whoever opens the pickle makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.marker,))


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """The file that a program from a model's folder would make."""
    return tmp_path / "marker"


@pytest.fixture
def sd(models: Path, tmp_path: Path) -> Path:
    """A base model that a test may change."""
    return Path(shutil.copytree(models / "sd", tmp_path / "sd"))


@pytest.fixture(scope="session")
def untouched(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of every other kind of network, by the names in `FOLDERS`. Shared: only read it."""
    folder = tmp_path_factory.mktemp("untouched")
    shutil.copytree(models / "controlnet-sd", folder / "controlnet")
    tiny.save_ip_adapter(folder / "adapter", models / "sd")
    tiny.save_depth(folder / "depth")
    tiny_embeddings.save_clip(folder / "clip")
    tiny_embeddings.save_dino(folder / "dino")
    return folder


@pytest.fixture
def networks(untouched: Path, tmp_path: Path) -> dict[str, Path]:
    """Of each kind of network a folder that a test may change."""
    shutil.copytree(untouched, tmp_path / "networks")
    return {kind: tmp_path / "networks" / name for kind, name in FOLDERS.items()}


def weights(model: Path, controlnet: Path, **changes: Any) -> Weights:
    options = DiffusionOptions(**({"prompt": "a cat", "model": str(model), "controlnet": (str(controlnet),)} | changes))
    return Weights.of(options, CPU)


def opening(models: Path, networks: dict[str, Path], kind: str) -> Callable[[], object]:
    """What loads the network of a kind, as commands do."""
    if kind == "ControlNet":
        return lambda: load(weights(models / "sd", networks[kind], offline=True))
    if kind == "image encoder":
        prompt = networks[kind].parent / "look.png"
        prompt.write_bytes(b"")
        adapter = str(networks[kind].parent / "ip-adapter.safetensors")
        chosen = weights(models / "sd", models / "controlnet-sd", image_prompt=prompt, ip_adapter=adapter, offline=True)
        return lambda: load(chosen)
    if kind == "depth estimator":
        return lambda: DepthEstimator(networks[kind], CPU)
    return lambda: Embedder(networks[kind], "CLIP model" if kind == "CLIP model" else "DINOv2 model", CPU)


def refused(open_it: Callable[[], object], *words: str) -> str:
    """The one line that loading ends in; it has the words, and costs less than 500 MB and 10 s of the processor."""
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(UserError) as problem:
        open_it()
    assert time.process_time() - start < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500 * 1024
    said = str(problem.value)
    assert "\n" not in said and len(said) < 800 and all(word in said for word in words), said
    return said


def changed(file: Path, **entries: Any) -> Path:
    file.write_text(json.dumps(json.loads(file.read_text()) | entries))
    return file


def program(file: Path, marker: Path) -> None:
    file.write_text(RUN.format(marker=str(marker)))


@pytest.mark.parametrize("part", [*PARTS, "safety_checker", "stranger"])
def test_a_module_beside_the_model_is_not_run(models: Path, sd: Path, marker: Path, part: str, monkeypatch: Any) -> None:
    (sd / part).mkdir(exist_ok=True)
    for folder in (sd, sd / part):
        program(folder / "evil.py", marker)
    monkeypatch.chdir(sd)
    monkeypatch.syspath_prepend(str(sd))
    file = changed(sd / "model_index.json", **{part: ["evil", "Evil"]})
    refused(lambda: load(weights(sd, models / "controlnet-sd")), str(file), "evil", part)
    refused(lambda: is_xl_model(sd, None, offline=True), str(file))
    assert not marker.exists()


@pytest.mark.parametrize(
    ("entries", "word"),
    [
        ({"_class_name": ["evil", "Evil"]}, "_class_name"),
        ({"_class_name": "StableDiffusion/../evil"}, "_class_name"),
        ({"_class_name": None}, "_class_name"),
        ({"custom_pipeline": "evil"}, "custom_pipeline"),
        ({"auto_map": {"AutoModel": "evil.Evil"}}, "auto_map"),
        ({"trust_remote_code": True}, "trust_remote_code"),
        ({"unet": ["diffusers", "hub_utils.evil"]}, "unet"),
        ({"unet": [["evil"], "Evil"]}, "unet"),
        ({"unet": {"evil": "Evil"}}, "unet"),
        ({"text_encoder": ["transformers", "AutoModel"]}, "text_encoder"),
        ({"tokenizer": ["transformers", "AutoTokenizer"]}, "tokenizer"),
        ({"feature_extractor": ["diffusers.utils", "evil"]}, "feature_extractor"),
    ],
)
def test_what_else_the_index_may_name(
    models: Path, sd: Path, marker: Path, entries: dict[str, Any], word: str, tmp_path: Path
) -> None:
    program(sd / "evil.py", marker)
    file = changed(sd / "model_index.json", **entries)
    refused(lambda: load(weights(sd, models / "controlnet-sd", offline=True)), str(file), word)
    single = tiny.save_single_file(models / "sd", tmp_path / "one.safetensors")
    refused(lambda: load(weights(single, models / "controlnet-sd", model_config=str(sd), offline=True)), str(file), word)
    assert not marker.exists()


@pytest.mark.parametrize("name", ["None.py", "pipeline.py", "unet/diffusers.py", "text_encoder/transformers.py"])
def test_a_program_under_a_name_that_libraries_look_for(models: Path, sd: Path, marker: Path, name: str) -> None:
    program(sd / name, marker)
    refused(lambda: load(weights(sd, models / "controlnet-sd")), str(sd / name), "is a program")
    assert not marker.exists()


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(
    "entries", [{"auto_map": {"AutoModel": "evil.Evil"}}, {"_attn_implementation_internal": "evil/kernel"}]
)
def test_a_part_whose_description_names_a_program(
    models: Path, sd: Path, marker: Path, part: str, entries: dict[str, Any]
) -> None:
    names = {"tokenizer": "tokenizer_config.json", "scheduler": "scheduler_config.json"}
    file = changed(sd / part / names.get(part, "config.json"), **entries)
    refused(lambda: load(weights(sd, models / "controlnet-sd")), str(file), next(iter(entries)))
    assert not marker.exists()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "entries",
    [
        {"auto_map": {"AutoConfig": "evil.EvilConfig", "AutoModelForDepthEstimation": "evil.Evil"}, "model_type": "evil"},
        {"attn_implementation": "evil/kernel"},
        {"nested": [{"_attn_implementation_internal": "evil/kernel"}]},
        {"transformers_weights": "adapter_model.bin"},
        {"quantization_config": {"quant_method": "gptq"}},
        {"backbone": "evil/backbone", "use_timm_backbone": True},
    ],
)
def test_a_network_whose_description_names_a_program(
    models: Path, networks: dict[str, Path], marker: Path, kind: str, entries: dict[str, Any], monkeypatch: Any
) -> None:
    def asked(*prompt: object) -> str:
        raise AssertionError("the terminal was asked whether to run a program")

    monkeypatch.setattr("builtins.input", asked)
    folder = networks[kind]
    program(folder / "evil.py", marker)
    file = changed(folder / "config.json", **entries)
    refused(opening(models, networks, kind), str(file))
    assert not marker.exists()


@pytest.mark.parametrize("kind", KINDS)
def test_pickles_are_not_opened(models: Path, networks: dict[str, Path], marker: Path, kind: str) -> None:
    folder = networks[kind]
    for file in folder.glob("*.safetensors"):
        file.unlink()
    for name in ("pytorch_model.bin", "diffusion_pytorch_model.bin", "model.pt", "model.ckpt", "model.pkl"):
        (folder / name).write_bytes(pickle.dumps(Touching(marker)))
    refused(opening(models, networks, kind), str(folder), "safetensors")
    assert not marker.exists()


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_pickles_of_a_part_are_not_opened(models: Path, sd: Path, marker: Path, part: str) -> None:
    for file in (sd / part).glob("*.safetensors"):
        file.rename(file.with_suffix(".bin"))
        file.with_suffix(".bin").write_bytes(pickle.dumps(Touching(marker)))
    refused(lambda: load(weights(sd, models / "controlnet-sd")), str(sd / part), "safetensors")
    assert not marker.exists()


@pytest.mark.parametrize("kind", KINDS[:3])
@pytest.mark.parametrize("place", ["../outside.safetensors", "{tmp}/outside.safetensors", "inside.bin", "missing.safetensors"])
def test_an_index_that_leads_out_of_the_folder(
    models: Path, networks: dict[str, Path], tmp_path: Path, marker: Path, kind: str, place: str
) -> None:
    folder = networks[kind]
    (only,) = folder.glob("*.safetensors")
    keys = dict.fromkeys(load_file(only), place.format(tmp=tmp_path))
    shutil.copy(only, folder.parent / "outside.safetensors")
    shutil.copy(only, tmp_path / "outside.safetensors")
    (folder / "inside.bin").write_bytes(pickle.dumps(Touching(marker)))
    only.rename(folder / "unused.safetensors")
    index = folder / f"{only.name}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": keys}))
    refused(opening(models, networks, kind), index.name)
    assert not marker.exists()


# Of each kind: entries of its description that make a network of many terabytes, or of ever more layers.
VAST: dict[str, list[dict[str, Any]]] = {
    "ControlNet": [{"block_out_channels": [80_000, 160_000]}, {"layers_per_block": 190_000}, {"layers_per_block": 10**12}],
    "image encoder": [{"hidden_size": 180_000}, {"num_hidden_layers": 190_000}, {"num_hidden_layers": 10**4000}],
    "depth estimator": [{"hidden_size": 180_000}, {"num_hidden_layers": 190_000}, {"num_labels": 10**9}],
    "CLIP model": [{"projection_dim": 900_000_000}, {"text_config": {"num_hidden_layers": 190_000}}],
    "DINOv2 model": [{"hidden_size": 80_000, "num_attention_heads": 2}, {"num_hidden_layers": 190_000}],
}


@pytest.mark.parametrize(("kind", "entries"), [(kind, entries) for kind, several in VAST.items() for entries in several])
def test_a_description_of_a_vast_network(models: Path, networks: dict[str, Path], kind: str, entries: dict[str, Any]) -> None:
    refused(opening(models, networks, kind), str(changed(networks[kind] / "config.json", **entries)))


WIDE: dict[str, Any] = {"down_block_types": ["CrossAttnDownBlock2D"] * 900, "up_block_types": ["CrossAttnUpBlock2D"] * 900}
WIDE |= {"block_out_channels": [800] * 900}


@pytest.mark.parametrize(
    ("name", "entries"),
    [
        ("unet/config.json", {"block_out_channels": [80_000, 160_000]}),
        ("unet/config.json", {"transformer_layers_per_block": 190_000}),
        ("unet/config.json", WIDE),
        ("vae/config.json", {"block_out_channels": [80_000] * 4}),
        ("text_encoder/config.json", {"vocab_size": 190_000, "hidden_size": 190_000}),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": 10**10}),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": 1e10}),
        ("tokenizer/tokenizer_config.json", {"model_max_length": 10**9}),
    ],
)
def test_a_part_of_vast_size(models: Path, sd: Path, tmp_path: Path, name: str, entries: dict[str, Any]) -> None:
    changed(sd / name, **entries)
    folder = str((sd / name).parent)
    refused(lambda: load(weights(sd, models / "controlnet-sd")), folder)
    single = tiny.save_single_file(models / "sd", tmp_path / "one.safetensors")
    refused(lambda: load(weights(single, models / "controlnet-sd", model_config=str(sd), offline=True)), folder)


def test_a_network_of_its_weights_size_has_room(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    size = 4 * (3000 * 3000 + 3000)
    check_room(tmp_path, "network", lambda: torch.nn.Linear(3000, 3000), size)
    refused(lambda: check_room(tmp_path, "network", lambda: torch.nn.Linear(3000, 3000), size // 10), "far larger")
    assert torch.nn.Linear(3000, 3000).weight.device == CPU  # afterwards nothing is counted or left out


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a": ' * 100_000, '{"a": ' + "9" * 5000 + "}", "{", "\xff", "1"])
def test_damaged_descriptions(models: Path, sd: Path, networks: dict[str, Path], text: str) -> None:
    for file, open_it in (
        (sd / "model_index.json", lambda: load(weights(sd, models / "controlnet-sd"))),
        (networks["ControlNet"] / "config.json", opening(models, networks, "ControlNet")),
        (networks["depth estimator"] / "config.json", opening(models, networks, "depth estimator")),
        (networks["CLIP model"] / "config.json", opening(models, networks, "CLIP model")),
    ):
        file.write_bytes(text.encode("latin-1"))
        refused(open_it, str(file.parent) if text == "1" else str(file))


def test_pipes_and_links(models: Path, sd: Path, tmp_path: Path) -> None:
    before = fingerprint(sd)
    os.mkfifo(sd / "pipe.json")
    (sd / "device.txt").symlink_to("/dev/zero")
    (sd / "root.json").symlink_to("/")
    (sd / "loop.json").symlink_to(sd / "loop.json")
    assert fingerprint(sd) == before
    (sd / "unet" / "config.json").unlink()
    os.mkfifo(sd / "unet" / "config.json")
    refused(lambda: load(weights(sd, models / "controlnet-sd")), str(sd / "unet" / "config.json"))


def test_links_of_the_hubs_cache_are_followed(models: Path, tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "1"
    blobs.mkdir()
    for number, file in enumerate(sorted(file for file in (models / "sd").rglob("*") if file.is_file())):
        link = snapshot / file.relative_to(models / "sd")
        link.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, blobs / str(number))
        link.symlink_to(os.path.relpath(blobs / str(number), link.parent))
    assert load(weights(snapshot, models / "controlnet-sd", offline=True)).pipeline.unet is not None


@pytest.mark.parametrize(
    "name",
    [
        "../x/y",
        "owner/..",
        "../x",
        "./../y",
        "a\0b",
        "owner/\x1b[2J",
        "-x/y",
        "a--b/c",
        "x" * 5000,
        "~nobody-here/model",
        "a/b/c",
    ],
)
def test_names_that_are_none(name: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert refused(lambda: located(name, "model", offline=True)).isprintable()


@pytest.mark.parametrize(
    "settings",
    [
        {"unet.megatron_config": {"a": 1}, "unet.megatron_core": "evil"},
        {"unet.megatron_core": "evil"},
        {"unet.r": 10**9},
        {"unet.target_modules": "(a+)+$"},
        {"unet.rank_pattern": {"(a+)+$": 3}},
        {"unet.init_lora_weights": "pissa"},
        {"unet.auto_mapping": {"parent_library": "evil"}},
        {"unet.layer_replication": [[0, 10**6]]},
        "[" * 100_000,
        [1],
    ],
)
def test_settings_of_a_lora(models: Path, tmp_path: Path, marker: Path, settings: Any, monkeypatch: Any) -> None:
    program(tmp_path / "evil.py", marker)
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tiny.save_lora(tmp_path / "style.safetensors")
    text = settings if isinstance(settings, str) else json.dumps(settings)
    save_file(load_file(file), file, metadata={"format": "pt", "lora_adapter_metadata": text})
    refused(lambda: load(weights(models / "sd", models / "controlnet-sd", lora=(f"{file}:1",))), str(file))
    assert not marker.exists()


def test_settings_that_libraries_write_are_taken(models: Path, tmp_path: Path) -> None:
    from peft import LoraConfig

    file = tiny.save_lora(tmp_path / "style.safetensors")
    layer = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    config = LoraConfig(r=2, lora_alpha=4, target_modules=[layer], rank_pattern={layer: 2}).to_dict() | {
        "target_modules": [layer]
    }
    text = json.dumps({f"unet.{name}": value for name, value in config.items()})
    save_file(load_file(file), file, metadata={"format": "pt", "lora_adapter_metadata": text})
    model = load(weights(models / "sd", models / "controlnet-sd", lora=(f"{file}:1",)))
    assert model.pipeline.get_list_adapters() == {"unet": ["lora0"]}


@pytest.mark.parametrize("name", ["unet.(a+)+$.lora_A.weight", "a\nb"])
def test_a_lora_with_names_that_are_none(models: Path, tmp_path: Path, name: str) -> None:
    file = tiny.save_lora(tmp_path / "style.safetensors")
    save_file(load_file(file) | {name: torch.zeros(2, 2)}, file)
    refused(lambda: load(weights(models / "sd", models / "controlnet-sd", lora=(f"{file}:1",))), str(file), "no layer's name")


def test_a_lora_with_half_of_a_layer(models: Path, tmp_path: Path) -> None:
    file = tiny.save_lora(tmp_path / "style.safetensors")
    save_file({name.replace("blocks.0.attn1.to_q.lora_A", "blocks.9.attn1.to_q.lora_A"): value for name, value in load_file(
        file).items()}, file)  # fmt: skip
    refused(lambda: load(weights(models / "sd", models / "controlnet-sd", lora=(f"{file}:1",))), str(file), "lacks one of the")


def test_the_command_ends_in_one_line(sample_clip: Clip, models: Path, sd: Path, marker: Path) -> None:
    program(sd / "evil.py", marker)
    file = changed(sd / "model_index.json", unet=["evil", "Evil"])
    command = [sys.executable, str(ROOT / "scripts" / "edit.py"), str(sample_clip.folder), "--fit", "truth", "--name", "x"]
    command += ["--layer", "foreground", "--editor", "diffusion", "--prompt", "a cat", "--offline", "--model", str(sd)]
    command += ["--controlnet", str(models / "controlnet-sd"), "--device", "cpu"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(sd)])}
    done = subprocess.run(command, cwd=sd, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert str(file) in done.stderr and "evil" in done.stderr and "Traceback" not in done.stderr
    assert not marker.exists() and not (sample_clip.folder / "edits" / "x").exists()
