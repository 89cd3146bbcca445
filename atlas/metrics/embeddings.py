"""Embeddings of pictures and texts by CLIP and DINOv2, loaded with transformers.

Weights are read from safetensors alone, in folders as the Hugging Face hub has them: other formats can hold programs.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from atlas.errors import UserError, one_line
from atlas.system.quiet import quiet
from atlas.weights.folder import check_folder, check_room, described, weight_bytes
from atlas.weights.networks import loading

CLIP_MODEL = "openai/clip-vit-large-patch14"
DINO_MODEL = "facebook/dinov2-base"
Family = Literal["CLIP model", "DINOv2 model"]

# Of each family: its name in config.json; the class of its network, and of what prepares pictures.
_CLASSES: dict[Family, tuple[str, str, str]] = {
    "CLIP model": ("clip", "CLIPModel", "CLIPImageProcessor"),
    "DINOv2 model": ("dinov2", "Dinov2Model", "BitImageProcessor"),
}
_FILES = ("config.json", "preprocessor_config.json", "model.safetensors")
_TOKENIZERS = (("tokenizer.json",), ("vocab.json", "merges.txt"))


def check_installed() -> None:
    """UserError where transformers is missing. Whether it imports shows when a model is loaded: that takes seconds."""
    if importlib.util.find_spec("transformers") is None:
        raise UserError("transformers is not installed: pip install -e .[diffusion]")


class Embedder:
    """An embedding network: turns pictures into vectors of length 1, and CLIP's texts too. `prepare`, then `embed` in batches.

    Pictures are resized and their middle is cut out as the folder's preprocessor_config.json says: what lies at the far
    sides of a wide frame is not seen, as in published figures.
    """

    def __init__(self, folder: Path, family: Family, device: torch.device) -> None:
        """UserError, in one line, where transformers or a file is missing, damaged, or of another kind."""
        _check_files(folder, family)
        _check_import()
        self.family, self.device, self.folder = family, device, folder
        with loading(folder, family):
            with quiet():
                self._network, self._processor = _loaded(folder, family)
                self._tokenizer = _tokenizer(folder) if family == "CLIP model" else None
            self._network.to(device).eval()
            self._check_size()

    def prepare(
        self,
        frame: np.ndarray,  # (H, W, 3) uint8
    ) -> Tensor:  # (3, h, w) float32
        """Resize and scale a frame as the network expects it."""
        pixels = self._processor(images=frame, return_tensors="pt", input_data_format="channels_last")["pixel_values"]
        return pixels[0].float()

    @torch.no_grad()
    def embed(
        self,
        prepared: Sequence[Tensor],  # N times (3, h, w)
    ) -> np.ndarray:  # (N, D) float32, each of length 1
        """Embed pictures, one vector each: CLIP's projected embedding, DINOv2's class token after its last norm."""
        pixels = torch.stack(list(prepared)).to(self.device)
        if self.family == "CLIP model":
            output = self._network.get_image_features(pixel_values=pixels)
        else:
            output = self._network(pixel_values=pixels)
        return _unit(output)

    @torch.no_grad()
    def embed_text(self, text: str) -> np.ndarray:  # (D,) float32 of length 1
        """Embed a text, to be compared with pictures. UserError where it is longer than CLIP reads."""
        assert self._tokenizer is not None
        most = min(self._tokenizer.model_max_length, self._network.config.text_config.max_position_embeddings)
        with quiet():
            tokens = self._tokenizer([text], return_tensors="pt")
        length = int(tokens["input_ids"].shape[1])
        if length > most:
            raise UserError(
                f"the prompt is {length - most} tokens too long for CLIP, which reads {most}: give a shorter --prompt"
            )
        inputs = {name: tokens[name].to(self.device) for name in ("input_ids", "attention_mask")}
        return _unit(self._network.get_text_features(**inputs))[0]

    def _check_size(self) -> None:
        """Embed one picture, and for CLIP one word: what does not fit together shows now, not after long work."""
        vectors = self.embed([self.prepare(np.full((48, 64, 3), 128, np.uint8))])
        if not np.isfinite(vectors).all():
            raise UserError(f"{self.folder / 'model.safetensors'} holds weights that are no numbers: download it again")
        if self._tokenizer is not None:
            self.embed_text("a")


def _check_import() -> None:
    try:
        from transformers import CLIPModel, Dinov2Model  # noqa: F401
    except Exception as problem:  # of many kinds: torchvision, say, may be of another build than torch
        why = one_line(problem.__cause__ or problem)
        advice = "pip uninstall torchvision" if "torchvision" in why else "run pip install -e .[diffusion] again"
        raise UserError(f"transformers does not import here ({why}): {advice}") from None


def _check_files(folder: Path, family: Family) -> None:
    if folder.is_file():
        raise UserError(f"{folder} is a file: name the folder that holds the {family}")
    missing = [name for name in _FILES if not (folder / name).is_file()]
    if family == "CLIP model" and not any(all((folder / name).is_file() for name in names) for names in _TOKENIZERS):
        missing.append(_TOKENIZERS[0][0])
    if missing:
        raise UserError(
            f"{folder} is no {family} that can be read (it has no {', '.join(missing)}): name a folder that holds one"
        )
    check_folder(folder)
    kind = described(folder / "config.json").get("model_type")
    if kind != _CLASSES[family][0]:
        raise UserError(f"{folder} holds a model of type {kind!r}, not a {family}: name a folder that holds one")


def _loaded(folder: Path, family: Family) -> tuple[Any, Any]:
    """Load the network in full precision, and what prepares its pictures."""
    import transformers

    _, network, processor = _CLASSES[family]
    # Newer versions prepare pictures with torchvision where it is there: figures must not depend on that.
    kind = getattr(transformers, f"{processor}Pil", None) or getattr(transformers, processor)
    model = getattr(transformers, network)
    config = model.config_class.from_pretrained(str(folder), local_files_only=True)
    check_room(folder, family, lambda: model(config), weight_bytes(folder, family))
    made, loading = model.from_pretrained(str(folder), use_safetensors=True, local_files_only=True, output_loading_info=True)
    lost = [*loading["missing_keys"], *loading.get("mismatched_keys", ())]
    if lost:  # transformers draws random numbers for these
        raise UserError(
            f"{folder / 'model.safetensors'} lacks weights of its {family} ({len(lost)} of them): download it again"
        )
    return made.float(), kind.from_pretrained(str(folder), local_files_only=True)


def _tokenizer(folder: Path) -> Any:
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)


def _unit(output: Any) -> np.ndarray:
    """Scale vectors to length 1; they come as a tensor or, from newer versions, in an output that holds it."""
    vectors = output if isinstance(output, Tensor) else output.pooler_output
    return torch.nn.functional.normalize(vectors.float(), dim=-1).cpu().numpy()
