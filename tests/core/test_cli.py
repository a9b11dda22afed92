"""The command line on toys: what it writes, how it resumes, and what it says of bad input."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from fakes import ToyGenerator, Toys, ToyVerifier
from PIL import Image

import reflectionflow_core
from reflectionflow_core.archive import files, open_archive
from reflectionflow_core.cli import main
from reflectionflow_core.protocols import SILENT
from reflectionflow_core.record import InputError, Verdict
from reflectionflow_core.search import STRATEGIES

ROOT = Path(reflectionflow_core.__file__).parents[1]
PROMPT = "a red cube"
SMALL = ["--width", "2", "--depth", "2", "--drafts", "3"]


def toys(choice, settings):
    return Toys(verifier=ToyVerifier(pass_at=0.9)).actors()


def run(*options: object) -> int:
    return main(["run", *map(str, options)], build_actors=toys)


def history(folder: Path) -> bytes:
    return (folder / "history.jsonl").read_bytes()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(autouse=True)
def without_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(files.os, "fsync", lambda _: None)  # slow, and guards a power cut only


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "old"
    run(PROMPT, "--out", folder, *SMALL)
    return folder


def test_a_run_leaves_pictures_a_history_and_reports(tmp_path, capsys):
    out = tmp_path / "run"
    assert run(PROMPT, "--out", out, *SMALL) == 0
    assert {path.name for path in out.iterdir()} == {
        *("run.json", "history.jsonl", "timing.json", "images"),
        *("best.png", "sheet.png", "report.html"),
    }
    assert len(list((out / "images").iterdir())) == len(history(out).splitlines()) == 7
    said = capsys.readouterr()
    assert re.match(r"Best score 0\.\d+, (not )?passed, after 7 pictures, 28 steps", said.out)
    assert str(out / "report.html") in said.out
    assert "Still wrong: colour" in said.out
    assert said.err.startswith(
        "At most 7 pictures, 28 steps, 15 VLM calls without repeats, an unknown time.\n"
    )
    assert said.err.count("\n") == 8  # a plain line a picture, where there is no terminal


def test_a_verifier_that_only_ranks_is_not_said_to_see_nothing_wrong(tmp_path, capsys):
    class Ranking(ToyVerifier):
        def verify(self, prompt, images, progress=SILENT):
            found = super().verify(prompt, images, progress)
            return [Verdict(verdict.score) for verdict in found]

    words = ["run", PROMPT, "--out", str(tmp_path / "run"), "--depth", "0"]
    main(words, build_actors=lambda *_: Toys(verifier=Ranking()).actors())
    said = capsys.readouterr().out
    assert "Still wrong: unknown, since the verifier does not say what passes" in said


def test_the_same_request_gives_the_same_history(tmp_path):
    for name in ("one", "two"):
        run(PROMPT, "--out", tmp_path / name, *SMALL, "--seed", 5, "--noise-search", "zero_order")
    assert history(tmp_path / "one") == history(tmp_path / "two")
    run(PROMPT, "--out", tmp_path / "three", *SMALL, "--seed", 6)
    assert history(tmp_path / "one") != history(tmp_path / "three")


def test_every_strategy_runs(tmp_path):
    for strategy in STRATEGIES:
        asked = ["--out", tmp_path / strategy, *SMALL, "--strategy", strategy]
        assert run("a red circle", *asked) == 0


def test_a_finished_run_resumed_paints_nothing_and_reports_again(tmp_path):
    run(PROMPT, "--out", tmp_path, *SMALL)
    before = contents(tmp_path)
    (tmp_path / "sheet.png").unlink()
    assert run("--out", tmp_path, "--resume") == 0
    assert contents(tmp_path).keys() == before.keys()
    assert history(tmp_path) == before["history.jsonl"]


@pytest.mark.parametrize("folder", ["missing", "empty"])
def test_resuming_where_nothing_is_starts(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    assert run(PROMPT, "--out", tmp_path / folder, *SMALL, "--resume") == 0
    assert len(history(tmp_path / folder).splitlines()) == 7


def test_a_deeper_search_begins_with_the_shorter_one(tmp_path):
    run(PROMPT, "--out", tmp_path / "deep", *SMALL, "--depth", 3)
    run(PROMPT, "--out", tmp_path / "raised", *SMALL, "--depth", 1, "--max-images", 4)
    assert len(history(tmp_path / "raised").splitlines()) == 4
    run("--out", tmp_path / "raised", "--resume", "--max-images", "none", "--max-steps", 19)
    assert len(history(tmp_path / "raised").splitlines()) == 4  # a fifth makes it 20 steps
    assert run("--out", tmp_path / "raised", "--resume", "--max-steps", 15) == 2
    run("--out", tmp_path / "raised", "--resume", "--max-steps", "none")
    assert len(history(tmp_path / "raised").splitlines()) == 5
    run("--out", tmp_path / "raised", "--resume", "--depth", 3)
    assert history(tmp_path / "raised") == history(tmp_path / "deep")


def test_report_rebuilds_what_was_lost(tmp_path, capsys):
    run(PROMPT, "--out", tmp_path, *SMALL)
    before = contents(tmp_path)
    (tmp_path / "sheet.png").unlink()
    (tmp_path / "report.html").write_text("old")
    capsys.readouterr()
    assert main(["report", str(tmp_path)]) == 0
    assert contents(tmp_path) == before
    assert "Best score" in capsys.readouterr().out


def test_ctrl_c_keeps_what_was_painted_and_says_how_to_go_on(tmp_path, capsys):
    run(PROMPT, "--out", tmp_path / "complete", *SMALL)

    class Interrupted(ToyGenerator):
        def paint(self, requests, progress=...):
            if len(self.log) == 2:
                raise KeyboardInterrupt
            return super().paint(requests)

    def interrupted(choice, settings):
        return Toys(generator=Interrupted(), verifier=ToyVerifier(pass_at=0.9)).actors()

    out = tmp_path / "run"
    assert main(["run", PROMPT, "--out", str(out), *SMALL], build_actors=interrupted) == 130
    assert "2 finished pictures kept. Continue with: reflectionflow run" in capsys.readouterr().err
    assert (out / "sheet.png").is_file()
    assert (out / "report.html").is_file()
    assert run("--out", out, "--resume") == 0
    assert history(out) == history(tmp_path / "complete")


@pytest.fixture
def default_sigint():
    """As a command in a terminal is begun; tests may be run by a process that ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("default_sigint")
def test_ctrl_c_that_a_library_swallows_as_it_loads_still_stops(tmp_path, capsys):
    def loading(choice, settings):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise InputError("The weights are damaged. Download them again.") from None
        return toys(choice, settings)

    assert main(["run", PROMPT, "--out", str(tmp_path / "run")], build_actors=loading) == 130
    assert capsys.readouterr().err == "Stopped.\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert not (tmp_path / "run").exists()


def test_an_actor_that_fails_keeps_its_traceback_and_every_picture(tmp_path, capsys):
    failing = Toys(generator=ToyGenerator(script={2: ZeroDivisionError()}))
    with pytest.raises(ZeroDivisionError):
        main(
            ["run", PROMPT, "--out", str(tmp_path), *SMALL],
            build_actors=lambda *_: failing.actors(),
        )
    assert len(history(tmp_path).splitlines()) == 2
    assert "2 finished pictures kept" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nSee more."),
        RuntimeError("MPS backend out of memory (MPS allocated: 17 GB, max allowed: 18 GB)."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."),
    ],
    ids=["cuda", "mps", "cpu"],
)
def test_where_memory_runs_out_a_search_keeps_its_pictures_and_says_what_helps(
    tmp_path, capsys, error
):
    failing = Toys(generator=ToyGenerator(script={2: error})).actors()
    asked = ["run", PROMPT, "--out", str(tmp_path), *SMALL]
    assert main(asked, build_actors=lambda *_: failing) == 2
    assert len(history(tmp_path).splitlines()) == 2
    said = capsys.readouterr().err
    assert "2 finished pictures kept" in said
    first = str(error).splitlines()[0].rstrip(".")
    assert f"reflectionflow: Memory ran out ({first}). Choose --offload streamed" in said


BAD_INPUT = {
    "empty prompt": (["", "--out", "new"], "The prompt is empty"),
    "blank prompt": ([" \n", "--out", "new"], "The prompt is empty"),
    "no prompt": (["--out", "new"], "Give a prompt to begin one"),
    "nothing to resume": (["--out", "new", "--resume"], "There is no run in new yet"),
    "no UTF-8": (["a cat \udcff", "--out", "new"], "half of a character"),
    "empty folder name": ([PROMPT, "--out", ""], "name of the folder is empty"),
    "no folder": ([PROMPT], "Missing: --out. See"),
    "negative width": ([PROMPT, "--out", "new", "--width", "-1"], "The width is -1"),
    "absurd width": ([PROMPT, "--out", "new", "--width", "99999"], "number from 1 to 1,024"),
    "negative depth": ([PROMPT, "--out", "new", "--depth", "-2"], "The depth is -2"),
    "too many": ([PROMPT, "--out", "new", "--width", "1000", "--depth", "1000"], "pictures are"),
    "a word": ([PROMPT, "--out", "new", "--width", "two"], "--width: 'two' is not a whole number"),
    "a fraction": ([PROMPT, "--out", "new", "--depth", "1.5"], "'1.5' is not a whole number"),
    "nan": ([PROMPT, "--out", "new", "--radius", "nan"], "'nan' is not a finite number"),
    "seed": ([PROMPT, "--out", "new", "--seed", "-2"], "The seed is -2"),
    "steps": ([PROMPT, "--out", "new", "--steps", "0"], "0 is less than 1"),
    "size": ([PROMPT, "--out", "new", "--size", "big"], "'big' is not a size such as 1024x768"),
    "budget": ([PROMPT, "--out", "new", "--max-images", "0"], "The budget of images is 0"),
    "strategy": ([PROMPT, "--out", "new", "--strategy", "luck"], "noise, noise+prompt, reflection"),
    "stop": ([PROMPT, "--out", "new", "--stop", "soon"], "never, passed, a score"),
    "stop nan": ([PROMPT, "--out", "new", "--stop", "nan"], "is not a finite number"),
    "parents": ([PROMPT, "--out", "new", "--parents", "both"], "latest, best"),
    "no drafts": ([PROMPT, "--out", "new", "--drafts", "0"], "The number of drafts is 0"),
    "no calls": ([PROMPT, "--out", "new", "--max-calls", "0"], "The budget of VLM calls is 0"),
    "few steps": ([PROMPT, "--out", "new", "--max-steps", "1"], "and the budget is 1"),
    "two thoughts": (
        [PROMPT, "--out", "new", "--think-first", "--draft-prompt", "a die"],
        "--think-first writes the draft prompt",
    ),
    "stages of none": (
        [PROMPT, "--out", "new", "--stages", "plan"],
        "--stages has no effect without --strategy staged",
    ),
    "no stages": ([PROMPT, "--out", "new", "--stages", "blank"], "'blank' has no stages"),
    "axes": ([PROMPT, "--out", "new", "--axes", "noise,colour"], "noise, prompt, reflection"),
    "no axes": ([PROMPT, "--out", "new", "--axes", ""], "must change something"),
    "noise search": ([PROMPT, "--out", "new", "--noise-search", "all"], "random, zero_order"),
    "error rate": ([PROMPT, "--out", "new", "--verifier-error", "2"], "not between 0 and 1"),
    "model": ([PROMPT, "--out", "new", "--model", "gone"], "Choose one of: miniature"),
    "model path": ([PROMPT, "--out", "new", "--model", "/no/folder"], "Choose one of: miniature"),
    "lora": ([PROMPT, "--out", "new", "--lora", "gone.safetensors"], "There is no LoRA gone"),
    "option": (
        [PROMPT, "--out", "new", "--dept", "3"],
        "There is no option --dept. Did you mean --depth?",
    ),
    "a second prompt": ([PROMPT, "again", "--out", "new"], "Put it in quotes"),
    "file": ([PROMPT, "--out", "file"], "is a file"),
    "below a file": ([PROMPT, "--out", "file/new"], "Cannot write file/new: Not a directory"),
    "long name": ([PROMPT, "--out", "x" * 300], "File name too long"),
    "another run": ([PROMPT, "--out", "old"], "already holds a run"),
    "file resumed": ([PROMPT, "--out", "file", "--resume"], "is a file. Choose a folder."),
    "other prompt": (["a cat", "--out", "old", "--resume"], "prompt 'a red cube', now 'a cat'"),
    "other seed": (["--out", "old", "--resume", "--seed", "9"], "seed 0, now 9"),
    "less depth": (["--out", "old", "--resume", "--depth", "1"], "it can only be raised"),
    "other verifier": (
        ["--out", "old", "--resume", "--verifier", "noisy"],
        "verifier 'exact', now 'noisy'",
    ),
}


@pytest.mark.parametrize(("options", "expected"), BAD_INPUT.values(), ids=BAD_INPUT.keys())
def test_bad_input_is_told_and_nothing_is_touched(
    tmp_path, finished_run, capsys, monkeypatch, options, expected
):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("mine")
    Path("blank").write_text("\n")
    Path("plan").write_text("add a cube -> a red cube -> a cube")
    shutil.copytree(finished_run, "old")
    before = contents(tmp_path)
    capsys.readouterr()
    assert run(*options) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert expected in said.err
    assert re.fullmatch(r"reflectionflow: [^\n]+[.!?] [A-Z][^\n]+\.\n", said.err), said.err
    assert contents(tmp_path) == before
    assert not Path("new").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "COMMAND"),
        (["paint"], "Choose one of: run, rank"),
        (["report", "gone"], "There is no folder gone"),
        (["report", "file"], "file is a file, not a folder. Give the --out folder of a run."),
        (["report", ""], "The name of the folder is empty"),
        (["review", ""], "The name of the folder is empty. Give the --out folder of a run."),
        (["report", "."], "holds no finished picture"),
    ],
)
def test_bad_commands_are_told(tmp_path, capsys, monkeypatch, arguments, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert main(arguments) == 2
    assert expected in capsys.readouterr().err


def test_an_error_of_the_builder_leaves_no_folder_behind(tmp_path, capsys):
    def failing(choice, settings):
        raise InputError("The weight file is damaged. Download it again.")

    assert main(["run", PROMPT, "--out", str(tmp_path / "new")], build_actors=failing) == 2
    assert "Download it again" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_run_that_failed_before_its_first_picture_can_be_asked_anew(tmp_path, capsys):
    refusing = Toys(verifier=ToyVerifier(script={0: InputError("No such shape. Say another.")}))
    arguments = ["run", "a dodecahedron", "--out", str(tmp_path)]
    assert main(arguments, build_actors=lambda *_: refusing.actors()) == 2
    assert "No such shape" in capsys.readouterr().err
    assert run(PROMPT, "--out", tmp_path, *SMALL) == 0


def test_a_run_that_is_not_resumed_takes_no_option_of_one_that_ended_before_its_first_picture(
    tmp_path,
):
    failing = Toys(generator=ToyGenerator(script={0: RuntimeError("it broke")}))
    arguments = ["run", PROMPT, "--out", str(tmp_path), "--drafts", "4", "--depth", "0"]
    with pytest.raises(RuntimeError):
        main(arguments, build_actors=lambda *_: failing.actors())
    assert run(PROMPT, "--out", tmp_path, "--depth", 0) == 0
    assert len(history(tmp_path).splitlines()) == 1  # the default number of drafts


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may do all")
def test_an_unwritable_folder_is_told(tmp_path, capsys):
    tmp_path.chmod(0o500)
    assert run(PROMPT, "--out", tmp_path / "new") == 2
    assert "Choose a folder that you may write to" in capsys.readouterr().err


def test_a_damaged_history_is_told_and_kept(tmp_path, capsys):
    run(PROMPT, "--out", tmp_path, *SMALL)
    path = tmp_path / "history.jsonl"
    path.write_bytes(path.read_bytes().replace(b'{"index": 3', b'{"index": x'))
    before = contents(tmp_path)
    assert run("--out", tmp_path, "--resume") == 2
    assert "Line 4 of" in capsys.readouterr().err
    assert contents(tmp_path) == before


def test_a_run_under_way_cannot_be_joined(tmp_path, capsys):
    run(PROMPT, "--out", tmp_path, *SMALL)
    entered, leave = threading.Event(), threading.Event()

    def hold():
        with open_archive(tmp_path, resume=True):
            entered.set()
            leave.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    entered.wait(10)
    assert run("--out", tmp_path, "--resume") == 2
    leave.set()
    holder.join()
    assert "Another process is writing" in capsys.readouterr().err
    assert run("--out", tmp_path, "--resume") == 0


SLOW_PROGRAM = """
import sys, time
from fakes import ToyGenerator, ToyCorrector, Toys
from reflectionflow_core.cli import main

def slow(choice, settings):
    def nap():
        time.sleep(0.02)
    return Toys(generator=ToyGenerator(on_call=nap), corrector=ToyCorrector(on_call=nap)).actors()

sys.exit(main(build_actors=slow))
"""


def start(script: Path, out: Path) -> subprocess.Popen:
    script.write_text(SLOW_PROGRAM)
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    options = [PROMPT, "--out", str(out), "--width", "2", "--depth", "8", "--batch-size", "2"]
    return subprocess.Popen(
        [sys.executable, str(script), "run", *options, "--resume"],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def test_a_run_killed_again_and_again_ends_as_if_it_never_was(tmp_path):
    script, out = tmp_path / "program.py", tmp_path / "killed"
    assert start(script, tmp_path / "complete").wait(30) == 0
    dice = random.Random(1)
    for kill in range(1, 5):
        process = start(script, out)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and process.poll() is None:
            path = out / "history.jsonl"
            if path.exists() and path.read_bytes().count(b"\n") >= 3 * kill:
                break
            time.sleep(0.002)
        time.sleep(dice.random() * 0.06)
        process.kill()
        process.communicate()
    assert len(history(out).splitlines()) < 18
    process = start(script, out)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0, said
    assert history(out) == history(tmp_path / "complete")
    assert contents(out / "images") == contents(tmp_path / "complete" / "images")
    assert not list(out.rglob("*.tmp"))


def test_help_comes_without_loading_a_model():
    code = (
        "import sys; from reflectionflow_core.cli import main\n"
        "try: main(['run', '--help'])\n"
        "except SystemExit as leaving: assert leaving.code == 0\n"
        "assert not {'torch', 'diffusers', 'transformers', 'rich'} & set(sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert "--resume" in done.stdout


def test_the_module_is_the_same_program():
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "reflectionflow_core", "--version"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"reflectionflow {reflectionflow_core.__version__}\n"


def test_the_doctor_says_what_is_here(capsys):
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    for word in ("python", "torch", "pillow", "memory", "Miniature", "Full-size FLUX", "--vlm"):
        assert word in said


def test_run_json_says_what_was_asked(tmp_path):
    run(PROMPT, "--out", tmp_path, *SMALL, "--stop", "0.95", "--max-seconds", 60)
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["prompt"] == PROMPT
    assert record["settings"]["stop"] == 0.95
    assert record["settings"]["budget"]["seconds"] == 60
    assert record["actors"]["verifier"] == "exact"
    assert record["versions"]["reflectionflow"] == reflectionflow_core.__version__


def test_a_run_of_another_version_is_told(tmp_path, capsys):
    run(PROMPT, "--out", tmp_path, *SMALL)
    record = json.loads((tmp_path / "run.json").read_text())
    record["versions"] = {}  # nothing is known of the libraries then
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert run("--out", tmp_path, "--resume") == 0
    assert "began with other versions of" in capsys.readouterr().err
    record["actors"]["painter"] = "of tomorrow"
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert run("--out", tmp_path, "--resume") == 2
    assert "actors that this version does not know" in capsys.readouterr().err
    record["actors"]["size"] = "64x64"
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert run("--out", tmp_path, "--resume") == 2
    assert "size is '64x64', which is not list" in capsys.readouterr().err


def test_best_png_is_the_best_picture(tmp_path):
    run(PROMPT, "--out", tmp_path, *SMALL)
    lines = [json.loads(line) for line in history(tmp_path).splitlines()]
    best = max(lines, key=lambda line: line["score"])
    expected = Image.open(tmp_path / best["image"]).tobytes()
    assert Image.open(tmp_path / "best.png").tobytes() == expected


@pytest.mark.parametrize(
    "options",
    [
        *(["run", PROMPT, "--out", bad] for bad in ("a\0b", "a" * 300, "a/" * 3000, "loop")),
        ["run", PROMPT, "--out", "new", "--lora", "a" * 300],
        ["run", PROMPT, "--out", "new", "--plugin", "a\0b"],
        ["run", "a\0b", "--out", "new"],
        ["rank", "loop", PROMPT],
        ["compare", "a\0b", "b.json"],
    ],
)
def test_a_path_that_the_system_does_not_take_is_one_sentence(
    options, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    assert main(options, build_actors=toys) == 2
    said = capsys.readouterr().err
    assert len(said) < 200 and said.count("\n") == 1
    assert ("is not a usable path" in said) != ("holds a NUL character" in said)
    assert [*Path().iterdir()] == [Path("loop")]


@pytest.mark.parametrize("refusal", [PermissionError, IsADirectoryError, NotADirectoryError])
def test_what_the_system_does_not_let_us_open_is_one_sentence(refusal, monkeypatch, capsys):
    error = {PermissionError: 13, NotADirectoryError: 20, IsADirectoryError: 21}[refusal]

    def refuse(*_):
        raise OSError(error, os.strerror(error), "/root/picture")

    assert main(["run", PROMPT, "--out", "/tmp/never"], build_actors=refuse) == 2
    said = capsys.readouterr().err
    assert f"/root/picture cannot be used: {os.strerror(error)}. Check the path" in said
