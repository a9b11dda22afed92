"""Random detectors of some thousand weights, saved as the hub lays them out."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordPiece
from tokenizers.processors import TemplateProcessing
from transformers import (
    BertConfig,
    CLIPConfig,
    CLIPModel,
    CLIPTokenizer,
    DFineConfig,
    DFineForObjectDetection,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    HGNetV2Config,
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    Owlv2Config,
    Owlv2ForObjectDetection,
    PreTrainedTokenizerFast,
    RTDetrConfig,
    RTDetrForObjectDetection,
    RTDetrResNetConfig,
    SwinConfig,
)

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def swin() -> SwinConfig:
    levels: dict[str, Any] = {"out_features": ["stage1", "stage2", "stage3", "stage4"]}
    return SwinConfig(
        image_size=64,
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 2, 2],
        window_size=4,
        **levels,
    )


def save_eyes(folder: Path, kind: str, **settings: object) -> None:
    eyes = {"image_processor_type": kind, **settings}
    (folder / "preprocessor_config.json").write_text(json.dumps(eyes))


def save_mask2former(folder: Path) -> Path:
    config = Mask2FormerConfig(
        backbone_config=swin(),
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        dim_feedforward=16,
        num_queries=6,
        id2label={0: "bench", 1: "wineglass", 2: "sofa"},
        label2id={"bench": 0, "wineglass": 1, "sofa": 2},
    )
    torch.manual_seed(0)
    Mask2FormerForUniversalSegmentation(config).save_pretrained(folder)
    size = {"shortest_edge": 64, "longest_edge": 96}
    save_eyes(folder, "Mask2FormerImageProcessor", size=size, ignore_index=255)
    return folder


def save_grounding_dino(folder: Path) -> Path:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "bench", "wine", "glass"]
    core = Tokenizer(WordPiece({p: i for i, p in enumerate(pieces)}, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    words = PreTrainedTokenizerFast(tokenizer_object=core)
    words.save_pretrained(folder)
    text = BertConfig(
        vocab_size=len(pieces),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    config = GroundingDinoConfig(
        backbone_config=swin(),
        text_config=text,
        num_queries=7,
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        max_text_len=32,
    )
    torch.manual_seed(0)
    GroundingDinoForObjectDetection(config).save_pretrained(folder)
    size = {"shortest_edge": 64, "longest_edge": 96}
    save_eyes(folder, "GroundingDinoImageProcessor", size=size)
    return folder


def save_clip_words(folder: Path, ends: int) -> int:
    # OWLv2 takes a text that begins with token 0 for padding.
    pieces = [*LETTERS, *(f"{c}</w>" for c in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=ends).save_pretrained(folder)
    return len(pieces)


def save_owlv2(folder: Path) -> Path:
    small = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    text = {**small, "vocab_size": save_clip_words(folder, 16), "max_position_embeddings": 16}
    config = Owlv2Config(
        text_config={**text, "bos_token_id": 52, "eos_token_id": 53, "pad_token_id": 53},
        vision_config={**small, "image_size": 64, "patch_size": 16},
        projection_dim=16,
    )
    torch.manual_seed(0)
    Owlv2ForObjectDetection(config).save_pretrained(folder)
    save_eyes(folder, "Owlv2ImageProcessor", size={"height": 64, "width": 64})
    return folder


LABELS = {0: "bench", 1: "wineglass", 2: "sofa"}


def save_detr(folder: Path, model: Any, config: Any) -> Path:
    small = {
        "d_model": 16,
        "encoder_hidden_dim": 16,
        "encoder_in_channels": [16, 16, 16],
        "decoder_in_channels": [16, 16, 16],
        "encoder_ffn_dim": 16,
        "decoder_ffn_dim": 16,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "decoder_layers": 2,
        "num_queries": 7,
        "num_denoising": 0,
        "id2label": LABELS,
        "label2id": {label: number for number, label in LABELS.items()},
    }
    torch.manual_seed(0)
    model(config(**small)).save_pretrained(folder)
    save_eyes(folder, "RTDetrImageProcessor", size={"height": 64, "width": 64})
    return folder


def save_rt_detr(folder: Path) -> Path:
    sizes = {"embedding_size": 8, "hidden_sizes": [8, 16, 16, 16], "depths": [1, 1, 1, 1]}
    levels: dict[str, Any] = {"out_features": ["stage2", "stage3", "stage4"]}
    backbone = RTDetrResNetConfig(layer_type="basic", **sizes, **levels)
    return save_detr(
        folder, RTDetrForObjectDetection, partial(RTDetrConfig, backbone_config=backbone)
    )


def save_d_fine(folder: Path) -> Path:
    channels = {"stage_in_channels": [8, 8, 16, 16], "stage_out_channels": [8, 16, 16, 16]}
    levels: dict[str, Any] = {"out_features": ["stage2", "stage3", "stage4"]}
    backbone = HGNetV2Config(
        embedding_size=8,
        hidden_sizes=[8, 16, 16, 16],
        depths=[1, 1, 1, 1],
        stem_channels=[3, 8, 8],
        stage_mid_channels=[8, 8, 8, 8],
        stage_num_blocks=[1, 1, 1, 1],
        stage_numb_of_layers=[1, 1, 1, 1],
        **channels,
        **levels,
    )
    return save_detr(
        folder,
        DFineForObjectDetection,
        partial(DFineConfig, backbone_config=backbone, decoder_n_points=[2, 2, 2]),
    )


def save_clip(folder: Path) -> Path:
    small = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
    heads = {**small, "num_attention_heads": 2}
    ends = {"bos_token_id": 52, "eos_token_id": 53, "pad_token_id": 53}
    config = CLIPConfig(
        text_config={**heads, **ends, "vocab_size": save_clip_words(folder, 77)},
        vision_config={**heads, "image_size": 32, "patch_size": 16},
        projection_dim=8,
    )
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(folder)
    size, crop = {"shortest_edge": 32}, {"height": 32, "width": 32}
    save_eyes(folder, "CLIPImageProcessor", size=size, crop_size=crop)
    return folder
