"""Training a reflection writer, tiny: `pytest tests/train/test_writer_training.py`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from asking import about
from PIL import Image
from safetensors.torch import load_file
from train_judges import RUN, At, cut, kill, killed_in, losses

from reflectionflow_core.miniature.verifier import ExactVerifier
from reflectionflow_core.record import Candidate, InputError, Verdict
from reflectionflow_core.vlm.folder import load_processor
from reflectionflow_core.vlm.interface import Question
from reflectionflow_core.vlm.local import load_vlm
from reflectionflow_core.vlm.prompts import encode
from reflectionflow_core.writers.reflection_generator import REQUEST, ReflectionGeneratorWriter
from reflectionflow_core.writers.template import TemplateWriter
from train.journal import records
from train.miniature.shards import write_shard
from train.qwen import guarded
from train.qwen.data import Usable
from train.qwen.guarded import checkpoints, latest, measured, train_on
from train.qwen.run import qwen_run
from train.qwen.tiny import miniature_words, save_tiny
from train.triplets import Triplets
from train.writer.chats import FileChats, TripletChats
from train.writer.measure import WriterGain
from train.writer.settings import GainSettings, WriterSettings
from train.writer.trainer import ChatCollator
from train.writer.training import setup, train


def settings_in(out: Path, **given: Any) -> WriterSettings:
    values = {**RUN, "out": out, "answers": 2, "max_answer": 12, **given}
    return WriterSettings.model_validate(values)


def run_with(settings: WriterSettings, callback: At) -> None:
    with qwen_run(settings):
        trainer = setup(settings)
        trainer.add_callback(callback)
        train_on(trainer)


MEASURED = {"full": {"during": 2, "batch": 2}, "lora": {}}


@pytest.fixture(scope="module", params=["full", "lora"])
def whole_run(request, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    settings = settings_in(folder, tuning=request.param, gain=MEASURED[request.param])
    train(settings)
    return settings.out


def test_a_run_leaves_a_writer_that_loads_and_a_card(whole_run) -> None:
    vlm = load_vlm(whole_run / "model", dtype="fp32", device="cpu")
    flawed = Candidate(Image.new("RGB", (64, 64), "red"), "a blue square", 0, Verdict(0.0))
    (words,) = ReflectionGeneratorWriter(vlm).reflect("a blue square", about([flawed]))
    assert isinstance(words, str)
    gains = [found["gain"] for found in measured(whole_run) if "gain" in found]
    if json.loads((whole_run / "settings.json").read_text())["gain"]["during"]:
        assert [found["pictures"] for found in gains] == [2, 2, 2]  # before, during and at the end
        assert gains[0]["empty"] == gains[2]["empty"]
    else:
        assert not gains
    card = (whole_run / "model" / "README.md").read_text()
    assert f"{measured(whole_run)[-1]['loss']:.3f}" in card
    assert str(whole_run.parent) not in card  # a path of this machine
    values = (whole_run / "model" / "processor_config.json").read_text()
    assert "WithoutFilms" not in values and str(whole_run.parent) not in values


def test_training_changes_the_weights_that_are_saved(whole_run) -> None:
    before = load_file(whole_run / "base" / "model.safetensors")
    after = load_file(whole_run / "model" / "model.safetensors")
    assert set(before) == set(after)
    name = next(n for n in before if n.endswith("layers.0.self_attn.q_proj.weight"))
    assert not torch.equal(before[name], after[name])


def test_a_finished_run_trains_no_more_and_its_writer_can_be_made_again(whole_run) -> None:
    tuning = json.loads((whole_run / "settings.json").read_text())["tuning"]
    file = whole_run / "model" / "model.safetensors"
    expected = load_file(file)
    file.unlink()
    train(settings_in(whole_run, tuning=tuning))
    assert [folder.name for folder in checkpoints(whole_run)] == ["checkpoint-3", "checkpoint-6"]
    again = load_file(file)
    assert all(torch.equal(again[name], expected[name]) for name in expected)


def test_an_interrupted_run_resumes_bit_for_bit(whole_run, tmp_path) -> None:
    tuning = json.loads((whole_run / "settings.json").read_text())["tuning"]
    settings = settings_in(tmp_path / "cut", tuning=tuning)
    with pytest.raises(KeyboardInterrupt):
        run_with(settings, At(5, cut))
    assert [folder.name for folder in checkpoints(settings.out)] == ["checkpoint-3"]
    train(settings)
    expected = losses(whole_run / "checkpoint-6")
    assert len(expected) == 6 == len(set(expected))
    assert losses(settings.out / "checkpoint-6") == expected
    tokens = [
        [found["num_tokens"] for found in records(out / "log.jsonl") if "num_tokens" in found]
        for out in (settings.out, whole_run)
    ]
    assert tokens[0] == tokens[1]
    ours, theirs = (
        load_file(out / "model" / "model.safetensors") for out in (settings.out, whole_run)
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_killed_run_resumes_from_a_whole_checkpoint(tmp_path) -> None:
    settings = settings_in(tmp_path / "killed")
    with pytest.raises(KeyboardInterrupt):
        run_with(settings, At(4, cut))

    def work() -> None:
        guarded.publish = kill
        train(settings)

    assert killed_in(work)
    assert latest(settings.out) == settings.out / "checkpoint-3"
    train(settings)
    assert latest(settings.out) == settings.out / "checkpoint-6"


@pytest.mark.slow
def test_sharded_weights_are_saved_whole_and_resumed(tmp_path) -> None:
    out = tmp_path / "run"
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_FSDP": "true",
        "FSDP_VERSION": "2",
        "FSDP_RESHARD_AFTER_FORWARD": "true",
        "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
        "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
    }
    two = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    program = str(Path(__file__).with_name("sharded_writer.py"))
    paths = f"{Path(__file__).parents[2]}:{Path(__file__).parents[1]}"
    for steps in ("3", "4"):
        done = subprocess.run(
            [*two, program, str(out), steps],
            env={**environment, "PYTHONPATH": paths},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
    assert [found["step"] for found in measured(out)] == [0, 3, 4]
    losses = [found["loss"] for found in measured(out)]
    assert losses[0] > losses[1] >= losses[2]  # the rate had fallen to 0
    saved, kept = load_file(out / "model" / "model.safetensors"), latest(out)
    assert kept and all(
        torch.equal(tensor, saved[name])
        for name, tensor in load_file(kept / "model.safetensors").items()
    )


def test_a_loss_that_is_not_finite_stops_with_step_and_samples(tmp_path) -> None:
    settings = settings_in(tmp_path / "run")

    def spoil(model: Any) -> None:
        with torch.no_grad():
            model.lm_head.weight.fill_(torch.nan)

    with pytest.raises(InputError, match=r"nan at step 5, in the samples 0000\d\d, 0000\d\d\. "):
        run_with(settings, At(5, spoil))
    assert latest(settings.out) == settings.out / "checkpoint-3"


@pytest.fixture(scope="module")
def processor(tmp_path_factory) -> Any:
    return load_processor(save_tiny(tmp_path_factory.mktemp("base"), miniature_words()))


def test_a_batch_asks_what_the_writer_will_ask_and_learns_the_answer_alone(
    processor, tmp_path
) -> None:
    write_shard(tmp_path / "some.tar", 3, ["colors", "counting"], seed=3)
    chats = TripletChats(Triplets([tmp_path / "some.tar"]))
    settings = settings_in(tmp_path, max_answer=100)
    collator = ChatCollator(processor, {"learnt": Usable(chats, range(3))}, settings)
    batch = collator([{"side": "learnt", "images": number} for number in range(3)])
    for number in range(3):
        chat, row = chats.read(number), batch["labels"][number]
        answer = processor.tokenizer.decode(row[row != -100])
        assert answer == f"{chat.answer}<|im_end|>"
        mask = batch["attention_mask"][number].bool() & (row == -100)
        asked = encode(processor, [Question(chat.request, (chat.picture,))], 4096)
        assert batch["input_ids"][number][mask].tolist() == asked["input_ids"][0].tolist()
        assert chat.request == REQUEST.format(prompt=chat.prompt)


def test_an_answer_that_is_too_long_is_cut_without_an_end(processor, tmp_path) -> None:
    write_shard(tmp_path / "some.tar", 1, ["colors"], seed=3)
    chats = TripletChats(Triplets([tmp_path / "some.tar"]))
    collator = ChatCollator(
        processor, {"learnt": Usable(chats, [0])}, settings_in(tmp_path, max_answer=2)
    )
    labels = collator([{"side": "learnt", "images": 0}])["labels"][0]
    assert (labels != -100).sum() == 2
    assert processor.tokenizer.eos_token_id not in labels


def test_chats_of_the_data_engine_are_learnt_and_what_is_wrong_with_some_is_counted(
    tmp_path,
) -> None:
    Image.new("RGB", (64, 64), "red").save(tmp_path / "red.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG and no more")

    def row(asked: Any, answer: str, image: str = "red.png") -> dict[str, Any]:
        said = [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
        return {"messages": said, "images": [image]}

    request = REQUEST.format(prompt="a blue circle")
    parts = [{"type": "image"}, {"type": "text", "text": request}]
    long = REQUEST.format(prompt="word " * 2000)
    rows = [
        row(f"<image>\n{request}", "recolor it blue"),
        row(parts, "recolor it blue"),
        row(long, "w " * 5000),
        row(request, "  "),
        row(request, "x", "broken.png"),
        row(request, "x", "nowhere.png"),
        {"messages": [], "images": ["red.png"]},
        {"messages": None},
    ]
    file = tmp_path / "writer.jsonl"
    file.write_text("".join(f"{json.dumps(values)}\n" for values in rows))
    chats = FileChats(file)
    for number in (0, 1):
        chat = chats.read(number)
        assert (chat.request, chat.answer) == (request, "recolor it blue")
        assert chat.prompt == "a blue circle"
    assert len(set(chats.prompts[[0, 1, 3, 4, 5]].tolist())) == 1
    assert chats.prompts[6:].tolist() == [0, 0]
    held = tmp_path / "held.jsonl"
    held.write_text(json.dumps(row(REQUEST.format(prompt="a cat"), "recolor it")))
    given = {"data": str(file), "held_out": str(held), "steps": 8, "answers": 0}
    card = (train(settings_in(tmp_path / "run", **given)) / "README.md").read_text()
    for reason in (
        "reflection empty",
        "picture unreadable",
        "picture missing",
        "not one message of the user",
        "not one picture",
    ):
        assert reason in card


def test_the_gain_tells_a_writer_that_sees_from_one_that_says_nothing(tmp_path) -> None:
    write_shard(tmp_path / "some.tar", 12, ["colors"], seed=0, held_out=True)
    triplets = Triplets([tmp_path / "some.tar"])
    chats = Usable(TripletChats(triplets), range(12))

    class Knows:
        calls = 0

        def reflect(self, prompt: str, requests: Any, progress: Any = None) -> list[str]:
            assert not requests[0].required_parent.verdict.unmet
            seen = requests[0].required_parent.image.tobytes()
            return [t.reflection for t in triplets if t.bad.tobytes() == seen][:1]

    class Silent:
        calls = 0

        def reflect(self, prompt: str, requests: Any, progress: Any = None) -> list[str]:
            return [""]

    class Endless(Silent):
        def reflect(self, prompt: str, requests: Any, progress: Any = None) -> list[str]:
            return ["a red circle " * 300]

    gain = WriterGain(chats, GainSettings(pictures=12, batch=12))
    known, silent = gain(Knows()), gain(Silent())
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        gain(Endless())  # which T5 would warn of
    assert known["leads"]["empty"]["low"] > 0
    assert known["template"]["mean"] > known["empty"]["mean"]
    assert silent["writer"] == silent["empty"] == known["empty"]


@pytest.mark.parametrize("judged", [range(1, 10**6), range(6), range(0)])
def test_a_gain_leaves_out_and_counts_what_was_not_judged(tmp_path, monkeypatch, judged) -> None:
    write_shard(tmp_path / "some.tar", 3, ["colors"], seed=0, held_out=True)
    chats = Usable(TripletChats(Triplets([tmp_path / "some.tar"])), range(3))
    seen = iter(range(10**6))
    exact = ExactVerifier.verify

    def verify(self: Any, prompt: str, images: Any, progress: Any = None) -> list[Verdict]:
        known = exact(self, prompt, images)
        return [v if next(seen) in judged else Verdict.unjudged("It is dark.") for v in known]

    monkeypatch.setattr(ExactVerifier, "verify", verify)
    asked = GainSettings(pictures=3, batch=3)
    if len(judged) < 13:
        with pytest.raises(InputError, match="0 of 3 pictures could be judged: "):
            WriterGain(chats, asked)(TemplateWriter())
    else:
        found = WriterGain(chats, asked)(TemplateWriter())
        assert (found["pictures"], found["not_judged"]) == (2, 1)


def test_a_gain_without_prompts_is_refused(tmp_path) -> None:
    Image.new("RGB", (64, 64), "red").save(tmp_path / "red.png")
    said = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "Red."}]
    file = tmp_path / "writer.jsonl"
    file.write_text(json.dumps({"messages": said, "images": ["red.png"]}))
    chats = Usable(FileChats(file), [0])
    with pytest.raises(InputError, match="has a prompt"):
        WriterGain(chats, GainSettings(pictures=1))
