"""Nodes for ComfyUI: edit keyframes or an atlas there, with one's own weights, and have them on every frame here.

A link to this folder in ComfyUI's custom_nodes/ is all that it takes, where this project's dependencies are installed.
Nothing of ComfyUI is imported: images are its arrays, (B, H, W, 3) float, and masks (B, H, W).
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # ComfyUI loads the folder by its path

from scripts.comfyui.nodes import NODES

NODE_CLASS_MAPPINGS = {f"LayeredAtlas{node.__name__}": node for node in NODES}
NODE_DISPLAY_NAME_MAPPINGS = {f"LayeredAtlas{node.__name__}": node.TITLE for node in NODES}
