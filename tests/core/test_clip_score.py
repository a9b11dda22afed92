"""CLIP scores on a random CLIP: `pytest tests/core/test_clip_score.py`."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from core.tiny_judges import save_clip
from core.tiny_vlm import picture

from reflectionflow_core.protocols import Silent
from reflectionflow_core.record import InputError
from reflectionflow_core.verifiers.clip_score import load_clip_score

PICTURES = [picture("red", (40, 60)), picture("blue"), picture("green", (70, 33))]


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    return save_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return shutil.copytree(saved, tmp_path / "clip")


def test_a_score_is_the_scaled_cosine_of_picture_and_text(saved: Path) -> None:
    verifier = load_clip_score(saved, device="cpu", batch_size=2)
    verdicts = verifier.verify("a red circle", PICTURES)
    text = verifier.tokenizer("a red circle", return_tensors="pt")
    scores = []
    for image in PICTURES:
        pixels = verifier.image_processor(images=image, return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            seen = verifier.model(**text, pixel_values=pixels)
        cosine = torch.nn.functional.cosine_similarity(seen.image_embeds, seen.text_embeds)
        scores.append(float(cosine * verifier.model.logit_scale.exp()))
    assert [verdict.score for verdict in verdicts] == pytest.approx(scores, abs=1e-4)
    assert len(set(scores)) == 3
    assert all(verdict.passed is None for verdict in verdicts)


def test_a_long_prompt_is_cut_and_the_user_is_told(saved: Path) -> None:
    verifier = load_clip_score(saved, device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        verifier.verify("a" * 75, PICTURES[:1])
    with pytest.warns(UserWarning, match=r"first 77 of the prompt's 102 tokens"):
        cut = verifier.verify("a" * 100, PICTURES[:1])
    with pytest.warns(UserWarning, match="or use another verifier"):
        assert verifier.verify("a" * 100 + "b", PICTURES[:1])[0].score == cut[0].score


def test_scoring_reports_and_can_be_cancelled(saved: Path) -> None:
    reports = []

    class Watch(Silent):
        def report(self, phase: str, done: int, total: int, preview: Any = None) -> None:
            reports.append((phase, done, total))

        def check(self) -> None:
            if reports:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_clip_score(saved, device="cpu", batch_size=2).verify("a", PICTURES, Watch())
    assert reports == [("verify", 2, 3)]


def test_the_processor_may_lie_in_another_folder(folder: Path, saved: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"):
        (folder / name).unlink()
    expected = load_clip_score(saved, device="cpu").verify("a", PICTURES)
    assert load_clip_score(folder, saved, device="cpu").verify("a", PICTURES) == expected
    with pytest.raises(InputError, match=r"has no tokenizer .* as its processor"):
        load_clip_score(folder, device="cpu")
    with pytest.raises(InputError, match=r"nowhere has no tokenizer"):
        load_clip_score(saved, folder / "nowhere")


def test_what_is_no_clip_or_damaged_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no folder .* Give the folder of a CLIP, PickScore"):
        load_clip_score(tmp_path / "nowhere")
    with pytest.raises(InputError, match="cannot be loaded in nf4"):
        load_clip_score(folder, dtype="nf4")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(InputError, match=r"processor in .* could not be loaded"):
        load_clip_score(folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(InputError, match=r"is damaged .*Download it again"):
        load_clip_score(folder)
    (folder / "config.json").write_text('{"model_type": "siglip"}')
    weights.unlink()
    with pytest.raises(InputError, match=r"weight file .* is missing"):
        load_clip_score(folder)


def test_another_kind_of_model_is_named(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "siglip"}')
    with pytest.raises(InputError, match=r"holds a siglip, not a CLIP\. Give the folder of a CLIP"):
        load_clip_score(folder)
