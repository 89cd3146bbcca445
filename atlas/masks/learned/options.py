"""The options of mask sources that need a network: which one, where it is computed, and whether weights may be fetched."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from atlas.system.device import Device

SEGMENTER = "facebook/sam2.1-hiera-tiny"
DETECTOR = "IDEA-Research/grounding-dino-tiny"


@dataclass(kw_only=True)
class NetworkOptions:
    """Options of --masks points:..., box:..., text:... and salient."""

    segmenter: str = SEGMENTER
    """SAM 2 (or SAM 3) that follows points and boxes: a hub id, or a folder of safetensors."""
    detector: str = DETECTOR
    """Grounding DINO or OWLv2 that finds what --masks text:... names: a hub id, or a folder of safetensors."""
    salient: Path | None = None
    """With --masks salient: the ONNX file of a network of salient objects, such as ISNet."""
    device: Device = "auto"
    """Where these networks are computed; auto takes a GPU where there is one."""
    offline: bool = False
    """Take weights from folders and the cache alone."""
