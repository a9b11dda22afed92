"""What commands print for people and programs: JSON, quiet, dry runs, advice, completion."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import webbrowser
from pathlib import Path

import pytest
from fakes import ToyCorrector, Toys, ToyVerifier
from PIL import Image

from reflectionflow_core.cli import main
from reflectionflow_core.cli import run as run_command
from reflectionflow_core.cli.completion import completion
from reflectionflow_core.cli.naming import command_text
from reflectionflow_core.cli.parser import SHELLS, make_parser
from reflectionflow_core.cli.run import UNJUDGED
from reflectionflow_core.cli.screen import Screen, spent_text
from reflectionflow_core.judge_errors import KINDS, JudgeErrors, KindErrors
from reflectionflow_core.protocols import SILENT, Actors
from reflectionflow_core.record import Cost, History, Verdict
from reflectionflow_core.settings import Budget

ROOT = Path(__file__).parents[2]
SMALL = ("--width", "1", "--depth", "1")


def toys(choice, settings):
    return Toys(verifier=ToyVerifier(pass_at=0.9)).actors()


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    out = tmp_path_factory.mktemp("searched") / "out"
    main(["run", "a red circle", "--out", str(out), *SMALL], build_actors=toys)
    return out


def dear(choice, settings):
    """Drafts take 4 steps, corrections 5."""
    return Toys(corrector=ToyCorrector(steps=5)).actors()


def run(out: Path, *options: str, builder=toys) -> int:
    return main(["run", "a red circle", "--out", str(out), *SMALL, *options], build_actors=builder)


def test_json_is_one_object_and_nothing_else(tmp_path, capsys):
    assert run(tmp_path / "out", "--json", "--max-images", "9") == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["schema", "command", "status", "error", "result"]
    assert (found["schema"], found["command"], found["status"]) == (1, "run", 0)
    result = found["result"]
    assert result["pictures"] == result["spent"]["images"] == 2
    assert result["budget"]["images"] == 9
    assert Path(result["best"]["picture"]).is_file() and Path(result["report"]).is_file()


def test_report_and_doctor_give_the_same_kind_of_json(searched, capsys):
    assert main(["report", str(searched), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["result"]["prompt"] == "a red circle" and report["command"] == "report"
    assert main(["doctor", "--json"]) == 0
    doctor = json.loads(capsys.readouterr().out)
    assert {"Versions", "Machine", "Miniature"} <= doctor["result"].keys()


@pytest.mark.parametrize(
    "options",
    [
        ("run", "a cup", "--out", "x", "--context", "2", "--json"),
        ("report", "nowhere", "--json"),
        ("evaluate", "shapes", "--json"),
        ("run", "--json"),  # of the parser
    ],
)
def test_json_says_what_is_wrong(options, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(options) == 2
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert found["status"] == 2 and found["result"] is None
    assert said.err == f"{found['error']}\n"


def test_quiet_prints_the_result_alone(tmp_path, capsys):
    assert run(tmp_path / "out", "--quiet") == 0
    said = capsys.readouterr()
    assert said.err == "" and said.out.startswith("Best score")
    assert main(["report", str(tmp_path / "none"), "--quiet"]) == 2
    assert "no folder" in capsys.readouterr().err.lower()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--max-steps", "3"], "To paint one picture takes 12 diffusion steps"),
        (["--trust", "0.9"], "trust"),
        (["--screen", "yes-no", "--vlm", "vlm"], "shortlist"),
        (["--strategy", "staged", "--draft-prompt", "a cup"], "draft"),
        (["--strategy", "reflection", "--writer", "vlm"], "asks a vision-language model"),
        (["--device", "tpu"], "tpu"),
        (["--verifier", "objects"], "detector"),
        (["--verifier", "clip-score:nowhere"], "nowhere"),
    ],
)
@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
def test_what_is_wrong_is_said_before_a_model_is_loaded(
    options, words, many, tmp_path, capsys, monkeypatch
):
    def loaded(*_):
        raise AssertionError("a model was loaded")

    monkeypatch.chdir(tmp_path)
    (tmp_path / "vlm").mkdir()
    (tmp_path / "prompts.txt").write_text("a red circle\na blue square\n")
    asked = ["--prompts", "prompts.txt"] if many else ["a red circle"]
    assert main(["run", *asked, "--out", "out", *options], build_actors=loaded) == 2
    assert words in capsys.readouterr().err


@pytest.fixture
def only_toys(monkeypatch):
    """Runs are not checked for the real models that toys stand for."""
    monkeypatch.setattr(run_command, "unloaded_search", lambda *_: None)


@pytest.mark.usefixtures("only_toys")
def test_a_report_names_the_limit_that_ended_a_run_until_the_run_goes_on(tmp_path):
    out = tmp_path / "out"
    ended = "Ended after the drafts, before 1 round: the budget of steps is used up."
    assert run(out, "--max-steps", "7", builder=dear) == 0
    assert ended in (out / "report.html").read_text("utf-8")
    assert main(["report", str(out)]) == 0  # no actor says what a picture costs
    assert ended in (out / "report.html").read_text("utf-8")
    assert main(["run", "--out", str(out), "--resume", "--max-steps", "9"], build_actors=dear) == 0
    assert "Complete, after round 1." in (out / "report.html").read_text("utf-8")


def test_open_opens_the_page(searched, monkeypatch, capsys):
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or True)
    assert main(["report", str(searched), "--open"]) == 0
    assert opened == [(searched / "report.html").as_uri()]
    monkeypatch.setattr(webbrowser, "open", lambda _: False)
    assert main(["report", str(searched), "--open"]) == 0
    assert "No browser could be opened." in capsys.readouterr().err


def test_a_dry_run_says_what_a_run_would_do_and_writes_nothing(tmp_path, capsys):
    out = tmp_path / "out"
    asked = ["run", "a photo of a red circle", "--out", str(out), "--depth", "2", "--dry-run"]
    assert main(asked) == 0
    said = capsys.readouterr().out
    assert "Nothing was loaded" in said and "At most 5 pictures, 60 steps" in said
    assert main([*asked, "--strategy", "paths", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["result"]["dry_run"] is True
    assert not out.exists()


def test_a_dry_run_prices_models_that_it_never_asks(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("vlm").mkdir()
    Path("vlm/config.json").write_text("{}")
    asked = ("--verifier", "checklist", "--writer", "vlm", "--vlm", "vlm", "--dry-run")
    assert main(["run", "two red circles", "--out", "out", *SMALL, *asked]) == 0
    assert "11 VLM calls" in capsys.readouterr().out
    few = ("--max-calls", "3")
    assert main(["run", "two red circles", "--out", "out", *SMALL, *asked, *few]) == 2
    assert "To judge one picture takes 5 VLM calls" in capsys.readouterr().err


def test_a_dry_run_of_an_evaluation_searches_nothing(tmp_path, capsys):
    file = tmp_path / "table.json"
    asked = ["evaluate", "shapes", "--quick", "--out", str(file), "--dry-run"]
    assert main(asked) == 0
    assert "searches on 20 prompts" in capsys.readouterr().out
    assert main([*asked, "--study", "all"]) == 0
    assert "All studies" in capsys.readouterr().out
    assert main([*asked, "--study", "scouts", "--prompts", "20"]) == 0
    pictures = re.search(r"at most (\d+) pictures", capsys.readouterr().out)
    assert pictures and int(pictures[1]) < 1000  # the budget of steps counts
    assert not [*tmp_path.iterdir()]


def test_a_search_that_ended_at_a_pass_says_why_more_rounds_paint_nothing(tmp_path, capsys):
    def passing(*_: object) -> Actors:
        return Toys(verifier=ToyVerifier(pass_at=0.0)).actors()

    out = str(tmp_path / "out")
    assert main(["run", "a red circle", "--out", out, "--quiet"], build_actors=passing) == 0
    capsys.readouterr()
    assert main(["run", "--out", out, "--resume", "--depth", "9"], build_actors=passing) == 0
    said = capsys.readouterr().err
    assert "Nothing is left to paint. Ended after the drafts, before 9 rounds: a picture" in said


@pytest.mark.usefixtures("only_toys")
def test_a_verifier_that_only_ranks_is_said_to_end_no_search(tmp_path, capsys):
    asked = ["run", "a red circle", "--out", str(tmp_path / "out"), "--verifier", "reward:x"]
    assert main(asked, build_actors=toys) == 0
    assert "reward only ranks, so that all rounds are painted." in capsys.readouterr().err
    asked[3] = str(tmp_path / "other")
    assert main([*asked, "--strategy", "noise"], build_actors=toys) == 0
    assert "only ranks" not in capsys.readouterr().err


DRY = {
    "rank": (["pictures", "a red cup", "--verifier", "checklist", "--vlm", "vlm"], "10 VLM calls"),
    "rank by rules": (["pictures", "a red circle", "--out", "out"], "No VLM calls"),
    "judge": (["--vlm", "vlm", "--images", "pictures", "--out", "out"], "At most 200 questions"),
    "review": (["run"], "which has 2 pictures"),
    "doctor": (["--vlm", "endpoint:mine"], "endpoint:mine"),
}


@pytest.mark.parametrize("name", DRY)
def test_a_dry_run_of_whatever_loads_or_asks_does_neither(
    name, tmp_path, capsys, monkeypatch, searched
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REFLECTIONFLOW_MINE_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("REFLECTIONFLOW_MINE_MODEL", "m")
    for folder in ("pictures", "vlm"):
        Path(folder).mkdir()
    Path("vlm/config.json").write_text("{}")
    for picture in ("a.png", "b.png"):
        Image.new("RGB", (8, 8)).save(f"pictures/{picture}")
    shutil.copytree(searched, "run")
    before = sorted(tmp_path.rglob("*"))
    options, cost = DRY[name]
    assert main([name.split()[0], *options, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Nothing was loaded, painted or written.") and cost in said
    assert sorted(tmp_path.rglob("*")) == before


def test_a_dry_run_refuses_what_the_command_refuses(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wrong = "--device meta,--verifier exact+exact,--verifier reward,--gate clip-score:none"
    wrong += ",--verifier objects,--verifier objects:none,--ask --quiet,--review --quiet"
    wrong += ",--out file,--out file --resume,--out taken,--trust 0.95"
    Path("file").touch()
    Path("taken").mkdir()
    Path("taken/sheet.png").touch()
    asked = ["run", "a red circle", "--out", "x"]
    runs = [[*asked, *options.split()] for options in wrong.split(",")]
    for asked in (["rank", "none", "a cup"], ["judge"], ["review", "none"], ["doctor"], *runs):
        assert main([*asked, "--dry-run"]) == 2, asked
        assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "command", [["rank", ".", "a cup"], ["run", "a cup", "--out", "out"], ["judge"], ["doctor"]]
)
def test_a_dry_run_knows_whether_there_is_a_profile(command, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8)).save("a.png")
    judged = ["--verifier", "checklist"] if command[0] in ("rank", "run") else []
    assert main([*command, *judged, "--vlm", "endpoint:nobody", "--dry-run"]) == 2
    assert "nobody" in capsys.readouterr().err


def dry(capsys, *options: object) -> str:
    """What a dry run says of the cost, or why it refuses."""
    status = main([*map(str, options), "--dry-run"])
    said = capsys.readouterr()
    return said.err if status else said.out.split("cost")[-1].strip()


@pytest.fixture
def batch(tmp_path) -> tuple[object, ...]:
    (tmp_path / "prompts").write_text("a red circle\na blue square\na red cross\n", "utf-8")
    return "run", "--prompts", tmp_path / "prompts", "--out", tmp_path / "out"


def test_a_dry_batch_counts_all_prompts_and_names_a_budget_only_where_there_is_one(batch, capsys):
    cost = dry(capsys, *batch, "--depth", 1)
    assert cost == "At most 9 pictures, 108 steps, an unknown time."
    cost = dry(capsys, *batch, "--depth", 1, "--max-images", 8)
    assert cost.startswith("At most 8 pictures") and "All prompts together keep to" in cost
    assert "average" not in cost
    assert main([*map(str, batch), "--depth", "1", "--max-images", "2"], build_actors=toys) == 0
    assert "At most 2 pictures" in capsys.readouterr().err  # as it begins


def test_a_dry_batch_goes_on_as_the_batch_does(batch, capsys):
    resumed = ("run", "--out", batch[-1], "--resume")
    options = ("--depth", 1, "--strategy", "noise", "--max-images", 5, "--quiet")
    assert main([*map(str, (*batch, *options))], build_actors=toys) == 0
    capsys.readouterr()
    assert "already holds a batch" in dry(capsys, *batch)
    assert "other prompts" in dry(capsys, *resumed, "--prompts", __file__)
    assert dry(capsys, *resumed).startswith("At most 0 pictures")
    assert dry(capsys, *resumed, "--max-images", 8).startswith("At most 3 pictures")


def test_a_dry_run_paints_again_what_could_not_be_judged(tmp_path, capsys):
    class FailsLater(ToyVerifier):
        def verify(self, prompt, images, progress=SILENT):
            known = super().verify(prompt, images, progress)
            return known if self.items <= 1 else [Verdict.unjudged("It is busy.") for _ in known]

    where = ("run", "a red circle", "--out", tmp_path / "out")
    options = (*where, "--width", 1, "--strategy", "noise")
    busy = Toys(verifier=FailsLater(pass_at=2))
    asked = [*map(str, (*options, "--quiet"))]
    assert main(asked, build_actors=lambda *_: busy.actors()) == UNJUDGED
    capsys.readouterr()
    cost = dry(capsys, *options, "--resume")
    assert cost.startswith("At most 3 pictures")


def test_a_dry_run_uses_and_checks_what_is_known_of_the_judges_errors(tmp_path, capsys):
    shown = tuple(KindErrors(kind, 50, 10, 50, 3) for kind in KINDS)
    errors, vlm = tmp_path / "errors.json", tmp_path / "vlm"
    errors.write_text(json.dumps(JudgeErrors("m", shown, 0.2, 50).data()), "utf-8")
    vlm.mkdir()
    (vlm / "config.json").write_text("{}")
    options = ("run", "two red circles", "--out", tmp_path / "out", "--depth", 0)
    asks = (*options, "--verifier", "checklist", "--vlm", vlm)
    assert ", 5 VLM calls" in dry(capsys, *asks)
    assert ", 15 VLM calls" in dry(capsys, *asks, "--judge-errors", errors)
    assert ", 10 VLM calls" in dry(capsys, *asks, "--judge-errors", errors, "--looks", 1)
    for refused in (asks, options):
        assert "setting trust has no effect" in dry(capsys, *refused, "--trust", 0.5)


def test_a_dry_run_prices_what_is_written_before_the_first_picture(tmp_path, capsys):
    (tmp_path / "config.json").write_text("{}")
    options = ("run", "two red circles", "--out", tmp_path / "out", "--depth", 0, "--think-first")
    assert ", 2 VLM calls" in dry(capsys, *options, "--vlm", tmp_path, "--thinker", "vlm")
    assert "VLM" not in dry(capsys, *options)


ADVICE = [
    (
        ["run", "a", "photo", "of", "a", "cup", "--out", "x"],
        'The prompt is several words. Put it in quotes: "a photo of a cup".',
    ),
    (["rnu", "a cup"], "There is no command 'rnu'. Did you mean run?"),
    (["run", "a cup", "--out", "x", "--dpeth", "3"], "no option --dpeth. Did you mean --depth?"),
    (["evaluate", "shape", "--out", "x"], "no benchmark 'shape'. Did you mean shapes?"),
    (["report", "a", "b"], "'b' is one argument too many."),
    (["completion", "tcsh"], "There is no shell 'tcsh'."),
    (["doctor", "--send-pictures"], "--send-pictures has no effect without --vlm."),
    (["doctor", "--vlm", "endpoint:a", "--vlm-dtype", "bf16"], "--vlm-dtype has no effect"),
    (["rank", "x", "a cup", "--device", "cpu"], "--device has no effect without a local model"),
    (["rank", "x", "a cup", "--width", "2"], "There is no option --width."),
    (["judge", "--device", "cpu", "--verifier", "exact"], "--device has no effect"),
    (["judge", "--vlm", "a", "--colour-judge", "c"], "--colour-judge has no effect without"),
    (["judge", "--vlm", "endpoint:a", "--detector", "d"], "--detector has no effect"),
    (["evaluate", "shapes", "--out", "x", "--grid", "2x2"], "--grid has no effect in the study"),
    (["evaluate", "shapes", "--out", "x", "--known-errors"], "makes no errors"),
    (["evaluate", "shapes", "--out", "x", "--json", "y"], "--out and --json FILE are the same."),
    (["evaluate", "shapes"], "There is no file for the results. Give one with --out FILE."),
    (["evaluate", "shapes", "--out", "x", "--grid", "x"], "not a list of WIDTHxDEPTH"),
    (["evaluate", "shapes", "--out", "x", "--budgets", "1,99999999999"], "more than 10,000"),
    (["evaluate", "shapes", "--out", "x", "--hours", "0"], "0 is not a time; give hours above 0"),
    (["run", "a cup", "--out", "x", "--ask=yes"], "--ask/--no-ask: takes no value"),
    (["run", "a cup"], "Missing: --out."),
    (["evaluate", "geneval", "--out", "x"], "Missing: --images, --detector."),
    (["run", "a cup", "--output", "x"], "There is no option --output. Did you mean --out?"),
    (["run", "a cup", "--out", "x", "--drafts", "3", "--depth", "0", "--width", "2"], "--width"),
    (["rank", "x", "a cup", "--verifier", "me", "--quiet"], "or remove --ask and the actor me."),
    (["run", "a cup", "--out", "x", "--ask", "--quiet"], "--quiet hides the questions"),
    (["compare", "x.json", "./x.json"], "A and B are the same file."),
    (["rank", "x", "a cup", "--open"], "--open has no effect without --out."),
]


@pytest.mark.parametrize(("words", "said"), ADVICE, ids=[" ".join(words) for words, _ in ADVICE])
def test_a_slip_gets_the_advice_that_fits(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "profiles.json").write_text("{}")
    assert main(words) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and len(error) < 500


def test_every_help_has_examples_and_exit_codes():
    (commands,) = (action for action in make_parser()._actions if action.dest == "command")
    for name, parser in commands.choices.items():  # type: ignore[union-attr]
        text = parser.format_help()
        assert f"examples:\n  reflectionflow {name}" in text and "exit codes: 0 done" in text


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_knows_commands_options_and_choices(shell):
    script = completion(shell)
    for word in ("geneval2", "noise-search", "zero_order", "send-pictures"):
        assert word in script
    checker = {"bash": ["bash", "-n"], "zsh": ["zsh", "-n"], "fish": ["fish", "--no-execute"]}
    command = checker.get(shell)
    if command and shutil.which(command[0]):
        done = subprocess.run(command, input=script, text=True, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not shutil.which("bash"), reason="there is no bash")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("reflectionflow ra", "rank"),
        ("reflectionflow run --noise-s", "--noise-search"),
        ("reflectionflow run --noise-search z", "zero_order"),
        ("reflectionflow evaluate shapes --fam", "--families"),
    ],
)
def test_bash_completes(line, expected):
    words = line.split()
    array = " ".join(f"'{word}'" for word in words)
    script = (
        f"{completion('bash')}\nCOMP_WORDS=({array}); COMP_CWORD={len(words) - 1}\n"
        "_reflectionflow; echo ${COMPREPLY[@]}"
    )
    done = subprocess.run(["bash"], input=script, text=True, capture_output=True, check=True)
    assert done.stdout.split() == [expected]


HEAVY = {"torch", "diffusers", "transformers", "numpy", "PIL", "asyncio", "rich", "pydantic"}
LATER = {"scipy.stats._stats_py"}


def test_help_imports_nothing_heavy_and_the_miniature_one_thread_and_no_statistics(tmp_path):
    """Names of modules, not seconds: those depend on the machine."""
    code = (
        "import sys, contextlib, io\n"
        "from reflectionflow_core.cli import main\n"
        "for words in (['--help'], ['run', '--help'], ['rank', '--help'], ['judge', '--help']):\n"
        "    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
        "        main(words)\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules}))\n"
        f"main(['run', 'a photo of a red circle', '--out', {str(tmp_path / 'out')!r}, '--depth', "
        "'0'])\n"
        "import torch\n"
        "print(sorted(sys.modules), torch.get_num_threads())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )
    of_help, *_, of_run = done.stdout.splitlines()
    assert not HEAVY & {*json.loads(of_help.replace("'", '"'))}
    names, threads = of_run.rsplit(" ", 1)
    assert not LATER & {*json.loads(names.replace("'", '"'))}
    assert threads == "1"


def test_programs_settle_their_threads_before_torch_is_imported():
    code = "import os, sys, train; print('torch' in sys.modules, os.environ['OMP_WAIT_POLICY'])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "PASSIVE"]


def test_an_output_of_few_characters_gets_the_others_as_escapes(searched, monkeypatch):
    shown = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(shown, encoding="cp1252"))
    shutil.copytree(searched, folder := searched.parent / "\u7ea2")
    assert main(["report", str(folder)]) == 0
    assert b"\\u7ea2" in shown.getvalue()


def test_colons_in_a_message_stay(capsys):
    Screen(1).say("a clock that says :cat: at 7:30:15")
    assert capsys.readouterr().err == "a clock that says :cat: at 7:30:15\n"


def test_what_is_spent_of_a_large_budget_is_not_rounded():
    spent = History().charged(Cost(steps=2400))
    budget = Budget(steps=1_234_567, seconds=90.0)
    assert spent_text(spent, budget) == "2,400 of 1,234,567 steps, 0 of 90 seconds"


@pytest.mark.parametrize(
    ("spent", "limit", "said"),
    [
        (0.61234, 0.001, "0.612 of 0.001 seconds"),
        (0.6, 5.0, "0.6 of 5 seconds"),
        (1234.5, 5.0, "1,234 of 5 seconds"),
        (12.7, 60.0, "13 of 60 seconds"),
    ],
)
def test_few_seconds_are_shown_with_their_fractions(spent: float, limit: float, said: str) -> None:
    history = History().charged(Cost(seconds={"paint": spent}))
    assert spent_text(history, Budget(seconds=limit)) == said


def test_a_command_is_quoted_for_its_shell(monkeypatch):
    words = ["run", "--out", r"C:\my runs\a"]
    monkeypatch.setattr("sys.platform", "win32")
    assert command_text(words) == r'run --out "C:\my runs\a"'
    monkeypatch.setattr("sys.platform", "linux")
    assert command_text(words) == r"run --out 'C:\my runs\a'"


def test_a_terminal_that_draws_no_bars_gets_a_line_a_picture(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")  # which stands for a terminal
    monkeypatch.setenv("TERM", "dumb")
    with Screen(2) as screen:
        screen.advance(1, "best 1", "score 1")
    assert "picture 1 of 2: score 1" in capsys.readouterr().err


def test_the_state_of_a_screen_is_what_it_does_and_how_far_it_is():
    screen = Screen(8)
    assert screen.state() == "loading; 0 of 8 pictures"
    screen.report("draft", 3, 12)
    screen.advance(5, "best 0.83", "score 0.83")
    assert screen.state() == "painting 3 of 12; 5 of 8 pictures, best 0.83"
