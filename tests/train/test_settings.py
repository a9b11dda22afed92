"""Settings of the trainings as they are typed: what is wrong or changes nothing is refused."""

from __future__ import annotations

import subprocess
import sys

import pytest

from train.corrector.settings import CorrectorSettings
from train.data.settings import DataSettings
from train.editor.settings import EditorSettings
from train.latents.settings import LatentsSettings
from train.settings import described, fields_of, needs_of, settings_of
from train.verifier.settings import VerifierSettings
from train.writer.settings import WriterSettings

QWEN = ["out=run", "base=tiny", "data=miniature", "steps=1", "batch=1", "rate=1", "max_pixels=4096"]
NEEDED = {  # settings that have no default
    CorrectorSettings: ["data=shards"],
    EditorSettings: ["data=shards"],
    LatentsSettings: ["data=shards"],
    DataSettings: [],
    VerifierSettings: QWEN,
    WriterSettings: QWEN,
}
WITHOUT = "has no effect without"
REFUSED = [
    (CorrectorSettings, "stepps=3", "There is no setting stepps. The nearest is steps"),
    (CorrectorSettings, "optimiser.name=sgd", "does not fit"),
    (CorrectorSettings, f"out={'a' * 300}", "out is not a usable path: File name too long"),
    (CorrectorSettings, "lora.start=a\0b", "lora.start is not a usable path"),
    (CorrectorSettings, "gpu.name=A100", f"gpu.name {WITHOUT} --estimate"),
    (CorrectorSettings, "report.project=mine", f"report.project {WITHOUT} report.to=[wandb]"),
    (EditorSettings, "time_shifted=0.5", f"time_shifted {WITHOUT} time_shift, other than 1"),
    (EditorSettings, "validation.mended.vlm=mine", f"{WITHOUT} validation.mended.pictures=1 or"),
    (CorrectorSettings, ["lora.start=lora", "lora.rank=8"], f"lora.rank {WITHOUT} lora.start=null"),
    (
        CorrectorSettings,
        ["validation.pictures=0", "validation.guidance=2"],
        f"validation.guidance {WITHOUT} validation.pictures or",
    ),
    (DataSettings, ["filter.scorers=[]", "filter.margin=1"], f"filter.margin {WITHOUT} a verifier"),
    (LatentsSettings, "gpu.sharded=true", "There is no setting gpu.sharded"),
    (EditorSettings, "gpu.sharded=true", "There is no setting gpu.sharded"),
    (DataSettings, "gpu.count=3", "There is no setting gpu.count"),
    (LatentsSettings, "gpu.count=2", f"gpu.count {WITHOUT} --estimate"),
    (DataSettings, "rule.pairs=2", f"rule.pairs {WITHOUT} rule.prompts=1 or more"),
    (DataSettings, "editing.sets=[shapes]", f"editing.sets {WITHOUT} editing.pairs=1 or more"),
    (DataSettings, "reflections.vlm=folder", f"{WITHOUT} reflections.how=vlm"),
    (DataSettings, "assumptions.kept=0.5", f"assumptions.kept {WITHOUT} --estimate"),
    (VerifierSettings, "held_out_share=0.5", f"{WITHOUT} held_out=null, and data other than"),
    (VerifierSettings, "gpu.sharded=true", "There is no setting gpu.sharded"),
    (WriterSettings, "lora_rank=4", f"lora_rank {WITHOUT} tuning=lora"),
    (WriterSettings, "gain.model=folder", f"gain.model {WITHOUT} gain.pictures or gain.during=1"),
]
TAKEN = [
    (DataSettings, ["rule.prompts=0", "editing.pairs=0"]),
    (DataSettings, ["rule.prompts=9", "rule.judge=detector:folder", "rule.confidence=0.5"]),
    (WriterSettings, ["gain.during=2", "gain.model=folder", "tuning=lora", "lora_rank=4"]),
    (CorrectorSettings, ["validation.samples=0"]),
]


@pytest.mark.parametrize(("kind", "setting", "message"), REFUSED)
def test_a_setting_that_is_wrong_or_changes_nothing_is_refused(kind, setting, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        given = [setting] if isinstance(setting, str) else setting
        settings_of(kind, None, [*NEEDED[kind], *given])
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


@pytest.mark.parametrize(("kind", "settings"), TAKEN)
def test_settings_that_decide_and_what_they_allow_are_taken(kind, settings):
    settings_of(kind, None, [*NEEDED[kind], *settings])


@pytest.mark.parametrize("kind", NEEDED)
def test_help_says_what_each_setting_of_the_table_needs(kind):
    fields = dict(fields_of(kind))
    for key, needs in kind.effects.items():
        named = [name for name in fields if name == key or name.startswith(f"{key}.")]
        assert named, f"{key} is no setting"
        lines = [described(kind, name, fields[name]) for name in named if needs_of(kind, name)]
        assert any(f"only with {needs.what}" in line for line in lines)


def test_settings_are_read_without_a_library_of_models():
    modules = ", ".join(kind.__module__ for kind in NEEDED)
    heavy = {"torch", "transformers", "diffusers", "peft", "accelerate", "ray"}
    check = f"import sys, {modules}, train.program; print({heavy} & sys.modules.keys())"
    found = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, check=True
    )
    assert found.stdout == "set()\n"


def test_an_estimate_takes_what_only_it_reads():
    settings_of(DataSettings, None, ["gpu.name=A100", "assumptions.kept=0.5"], estimates=True)
