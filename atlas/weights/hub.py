"""Where weights are: a folder, a file, or the cache of the Hugging Face hub, filled where it lacks them; and their hash."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from atlas.errors import UserError, one_line
from atlas.storage.stamps import digest
from atlas.weights.folder import described

Kind = Literal[
    "model",
    "ControlNet",
    "ControlNet configuration",
    "autoencoder",
    "configuration",
    "IP-Adapter",
    "depth estimator",
    "CLIP model",
    "DINOv2 model",
    "segmenter",
    "detector",
]

# What of a repository is fetched: repositories often hold the same weights in several formats.
_PATTERNS: dict[str, list[str]] = {
    "model": ["model_index.json", "*/*.json", "*/*.txt", "*/*.safetensors"],
    "ControlNet": ["config.json", "diffusion_pytorch_model.safetensors"],
    "ControlNet configuration": ["config.json"],
    "autoencoder": ["config.json", "diffusion_pytorch_model.safetensors"],
    "configuration": ["model_index.json", "*/*.json", "*/*.txt"],
    "depth estimator": ["config.json", "preprocessor_config.json", "model.safetensors"],
    "CLIP model": ["config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"],
    "DINOv2 model": ["config.json", "preprocessor_config.json", "model.safetensors"],
    "segmenter": ["config.json", "model.safetensors"],
    # Tokenizers differ in their files: tokenizer.json, special_tokens_map.json, vocab.json, and texts.
    "detector": ["config.json", "[stv]*.json", "*.txt", "model.safetensors"],
}
_HALF = ".fp16."  # in the names of weights in half precision
_SKIPPED = ["*non_ema*", "safety_checker/*"]
_MARK = {
    "model": "model_index.json",
    "ControlNet": "config.json",
    "ControlNet configuration": "config.json",
    "autoencoder": "config.json",
    "configuration": "model_index.json",
    "depth estimator": "config.json",
    "CLIP model": "config.json",
    "DINOv2 model": "config.json",
    "segmenter": "config.json",
    "detector": "config.json",
}
_PATIENCE = 5.0  # seconds that the hub may take to answer
_ID = re.compile(r"(?!.*(?:--|\.\.))\w[\w.-]{0,95}/\w[\w.-]{0,95}", re.ASCII)  # as the hub has them


def located(
    name: str,
    kind: Kind,
    *,
    offline: bool,
    patterns: list[str] | None = None,
    why: str = "--offline fetches nothing",
    option: str | None = None,
) -> Path:
    """The folder or .safetensors file behind `name`; a repository that is not in the cache is fetched.

    why: what keeps it from being fetched where it is `offline`, in words for the user; option: what names a folder instead.
    UserError where it is neither, is no such model, or cannot be fetched.
    """
    return named(name, kind) or _from_hub(name, kind, patterns or _PATTERNS[kind], offline, why, option)


def named(name: str, kind: Kind) -> Path | None:
    """The folder or .safetensors file of this name; None where it can only be a repository's, which nobody has asked for yet.

    UserError where it is neither, or holds no such model.
    """
    try:
        path = Path(name).expanduser()
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, RuntimeError, ValueError):  # too long, of an unknown user, or with a character that no name has
        raise UserError(f"{_shown(name)} is no name of a folder or file: check the {kind}'s name") from None
    if is_folder:
        if kind in _MARK and not (path / _MARK[kind]).is_file():
            raise UserError(f"{path} is no {kind} (it has no {_MARK[kind]}): name the folder that holds one")
        return path
    if is_file:
        if path.suffix != ".safetensors" or kind.endswith("configuration"):
            raise UserError(f"{path} is no folder and no .safetensors file: other formats can hold programs and are not read")
        return path
    if not _ID.fullmatch(name) or path.suffix == ".safetensors":
        raise UserError(f"{_shown(name)} is no folder, no file and no hub id (such as owner/name): check the {kind}'s name")
    return None


def is_at_hand(name: str, kind: Kind) -> bool:
    """Whether `located` would find these weights without fetching any; UserError as it raises for a name that can be none."""
    if named(name, kind) is not None:
        return True
    if importlib.util.find_spec("huggingface_hub") is None:
        return False
    cached = _cached(name, _PATTERNS[kind])
    return cached is not None and _is_whole(cached, kind, _PATTERNS[kind])


def fingerprint(path: Path) -> str:
    """Hash of the weights in a folder or file, as `located` found it."""
    kinds = (".json", ".txt", ".safetensors")
    # A pipe is not read, nor a folder that is named as a file: a link may lead to any.
    files = sorted(p for p in path.rglob("*") if p.suffix in kinds and p.is_file()) if path.is_dir() else [path]
    return digest([[file.relative_to(path).as_posix(), _hash(file)] for file in files])


def fetch_command(name: str, patterns: list[str]) -> str:
    """The command that fetches what is needed of a repository, in full and half precision: it may hold either alone."""
    if not any("*" in pattern for pattern in patterns):  # of several names the command leaves out those that are not there
        halves = [half for pattern in patterns if (half := _halved(pattern)) != pattern]
        return f"hf download {name} {' '.join(patterns + halves)}"
    wanted = " ".join(f'--include "{pattern}"' for pattern in patterns)
    return f"hf download {name} {wanted} " + " ".join(f'--exclude "{pattern}"' for pattern in _SKIPPED)


def chosen_files(files: Sequence[str], patterns: list[str]) -> tuple[list[str], list[str]]:
    """Which patterns of a repository's files are fetched and which skipped: half precision only where that lies there alone."""
    present = set(files)
    doubled = [file for file in files if _HALF in file and file.replace(_HALF, ".", 1) in present]
    alone = [half for pattern in patterns if pattern not in present and (half := _halved(pattern)) in present]
    return patterns + alone, doubled + _SKIPPED


def _halved(name: str) -> str:
    return name.replace(".safetensors", f"{_HALF}safetensors")


def _shown(name: str) -> str:
    """A name that may be anything, short and without what would steer a terminal."""
    return name if name.isprintable() and len(name) <= 240 else ascii(name)[:240]


def _from_hub(name: str, kind: Kind, patterns: list[str], offline: bool, why: str, option: str | None) -> Path:
    cached = _cached(name, patterns)
    if cached is not None and _is_whole(cached, kind, patterns):
        return cached
    command, instead = fetch_command(name, patterns), f", or name a folder with {option}" if option else ""
    if offline:
        raise UserError(f"the {kind} {name} is not in the cache, and {why}: get it once with {command}{instead}")
    from huggingface_hub import HfApi, snapshot_download

    try:
        # Asked first whether it is there at all: a download waits for minutes for a hub that does not answer.
        info = HfApi().model_info(name, timeout=_PATIENCE)
        wanted, skipped = chosen_files([file.rfilename for file in info.siblings or ()], patterns)
        return Path(snapshot_download(name, allow_patterns=wanted, ignore_patterns=skipped))
    except Exception as problem:  # no network, no such repository, not allowed, a full disk: its own words say which
        instead = instead or ", or name a folder"
        raise UserError(f"the {kind} {name} cannot be fetched ({one_line(problem)}): try {command}{instead}") from None


def _is_whole(folder: Path, kind: Kind, patterns: list[str]) -> bool:
    """Whether a cached repository has what is needed of it: a download may have been cut short."""
    needed = [pattern for pattern in patterns if not pattern.endswith(".txt")]
    if not all(any(folder.glob(pattern)) or any(folder.glob(_halved(pattern))) for pattern in needed):
        return False
    if kind != "model":
        return True
    try:
        parts = described(folder / "model_index.json")
    except UserError:  # JSON that is cut short, too
        return False
    if not parts:
        return False
    networks = [name for name in ("unet", "vae", "text_encoder", "text_encoder_2") if isinstance(parts.get(name), list)]
    return all(any((folder / name).glob("*.safetensors")) for name in networks)


def _cached(name: str, patterns: Any) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=patterns, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def _hash(file: Path) -> str:
    target = file.resolve()
    if file.is_symlink() and target.parent.name == "blobs":  # the hub's cache names files by their hash
        return target.name
    return digest(target)
