"""Tiny randomly initialised networks, like SAM 2, Grounding DINO and OWLv2 in all but size: built and saved in a moment."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from atlas.errors import UserError

SIDE = 128
"""Pixels of the square that the tiny SAM 2 sees."""


def save_segmenter(folder: Path, seed: int = 0, bias: float = 0.0) -> Path:
    """Build a SAM 2 that sees an object everywhere and whose masks depend on prompts and pictures, and save it.

    bias: of its masks' logits; far below 0 they are empty.
    """
    from transformers import Sam2VideoModel

    torch.manual_seed(seed)
    network = Sam2VideoModel(segmenter_config())
    score = network.mask_decoder.pred_obj_score_head.proj_out
    with torch.no_grad():
        # Weights as they are drawn are so small that all masks are alike, and next to 0.
        for name, values in network.named_parameters():
            if values.ndim > 1 and not name.startswith("memory"):
                values.mul_(3)
        for layer in network.mask_decoder.output_hypernetworks_mlps:
            layer.proj_out.weight.mul_(20)
        if bias:
            for layer in network.mask_decoder.output_hypernetworks_mlps:
                layer.proj_out.weight.zero_()
                layer.proj_out.bias.fill_(bias)
            network.mask_decoder.upscale_conv2.weight.zero_()
            network.mask_decoder.upscale_conv2.bias.fill_(1)
        score.weight.zero_()  # a random head sees no object
        score.bias.fill_(5)
    network.save_pretrained(folder)
    return folder


def segmenter_config(side: int = SIDE) -> Any:
    """The description of a SAM 2 of about a million weights."""
    from transformers import Sam2VideoConfig

    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 16,
        "num_attention_heads": 1,
        "image_size": [side, side],
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [16, 32, 64, 128],
        "num_attention_heads_per_stage": [1, 2, 4, 8],
        "window_size_per_stage": [8, 4, 4, 4],
        "global_attention_blocks": [3],
        "window_positional_embedding_background_size": [4, 4],
    }
    vision = {
        "model_type": "sam2_vision_model",
        "backbone_config": backbone,
        "backbone_channel_list": [128, 64, 32, 16],
        "backbone_feature_sizes": [[side // step] * 2 for step in (4, 8, 16)],
        "fpn_hidden_size": 128,
    }
    return Sam2VideoConfig(
        vision_config=vision,
        prompt_encoder_config={"hidden_size": 128, "image_size": side},
        mask_decoder_config={"hidden_size": 128, "mlp_dim": 32, "num_attention_heads": 4, "iou_head_hidden_dim": 32},
        image_size=side,
        memory_attention_hidden_size=128,
        memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=64,
        memory_attention_rope_feat_sizes=[side // 16] * 2,
        memory_encoder_hidden_size=128,
        memory_encoder_output_channels=64,  # attention to memories is made for 64
        mask_downsampler_embed_dim=128,
        memory_fuser_num_layers=1,
        memory_fuser_embed_dim=128,
        memory_fuser_intermediate_dim=64,
    )


def save_sam_3(folder: Path, *, whole: bool) -> Path:
    """Build the tracker of a SAM 3 and save it, alone or (`whole`) in a model with its detector, as it is published."""
    from transformers import Sam3TrackerVideoConfig, Sam3TrackerVideoModel, Sam3VideoConfig, Sam3VideoModel

    torch.manual_seed(0)
    side, patch = 112, 14
    backbone = {
        "model_type": "sam3_vit_model",
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": side,
        "patch_size": patch,
        "window_size": 4,
        "global_attn_indexes": [1],
        "pretrain_image_size": 56,
    }
    vision = {
        "model_type": "sam3_vision_model",
        "backbone_config": backbone,
        "fpn_hidden_size": 128,
        "backbone_feature_sizes": [[times * side // patch] * 2 for times in (4, 2, 1)],
    }
    sizes = segmenter_config().to_dict()
    kept = {
        name: value for name, value in sizes.items() if name.startswith(("memory_", "mask_downsampler")) and "rope" not in name
    }
    tracker = {
        **kept,
        "vision_config": vision,
        "prompt_encoder_config": {"hidden_size": 128, "image_size": side},
        "mask_decoder_config": {"hidden_size": 128, "mlp_dim": 32, "num_attention_heads": 4, "iou_head_hidden_dim": 32},
        "image_size": side,
    }
    if not whole:
        network: Any = Sam3TrackerVideoModel(Sam3TrackerVideoConfig(**tracker))
        score = network.mask_decoder.pred_obj_score_head.proj_out
    else:
        small = {"hidden_size": 128, "num_layers": 1, "num_attention_heads": 4, "intermediate_size": 32}
        text = {"model_type": "clip_text_model", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
        detector = {
            "vision_config": vision,
            "text_config": {**text, "intermediate_size": 32, "vocab_size": 50, "projection_dim": 32},
            "geometry_encoder_config": small,
            "detr_encoder_config": small,
            "detr_decoder_config": {**small, "num_queries": 5},
            "mask_decoder_config": {"hidden_size": 128, "num_attention_heads": 4},
        }
        network = Sam3VideoModel(Sam3VideoConfig(detector_config=detector, tracker_config=tracker))
        score = network.tracker_model.mask_decoder.pred_obj_score_head.proj_out
    with torch.no_grad():
        score.weight.zero_()
        score.bias.fill_(5)
    # As published; what saves a model of several parts puts their names in twice.
    network.config.save_pretrained(folder)
    save_file({name: value.clone() for name, value in network.state_dict().items()}, folder / "model.safetensors")
    return folder


def check_refused(load: Callable[[Path, torch.device], object], folder: Path, change: dict[str, object], words: str) -> None:
    """Change a folder's description, and check that loading it is refused in one line."""
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(UserError, match=words) as problem:
        load(folder, torch.device("cpu"))
    assert "\n" not in str(problem.value)


def save_grounding_dino(folder: Path, seed: int = 0) -> Path:
    """Build a Grounding DINO whose tokenizer knows letters and a few words, and save both."""
    from transformers import BertTokenizer, GroundingDinoConfig, GroundingDinoForObjectDetection

    torch.manual_seed(seed)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "a", "swan", "duck", "black"]
    letters = [mark + letter for letter in "abcdefghijklmnopqrstuvwxyz" for mark in ("", "##")]
    vocabulary = dict.fromkeys([*words, *letters])
    config = GroundingDinoConfig(
        backbone_config={
            "model_type": "swin",
            "embed_dim": 8,
            "depths": [1, 1, 1, 1],
            "num_heads": [1, 1, 2, 2],
            "window_size": 4,
            "out_indices": [2, 3, 4],
        },
        text_config={
            "model_type": "bert",
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 16,
            "vocab_size": len(vocabulary),
        },
        num_queries=20,
        encoder_layers=1,
        decoder_layers=2,
        d_model=32,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        num_feature_levels=4,
    )
    network = GroundingDinoForObjectDetection(config)
    network.save_pretrained(folder)
    BertTokenizer(vocab={word: number for number, word in enumerate(vocabulary)}).save_pretrained(folder)
    return folder


def save_owl(folder: Path, seed: int = 0) -> Path:
    """Build an OWLv2 whose tokenizer knows letters, and save both."""
    from transformers import CLIPTokenizer, Owlv2Config, Owlv2ForObjectDetection

    torch.manual_seed(seed)
    letters = "abcdefghijklmnopqrstuvwxyz"
    vocabulary = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Owlv2Config(
        text_config={**sizes, "vocab_size": 54, "max_position_embeddings": 16, "bos_token_id": 52, "eos_token_id": 53},
        vision_config={**sizes, "image_size": 64, "patch_size": 16},
        projection_dim=16,
    )
    network = Owlv2ForObjectDetection(config)
    with torch.no_grad():
        for layer in (network.class_head.logit_shift, network.class_head.logit_scale, network.box_head.dense2):
            layer.weight.zero_()
            layer.bias.zero_()
        network.class_head.logit_shift.bias.fill_(3)  # it is sure of every patch, and gives the patch for a box
    network.save_pretrained(folder)
    tokenizer = CLIPTokenizer({name: number for number, name in enumerate(vocabulary)}, [], model_max_length=16)
    tokenizer.save_pretrained(folder)
    return folder


def save_salience(
    file: Path,
    *,
    shape: tuple[Any, ...] = (1, 3, 64, 96),
    logits: bool = False,
    whole_numbers: bool = False,
    several_inputs: bool = False,
    flat: bool = False,
    infinite: bool = False,
) -> Path:
    """Write a network that finds red salient: the sigmoid of 12 (red - green - 1/2), as one of ISNet's outputs."""
    import onnx
    from onnx import TensorProto, helper

    channels = shape[1] if len(shape) > 1 and isinstance(shape[1], int) else 3
    weights = [12.0, -12.0, 0.0, *[0.0] * channels][:channels]
    scale = [float("inf")] if infinite else [-6.0]
    nodes = [helper.make_node("Cast", ["picture"], ["floats"], to=TensorProto.FLOAT)]
    nodes += [helper.make_node("Conv", ["floats", "weights", "bias"], ["logits"], kernel_shape=[1, 1])]
    nodes += [] if logits else [helper.make_node("Sigmoid", ["logits"], ["mask"])]
    name = "logits" if logits else "mask"
    if flat:
        nodes.append(helper.make_node("ReduceMean", [name], ["flat"], keepdims=0))
        name = "flat"
    inputs = [helper.make_tensor_value_info("picture", TensorProto.INT64 if whole_numbers else TensorProto.FLOAT, shape)]
    if several_inputs:
        inputs.append(helper.make_tensor_value_info("size", TensorProto.FLOAT, [2]))
    graph = helper.make_graph(
        nodes,
        "salience",
        inputs,
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)],
        [
            helper.make_tensor("weights", TensorProto.FLOAT, [1, channels, 1, 1], weights),
            helper.make_tensor("bias", TensorProto.FLOAT, [1], scale),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)
    return file
