"""Detectors of random weights, saved and loaded: `pytest tests/core/test_detectors.py`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from core.tiny_vlm import picture
from PIL.Image import Image
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordPiece
from tokenizers.processors import TemplateProcessing
from transformers import (
    BertConfig,
    CLIPConfig,
    CLIPModel,
    CLIPTokenizer,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    Owlv2Config,
    Owlv2ForObjectDetection,
    PreTrainedTokenizerFast,
    SwinConfig,
)

from reflectionflow_core.protocols import SILENT, Progress
from reflectionflow_core.record import InputError
from reflectionflow_core.verifiers import detectors
from reflectionflow_core.verifiers.colours import ClipColours, cut_out, load_colours
from reflectionflow_core.verifiers.detectors import PictureByPicture, load_detector
from reflectionflow_core.verifiers.examiner import GenEvalExaminer
from reflectionflow_core.verifiers.geneval import COLOURS, Detection, Limits, Need, Task

NAMES = ("bench", "wine glass")
PICTURES = [picture("red", (40, 60)), picture("blue", (70, 33))]
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


SAVERS = {
    "mask2former": save_mask2former,
    "grounding-dino": save_grounding_dino,
    "owlv2": save_owlv2,
}


@pytest.fixture(scope="module", params=SAVERS)
def folder(request, tmp_path_factory) -> Path:
    return SAVERS[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture
def detector(folder: Path, monkeypatch) -> PictureByPicture:
    monkeypatch.setattr(detectors, "LEAST", 0.0)  # random weights are sure of nothing
    return load_detector(folder, device="cpu")


def test_finds_are_of_the_names_and_on_the_picture(detector: PictureByPicture) -> None:
    for image, found in zip(PICTURES, detector.detect(PICTURES, NAMES), strict=True):
        assert found
        for thing in found:
            assert thing.name in NAMES
            assert 0 < thing.score < 1
            left, top, right, bottom = thing.box
            assert left <= right and top <= bottom
            if thing.mask is not None:
                assert thing.mask.shape == (image.height, image.width)
                rows, columns = np.nonzero(thing.mask)
                assert (columns.min(), rows.min()) == (left, top)
                assert (columns.max() + 1, rows.max() + 1) == (right, bottom)


def test_the_same_picture_gives_the_same_finds_alone_and_among_others(
    detector: PictureByPicture,
) -> None:
    alone, among = detector.detect(PICTURES[1:], NAMES)[0], detector.detect(PICTURES, NAMES)[1]
    assert [(a.name, a.score, a.box) for a in alone] == [(a.name, a.score, a.box) for a in among]
    assert detector.detect(PICTURES, []) == [[], []]


def test_a_score_is_of_its_name_whatever_else_is_asked_for(detector: PictureByPicture) -> None:
    """Names asked in another order are the same names."""
    turned = detector.detect(PICTURES[:1], NAMES[::-1])[0]
    found = detector.detect(PICTURES[:1], NAMES)[0]
    if detector.find is detectors.grounding_dino:
        return  # it reads all names as one text, whose order it may heed
    assert sorted((a.name, round(a.score, 4)) for a in found) == sorted(
        (a.name, round(a.score, 4)) for a in turned
    )


def test_grounding_dino_knows_which_tokens_are_of_which_name(tmp_path: Path) -> None:
    detector = load_detector(save_grounding_dino(tmp_path), device="cpu")
    _, tokens = detectors._as_one_text(detector.sight, ["Wine Glass", "bench"])
    assert tokens == [[1, 2], [4]]  # after [CLS], with a full stop between


def test_mask2former_knows_geneval_names_by_other_names_and_refuses_strange_ones(
    tmp_path: Path,
) -> None:
    detector = load_detector(save_mask2former(tmp_path), device="cpu")
    labels = detector.sight.model.config.id2label
    assert detectors._classes(labels, ["couch", "wine glass"]) == [2, 1]
    with pytest.raises(InputError, match="'dragon'"):
        detector.detect(PICTURES[:1], ["dragon"])


def test_what_is_no_detector_or_damaged_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder"):
        load_detector(tmp_path / "none")
    other = tmp_path / "other"
    other.mkdir()
    save_owlv2(other)
    (other / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match="Mask2Former"):
        load_detector(other)
    whole = tmp_path / "whole"
    whole.mkdir()
    save_owlv2(whole)
    weights = whole / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(InputError, match="damaged"):
        load_detector(whole)


@pytest.fixture(scope="module")
def colours(tmp_path_factory) -> ClipColours:
    folder = tmp_path_factory.mktemp("clip")
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
    return load_colours(folder, device="cpu")


def test_the_colour_is_the_one_whose_texts_clip_holds_nearest(colours: ClipColours) -> None:
    image, box = picture("red", (40, 60)), (0.0, 0.0, 40.0, 60.0)
    (read,) = colours.colours(image, [Detection("cup", 0.9, box)])
    texts = ("a photo of a {} cup", "a photo of a {}-colored cup", "a photo of a {} object")
    scores = []
    for colour in COLOURS:
        # The same through CLIP's own forward, which knows nothing of ours.
        given = colours.clip.words([t.format(colour) for t in texts], padding=True)
        pixels = colours.clip.eyes(images=image, return_tensors="pt")["pixel_values"]
        ids, seen = torch.tensor(given["input_ids"]), torch.tensor(given["attention_mask"])
        out = colours.clip.model(input_ids=ids, attention_mask=seen, pixel_values=pixels)
        mean = out.text_embeds.mean(0)
        scores.append(float(out.image_embeds[0] @ mean / mean.norm()))
    assert read == COLOURS[int(np.argmax(scores))]


def test_a_thing_is_cut_out_with_grey_around_its_mask() -> None:
    image = picture("red", (20, 20))
    mask = np.zeros((20, 20), bool)
    mask[5:10, 5:8] = True
    part = cut_out(image, Detection("cup", 0.9, (4.0, 4.0, 10.0, 12.0), mask))
    assert part.size == (6, 8)
    assert part.getpixel((0, 0)) == (0x99, 0x99, 0x99)
    assert part.getpixel((2, 2)) == image.getpixel((6, 6))
    outside = cut_out(image, Detection("cup", 0.9, (-5.0, 30.0, -1.0, 40.0)))
    assert outside.size == (1, 1)


def test_an_examiner_asks_for_all_classes_of_a_task_and_needs_a_reader_for_colours() -> None:
    class OneCup:
        limits = Limits()

        def __init__(self) -> None:
            self.asked: list[str] = []

        def detect(
            self, images: Sequence[Image], names: Sequence[str], progress: Progress = SILENT
        ) -> list[list[Detection]]:
            self.asked += names
            return [[Detection("cup", 0.99, (0.0, 0.0, 9.0, 9.0))] for _ in images]

    detector = OneCup()
    task = Task("counting", (Need("cup"),), (Need("cup", 2), Need("dog", 1)))
    verdicts = GenEvalExaminer(detector, None).examine(task, PICTURES)
    assert [verdict.passed for verdict in verdicts] == [True, True]
    assert detector.asked == ["cup", "dog"]
    with pytest.raises(InputError, match="nobody reads colours"):
        GenEvalExaminer(detector, None).examine(Task("colors", (Need("cup", 1, "red"),)), PICTURES)
