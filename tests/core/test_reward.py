"""The published reward model, in a tiny copy: `pytest tests/core/test_reward.py`."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from core.tiny_vlm import picture, save_vlm
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AddedToken, Qwen2_5_VLForConditionalGeneration

from reflectionflow_core.flux.lora_settings import adapter_settings
from reflectionflow_core.protocols import Silent
from reflectionflow_core.record import InputError
from reflectionflow_core.verifiers.reward import TOKEN, RewardVerifier, load_reward
from reflectionflow_core.verifiers.reward_folder import RewardSettings, load_checkpoint
from reflectionflow_core.vlm.folder import load_processor

PROMPT = "a red circle"
TEMPLATE = f"Is it {{text_prompt}}\n yes or no {TOKEN}"
PICTURES = [picture("red", (84, 56)), picture("blue"), picture("green", (112, 140))]
MEAN, STD, ALPHA, RANK = 0.3, 2.0, 6.0, 3
CONFIG = {
    "data_config": {"max_frame_pixels": 84 * 84, "prompt_template_type": "detailed_special"},
    "model_config": {"use_special_tokens": True, "output_dim": 1, "reward_token": "special"},
    "peft_lora_config": {"lora_alpha": ALPHA, "lora_r": RANK, "use_rslora": False},
    "inference_config": {"VQ_mean": MEAN, "VQ_std": STD},
}


@dataclass
class Trained:
    """What a training left: a model, its head, and LoRAs by the module that they belong to."""

    model: Any
    head: Tensor
    loras: dict[str, tuple[Tensor, Tensor]]
    processor: Any

    def scores(self, lora: bool = True, as_text: bool = True) -> list[float]:
        """Without any of our code: hooks, one picture at a time, positions of plain text."""
        hooks = []
        for name, (down, up) in self.loras.items():

            def add(_: nn.Module, given: Any, out: Tensor, down=down, up=up) -> Tensor:
                return out + given[0] @ down.T @ up.T * (ALPHA / RANK)

            if lora:
                hooks.append(self.model.get_submodule(name).register_forward_hook(add))
        scores = [self._score(image, as_text) for image in PICTURES]
        for hook in hooks:
            hook.remove()
        return scores

    def _score(self, image: Any, as_text: bool) -> float:
        text = TEMPLATE.replace("{text_prompt}", PROMPT)
        said = f"<|vision_start|><|image_pad|><|vision_end|>{text}<|im_end|>\n"
        batch = self.processor(
            text=[f"<|im_start|>user\n{said}<|im_start|>assistant\n"],
            images=[image],
            size={"shortest_edge": 56 * 56, "longest_edge": 84 * 84},
            return_tensors="pt",
        )
        ids = batch["input_ids"]
        places = torch.arange(ids.shape[1]).view(1, 1, -1).expand(3, 1, -1)
        positions = places if as_text else None  # None: the model finds its own for pictures
        with torch.no_grad():
            hidden = self.model.model(**batch, position_ids=positions).last_hidden_state[0]
        place = ids[0].tolist().index(self.processor.tokenizer.convert_tokens_to_ids(TOKEN))
        return (float(hidden[place] @ self.head[0]) - MEAN) / STD


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return save_vlm(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def trained(base: Path) -> Trained:
    model: Any = Qwen2_5_VLForConditionalGeneration.from_pretrained(base, dtype=torch.float32)
    processor = load_processor(base)
    processor.tokenizer.add_tokens([AddedToken(TOKEN, special=True)], special_tokens=True)
    model.resize_token_embeddings(len(processor.tokenizer), mean_resizing=False)
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in (*model.model.visual.parameters(), model.get_input_embeddings().weight):
            parameter.add_(torch.randn_like(parameter) * 0.05)
    linear = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and "language_model" in name
    }
    loras = {
        name: (
            torch.randn(RANK, module.in_features) * 0.2,
            torch.randn(module.out_features, RANK) * 0.2,
        )
        for name, module in linear.items()
    }
    return Trained(model.eval(), torch.randn(1, 32) * 0.1, loras, processor)


def old(name: str) -> str:
    """As the libraries of 2025 named it."""
    name = name.replace("model.visual.", "visual.").replace("model.language_model.", "model.")
    return f"base_model.model.{name}"


def save_whole(trained: Trained, folder: Path) -> None:
    state = {old("rm_head.weight"): trained.head}
    for name, tensor in trained.model.state_dict().items():
        module, _, kind = name.rpartition(".")
        state[old(f"{module}.base_layer.{kind}" if module in trained.loras else name)] = tensor
    for name, (down, up) in trained.loras.items():
        state[old(f"{name}.lora_A.default.weight")] = down
        state[old(f"{name}.lora_B.default.weight")] = up
    torch.save(state, folder / "model.pth")


def save_parts(trained: Trained, folder: Path) -> None:
    loras = {}
    for name, (down, up) in trained.loras.items():
        loras |= {old(f"{name}.lora_A.weight"): down, old(f"{name}.lora_B.weight"): up}
    save_file(loras, folder / "adapter_model.safetensors")
    rest = {
        old(name): tensor.clone()
        for name, tensor in trained.model.state_dict().items()
        if "visual" in name or "embed_tokens" in name
    }
    torch.save({**rest, old("rm_head.weight"): trained.head}, folder / "non_lora_state_dict.pth")


FORMS = {"whole": save_whole, "parts": save_parts}


def publish(trained: Trained, form: str, folder: Path) -> Path:
    checkpoint = folder / "checkpoint-10080"
    checkpoint.mkdir(parents=True)
    FORMS[form](trained, checkpoint)
    (folder / "model_config.json").write_text(json.dumps(CONFIG))
    (folder / "words.txt").write_text(TEMPLATE)
    return folder


@pytest.fixture(scope="module", params=FORMS)
def published(request, trained: Trained, tmp_path_factory) -> Path:
    return publish(trained, request.param, tmp_path_factory.mktemp(request.param) / "verifier")


@pytest.fixture
def folder(published: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return shutil.copytree(published, tmp_path / "verifier")


def load(folder: Path, base: Path, **options: Any) -> RewardVerifier:
    given = {"dtype": "fp32", "device": "cpu", "template": folder / "words.txt"} | options
    return load_reward(folder, base, **given)


def test_both_published_forms_score_as_the_model_that_was_trained(published, base, trained) -> None:
    expected = trained.scores()
    verdicts = load(published, base).verify(PROMPT, PICTURES)
    assert [verdict.score for verdict in verdicts] == pytest.approx(expected, abs=1e-5)
    assert all(verdict.passed is None for verdict in verdicts)
    for control in (trained.scores(lora=False), trained.scores(as_text=False)):
        assert control != pytest.approx(expected, abs=1e-3)


def test_pictures_are_scored_the_same_together_and_alone(published, base) -> None:
    verifier = load(published, base, batch_size=3)
    together = verifier.scores(PROMPT, PICTURES)
    alone = [verifier.scores(PROMPT, [image])[0] for image in PICTURES]
    assert together == pytest.approx(alone, abs=1e-5)
    assert len(set(together)) == 3
    assert verifier.scores("a blue circle", PICTURES) != pytest.approx(together, abs=1e-4)


def test_a_reward_token_in_a_prompt_is_no_second_score(published, base) -> None:
    scores = load(published, base).scores(f"{TOKEN} {PROMPT} {TOKEN}", PICTURES)
    assert len(scores) == 3


def test_verifying_reports_and_can_be_cancelled(published, base) -> None:
    class Watch(Silent):
        def __init__(self) -> None:
            self.reports: list[tuple[str, int, int]] = []

        def report(self, phase: str, done: int, total: int, preview: Any = None) -> None:
            self.reports.append((phase, done, total))

        def check(self) -> None:
            if len(self.reports) == 2:
                raise KeyboardInterrupt

    verifier = load(published, base, batch_size=1)
    watch = Watch()
    with pytest.raises(KeyboardInterrupt):
        verifier.verify(PROMPT, PICTURES, watch)
    assert watch.reports == [("verify", 1, 3), ("verify", 2, 3)]


def test_the_settings_may_be_given_or_left_to_defaults(folder, base, trained) -> None:
    expected = trained.scores()
    elsewhere = folder.parent / "given.json"
    (folder / "model_config.json").rename(elsewhere)
    given = load(folder, base, settings=elsewhere)
    assert given.scores(PROMPT, PICTURES) == pytest.approx(expected, abs=1e-5)
    plain = load(folder, base)
    assert (plain.settings.lora.alpha, plain.settings.mean, plain.settings.std) == (32, 0, 1)
    peft = {"lora_alpha": ALPHA, "use_rslora": False}
    (folder / "checkpoint-10080" / "adapter_config.json").write_text(json.dumps(peft))
    assert load(folder, base).settings.lora.alpha == ALPHA
    with pytest.raises(InputError, match=r"does not exist\. Give the model_config\.json"):
        load(folder, base, settings=folder / "nowhere.json")


def test_what_the_model_does_not_know_is_refused_by_name(trained, base, tmp_path) -> None:
    folder = publish(trained, "whole", tmp_path / "verifier")
    file = folder / "checkpoint-10080" / "model.pth"
    state = torch.load(file)
    torch.save({**state, "base_model.model.surprise.weight": torch.zeros(1)}, file)
    with pytest.raises(InputError, match=r"does not know surprise\.weight\. Give"):
        load(folder, base)
    missing = old("model.visual.merger.ln_q.weight")
    torch.save({k: v for k, v in state.items() if k != missing}, file)
    with pytest.raises(InputError, match=r"has no weights for visual\.merger\.ln_q\.weight"):
        load(folder, base)
    torch.save({**state, missing: torch.zeros(3)}, file)
    with pytest.raises(InputError, match=r"another shape for visual\.merger\.ln_q\.weight"):
        load(folder, base)
    torch.save({k: v for k, v in state.items() if "rm_head" not in k}, file)
    with pytest.raises(InputError, match=r"has no rm_head\.weight"):
        load(folder, base)
    halved = {k: v for k, v in state.items() if "0.self_attn.q_proj.lora_B" not in k}
    torch.save(halved, file)
    with pytest.raises(InputError, match="lora_A or lora_B"):
        load(folder, base)


class Toy(nn.Module):
    """Parts of the model under the name that their parent had, then and now."""

    def __init__(self, parent: str) -> None:
        super().__init__()
        parts = {"embed_tokens": nn.Embedding(7, 4), "norm": nn.Linear(4, 5)}
        setattr(self, parent, nn.ModuleDict(parts))
        self.rm_head = nn.Linear(5, 1, bias=False)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("peft_lora_config", {"lora_alpha": None}, "setting lora_alpha in .* is null"),
        ("peft_lora_config", {"lora_alpha": 4, "use_rslora": "no"}, 'use_rslora in .* is "no"'),
        ("peft_lora_config", [32], "peft_lora_config in .* is not an object"),
        ("inference_config", {"VQ_mean": "0"}, 'setting VQ_mean in .* is "0"'),
        ("data_config", {"max_frame_pixels": None}, "setting max_frame_pixels in .* is null"),
    ],
)
def test_settings_of_a_wrong_type_are_refused_by_name(
    folder, base, key: str, value: Any, message: str
) -> None:
    file = folder / "model_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
    with pytest.raises(InputError, match=message):
        load(folder, base)


def test_a_checkpoint_of_dora_is_refused_by_name(folder, base) -> None:
    (folder / "model_config.json").unlink()
    peft = folder / "checkpoint-10080" / "adapter_config.json"
    peft.write_text(json.dumps({"lora_alpha": ALPHA, "use_dora": True}))
    with pytest.raises(InputError, match="made with use_dora = true"):
        load(folder, base)


@pytest.mark.parametrize("stabilised", [False, True])
@pytest.mark.parametrize("alphas", [{}, {"norm": 5, "^model.embed_tokens": 2}])
def test_loras_are_merged_as_peft_merges_them(
    tmp_path: Path, stabilised: bool, alphas: dict[str, int]
) -> None:
    torch.manual_seed(0)
    lora = LoraConfig(
        r=2,
        lora_alpha=3,
        alpha_pattern=alphas,
        target_modules=["embed_tokens", "norm", "rm_head"],
        use_rslora=stabilised,
        init_lora_weights=False,
    )
    then: Any = get_peft_model(Toy("model"), lora)  # pyright: ignore[reportArgumentType]
    torch.save(then.state_dict(), tmp_path / "model.pth")
    said = {"lora_alpha": 3, "use_rslora": stabilised, "alpha_pattern": alphas}
    settings = RewardSettings(lora=adapter_settings(said, "the settings"))
    now = Toy("language_model").requires_grad_(False)
    del now.rm_head
    head = load_checkpoint(now, tmp_path, settings)
    merged = then.merge_and_unload().state_dict()
    assert torch.allclose(head, merged["rm_head.weight"], atol=1e-6)
    for name, tensor in now.state_dict().items():
        expected = merged[name.replace("language_model.", "model.")]
        assert torch.allclose(tensor, expected, atol=1e-6)


def test_a_token_without_weights_is_refused(trained, base, tmp_path) -> None:
    folder = publish(trained, "parts", tmp_path / "verifier")
    file = folder / "checkpoint-10080" / "non_lora_state_dict.pth"
    kept = {k: v for k, v in torch.load(file).items() if "embed_tokens" not in k}
    torch.save(kept, file)
    with pytest.raises(InputError, match=r"no weights for language_model\.embed_tokens"):
        load(folder, base)


def test_a_file_that_would_run_code_is_refused(trained, base, tmp_path) -> None:
    folder = publish(trained, "whole", tmp_path / "verifier")
    torch.save({"run": Path("/")}, folder / "checkpoint-10080" / "model.pth")
    with pytest.raises(InputError, match=r"damaged or holds more than weights.*no code in it"):
        load(folder, base)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (None, r"There is no text in .*words\.txt\. Give a file"),
        ("Is it {text_prompt}", r"VQ_reward\|> 0 times\. Put it once"),
        (f"Is it {TOKEN}", r"\{text_prompt\} 0 times"),
        (f"{TEMPLATE} {TOKEN}", r"VQ_reward\|> 2 times"),
    ],
)
def test_a_template_that_cannot_be_used_is_refused(folder, base, words, message) -> None:
    file = folder / "words.txt"
    file.unlink() if words is None else file.write_text(words)
    with pytest.raises(InputError, match=message):
        load(folder, base)


def test_folders_of_another_kind_are_refused(folder, base, tmp_path) -> None:
    with pytest.raises(InputError, match=r"is not a Qwen2\.5-VL\. Give"):
        load(folder, save_vlm(tmp_path / "other", "qwen3_vl"))
    with pytest.raises(InputError, match=r"holds neither model\.pth nor adapter_model"):
        load_reward(base, base, folder / "words.txt")
    with pytest.raises(InputError, match="cannot be merged into nf4"):
        load(folder, base, dtype="nf4")
    config = {**CONFIG, "model_config": {"use_special_tokens": False}}
    (folder / "model_config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="without the special token or with several"):
        load(folder, base)
