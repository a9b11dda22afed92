"""Settings of the trainings as they are typed: what is wrong or changes nothing is refused."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from train.corrector.settings import CorrectorSettings
from train.data.edits import open_set
from train.data.settings import DataSettings, Editing
from train.editor.settings import EditorSettings
from train.latents.settings import LatentsSettings
from train.places import without_places
from train.program import run_program
from train.qwen.sizes import architecture
from train.settings import described, fields_of, needs_of, put, settings_of
from train.shard_lists import matching
from train.verifier.settings import VerifierSettings
from train.writer.settings import WriterSettings

CONFIGS = Path(__file__).parents[2] / "train" / "configs"
QWEN = ["out=run", "base=tiny", "data=miniature", "steps=1", "batch=1", "rate=1", "max_pixels=4096"]
NEEDED = {  # settings that have no default
    CorrectorSettings: ["data=shards"],
    EditorSettings: ["data=shards"],
    LatentsSettings: ["data=shards"],
    DataSettings: [],
    VerifierSettings: QWEN,
    WriterSettings: QWEN,
}
RULE = ["rule.prompts=9"]
SHAPES = ["editing.pairs=9", "editing.sets=[shapes]"]
EDITS = ["editing.pairs=9", "editing.sets=[jsonl:file]"]
MENDED = ["validation.mended.pictures=2", "validation.mended.verifier=checklist"]
WITHOUT = "has no effect without"
REFUSED = [
    (CorrectorSettings, "stepps=3", "There is no setting stepps. The nearest is steps"),
    (CorrectorSettings, "schedule.rate=3", "There is no setting schedule. --help lists all."),
    (CorrectorSettings, "data=", "These settings do not fit: give data"),
    (CorrectorSettings, "optimiser.name=sgd", "does not fit"),
    (CorrectorSettings, f"out={'a' * 300}", "out is not a usable path: File name too long"),
    (CorrectorSettings, "lora.start=a\0b", "lora.start is not a usable path"),
    (CorrectorSettings, "gpu.name=A100", f"gpu.name {WITHOUT} --estimate"),
    (CorrectorSettings, "report.project=mine", f"report.project {WITHOUT} report.to=[wandb]"),
    (EditorSettings, "time_shifted=0.5", f"time_shifted {WITHOUT} a time_shift other than 1"),
    (EditorSettings, "validation.mended.vlm=mine", f"{WITHOUT} validation.mended.pictures=1 or"),
    (CorrectorSettings, ["lora.start=lora", "lora.rank=8"], f"lora.rank {WITHOUT} lora.start=null"),
    (
        CorrectorSettings,
        ["validation.pictures=0", "validation.guidance=2"],
        f"validation.guidance {WITHOUT} validation.pictures or",
    ),
    (
        CorrectorSettings,
        ["latents=folder", "data=more"],
        f"data {WITHOUT} latents=auto or latents=null",
    ),
    (
        CorrectorSettings,
        ["validation.samples=4", "validation.mended.pictures=9"],
        f"validation.mended.pictures {WITHOUT} validation.samples of at least that number",
    ),
    (
        EditorSettings,
        ["validation.mended.pictures=2", "validation.mended.vlm=folder"],
        f"validation.mended.vlm {WITHOUT} a validation.mended.verifier that asks a model",
    ),
    (CorrectorSettings, ["siblings=4", "batch=2"], f"siblings {WITHOUT} a batch of that many"),
    (CorrectorSettings, "validation=null", "validation is a group of settings. Give them as"),
    (CorrectorSettings, "mixture.rule=[0.1]", "mixture.rule has too few values. Write all of"),
    (CorrectorSettings, "mixture.rule=[-1, 1]", "These settings of mixture do not fit: shares"),
    (CorrectorSettings, "leave_out=[000123]", "a valid string. Put it in quotes."),
    (CorrectorSettings, "leave_out=key", "valid list. Write it as leave_out=[A, B]."),
    (EditorSettings, "condition_fit=fit", f"condition_fit {WITHOUT} max_aspect above 1"),
    (LatentsSettings, "condition_fit=fit", f"condition_fit {WITHOUT} max_aspect above 1"),
    (DataSettings, ["filter.scorers=[]", "filter.margin=1"], f"filter.margin {WITHOUT} a verifier"),
    (LatentsSettings, "gpu.sharded=true", "There is no setting gpu.sharded"),
    (EditorSettings, "gpu.sharded=true", "There is no setting gpu.sharded"),
    (DataSettings, "gpu.count=3", "There is no setting gpu.count. The GPUs of train.data are"),
    (LatentsSettings, "gpu.count=2", f"gpu.count {WITHOUT} --estimate"),
    (DataSettings, "rule.pairs=2", f"rule.pairs {WITHOUT} rule.prompts=1 or more"),
    (DataSettings, "editing.sets=[shapes]", f"editing.sets {WITHOUT} editing.pairs=1 or more"),
    (DataSettings, [*RULE, "reflections.vlm=folder"], f"{WITHOUT} reflections.how=vlm"),
    (DataSettings, [*EDITS, "editing.siblings=2"], f"{WITHOUT} shapes or drafts in editing.sets"),
    (DataSettings, [*SHAPES, "reflections.max_words=9"], f"{WITHOUT} a source whose pairs lack"),
    (DataSettings, [*SHAPES, "painter.batch=9"], f"painter.batch {WITHOUT} a source that paints"),
    (
        DataSettings,
        [*RULE, "painter.model=synthetic", "painter.steps=9"],
        f"painter.steps {WITHOUT}",
    ),
    (DataSettings, [*RULE, "judges.error=0.2"], f"judges.error {WITHOUT} the verifier noisy"),
    (DataSettings, [*RULE, "judges.vlm=folder"], f"judges.vlm {WITHOUT} a verifier that asks it"),
    (
        DataSettings,
        [*RULE, "judges.device=cpu"],
        f"judges.device {WITHOUT} a judge that loads a model",
    ),
    (DataSettings, [*RULE, "judges.reward_base=folder"], f"{WITHOUT} the verifier reward:FOLDER"),
    (DataSettings, [*RULE, "rule.families.counting=0", "rule.counts=[2]"], "rule.counts has no"),
    (
        DataSettings,
        [*RULE, "filter.scorers=[best]", "judges.error=0.2"],
        "no verifier named 'best'",
    ),
    (DataSettings, ["staged.prompts=2", "filter.near_bits=1"], f"{WITHOUT} staged.prompts=0"),
    (DataSettings, ["staged.prompts=2", "engine.filter.workers=2"], f"{WITHOUT} staged.prompts=0"),
    (DataSettings, [*SHAPES, "engine.paint.workers=2"], f"engine.paint.workers {WITHOUT}"),
    (DataSettings, "assumptions.kept=0.5", f"assumptions.kept {WITHOUT} --estimate"),
    (LatentsSettings, "out=~nobody-here/x", "out=~nobody-here/x does not fit: there is no home"),
    (
        DataSettings,
        "rule.relations=[]",
        "rule.relations=[] does not fit: List should have at",
    ),
    (DataSettings, "rule.counts=[]", "rule.counts=[] does not fit: List should have at"),
    (WriterSettings, "families=[]", "families=[] does not fit: List should have at"),
    (VerifierSettings, "held_out_share=0.5", f"{WITHOUT} held_out=null and data other than"),
    (VerifierSettings, "held_out=more", f"held_out {WITHOUT} data other than miniature"),
    (VerifierSettings, "gpu.sharded=true", "There is no setting gpu.sharded"),
    (WriterSettings, "lora_rank=4", f"lora_rank {WITHOUT} tuning=lora"),
    (WriterSettings, ["gain.pictures=2", "gain.vlm=folder"], f"gain.vlm {WITHOUT} a gain.verifier"),
    (WriterSettings, "gain.model=folder", f"gain.model {WITHOUT} gain.pictures or gain.during=1"),
]
TAKEN = [
    (DataSettings, ["rule.prompts=0", "editing.pairs=0"]),
    (DataSettings, ["rule.prompts=9", "rule.judge=detector:folder", "rule.confidence=0.5"]),
    (WriterSettings, ["gain.during=2", "gain.model=folder", "tuning=lora", "lora_rank=4"]),
    (CorrectorSettings, ["validation.samples=0"]),
    (CorrectorSettings, ["data=", "latents=folder"]),
    (CorrectorSettings, ["max_aspect=2", "condition_fit=fit"]),
    (CorrectorSettings, [*MENDED, "validation.mended.vlm=folder"]),
    (DataSettings, [*RULE, "filter.scorers=[exact,noisy]", "judges.error=0.2"]),
    (DataSettings, [*RULE, "filter.scorers=[reward:folder]", "judges.reward_base=folder"]),
    (DataSettings, [*EDITS, "editing.caption=", "judges.vlm=folder", "judges.device=cpu"]),
    (DataSettings, ["editing.pairs=9", "editing.sets=[drafts]", "painter.steps=2"]),
    (DataSettings, ["histories.runs=runs/*", "engine.open.workers=2"]),
    (DataSettings, ["staged.prompts=2", "painter.batch=2", "engine.paint.workers=2"]),
]


@pytest.mark.parametrize(("kind", "setting", "message"), REFUSED)
def test_a_setting_that_is_wrong_or_changes_nothing_is_refused(kind, setting, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        given = [setting] if isinstance(setting, str) else setting
        settings_of(kind, None, [*NEEDED[kind], *given])
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_a_configuration_that_gives_a_setting_twice_is_refused(tmp_path, capsys):
    file = tmp_path / "run.yaml"
    file.write_text("steps: 3\nlora:\n  rank: 8\nbatch: 2\nlora: {alpha: 4}\n")
    with pytest.raises(SystemExit, match="2"):
        settings_of(CorrectorSettings, file, ["data=shards"])
    assert "has lora twice, in line 2 and in line 5. Remove one." in capsys.readouterr().err
    file.write_text("gpu: {name: H100, name: A100}\n")
    with pytest.raises(SystemExit, match="2"):
        settings_of(CorrectorSettings, file, ["data=shards"])
    assert "has name twice, in line 1 and in line 1. Remove one." in capsys.readouterr().err
    file.write_text("lora:\nsteps: 3\n")
    assert settings_of(CorrectorSettings, file, ["data=shards", "lora.rank=8"]).lora.rank == 8
    file.write_text("out: {{folder}}\n")  # a group as a key
    with pytest.raises(SystemExit, match="2"):
        settings_of(CorrectorSettings, file, ["data=shards"])
    assert "is not YAML" in capsys.readouterr().err
    file.write_text("lora: {rank: 8}\noptimiser: {rate: 8}\n")
    assert settings_of(CorrectorSettings, file, ["data=shards"]).lora.rank == 8


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("/home/me/models/FLUX.1-dev", "FLUX.1-dev"),
        ("reward:~/models/Image-Verifier", "reward:Image-Verifier"),
        ("C:\\Users\\me\\model", "model"),
        ("/data/a.tar::/data/b.tar", "a.tar::b.tar"),
        ("https://me:key@host/g_{0..9}.tar?X-Signature=key", "https://host/g_{0..9}.tar"),
        ("a.tar::https://me:key@host/g.tar", "a.tar::https://host/g.tar"),
        ('pipe:curl -H "Authorization: Bearer key" https://host/g.tar', "pipe:..."),
        ("Qwen/Qwen2.5-VL-3B-Instruct", "Qwen/Qwen2.5-VL-3B-Instruct"),
        ("endpoint:judge", "endpoint:judge"),
        ("data/genref_{0..208}.tar", "data/genref_{0..208}.tar"),
    ],
)
def test_what_is_published_names_no_path_of_this_machine_and_no_key(place, name):
    assert without_places({"a": [place]}) == {"a": [name]}


@pytest.mark.parametrize("kind", NEEDED)
def test_a_configuration_for_another_program_is_one_sentence_with_its_name(kind, capsys):
    name = "verifier-tiny" if kind is WriterSettings else "writer-tiny"
    with pytest.raises(SystemExit, match="2"):
        settings_of(kind, CONFIGS / f"{name}.yaml", ["batch=3"])
    said = capsys.readouterr().err
    assert f"is a configuration for train.{name.partition('-')[0]}. Start that" in said
    assert said.count("\n") == 1


def test_help_lists_the_values_of_a_setting_that_has_few():
    lines = [described(VerifierSettings, *each) for each in fields_of(VerifierSettings)]
    assert any(line.startswith("  language = lora  lora, full or frozen; lang") for line in lines)


def test_paths_begin_with_a_home_folder_in_every_shell(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))  # on Windows
    paths = [f"{name}=~/x" for name in ("out", "latents", "lora.start")]
    found = settings_of(CorrectorSettings, None, paths)
    assert {found.out, found.latents, found.lora.start} == {tmp_path / "x"}
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets/edits.jsonl").write_text("{}\n")
    (tmp_path / "config.json").write_text('{"model_type": "qwen2_5_vl"}')
    assert len(open_set("jsonl:~/sets/edits.jsonl", Editing(), 0)) == 1
    assert list(map(str, matching("~/s*/e*"))) == [str(tmp_path / "sets/edits.jsonl")]
    assert architecture("~").model_type == "qwen2_5_vl"


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


@pytest.mark.parametrize("kind", NEEDED)
def test_a_default_stands_in_the_help_as_it_is_typed(kind):
    values = {}
    for name, field in fields_of(kind):
        if not field.is_required():
            _, shown, *_ = described(kind, name, field).split("  ")
            put(values, f"{name}={shown.removeprefix(f'{name} =').strip()}")
    for setting in NEEDED[kind]:
        put(values, setting)
    assert kind.model_validate(values) == settings_of(kind, None, NEEDED[kind])


def test_settings_are_read_without_a_library_of_models():
    modules = ", ".join(kind.__module__ for kind in NEEDED)
    heavy = {"torch", "transformers", "diffusers", "peft", "accelerate", "ray"}
    check = f"import sys, {modules}, train.program; print({heavy} & sys.modules.keys())"
    found = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, check=True
    )
    assert found.stdout == "set()\n"


def test_settings_stand_before_and_after_a_configuration_and_there_is_one(tmp_path, capsys):
    for name in ("first", "second"):
        (tmp_path / name).write_text("data: shards\n")
    first, second = ([f"--config={tmp_path / name}"] for name in ("first", "second"))
    seen = []
    acts = {"estimate": str, "dry_run": str, "run": lambda settings: seen.append(settings) or ""}

    def typed(*given):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["program", *given])
            run_program("program", "program: about", LatentsSettings, **acts)

    typed("seed=3", *first, "text_length=40")
    assert (seen[0].seed, seen[0].text_length) == (3, 40)
    with pytest.raises(SystemExit, match="2"):
        typed(*first, *second)
    assert "Only one --config is read" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["data", "editor", "latents", "verifier"])
def test_a_launcher_that_shards_weights_is_refused_where_none_are_sharded(
    name, monkeypatch, capsys
):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    kind = {f"{kind.__module__}": kind for kind in NEEDED}[f"train.{name}.settings"]
    monkeypatch.setattr(sys, "argv", [name, *NEEDED[kind]])
    with pytest.raises(SystemExit, match="2"):
        runpy.run_module(f"train.{name}", run_name="__main__")
    assert f"train.{name} cannot shard weights" in capsys.readouterr().err


def test_an_estimate_takes_what_only_it_reads():
    settings_of(DataSettings, None, ["gpu.name=A100", "assumptions.kept=0.5"], estimates=True)
