"""The program where its output, its model or its first half second goes wrong: a sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from reflectionflow_core.cli import main
from reflectionflow_core.starting import ensure_home

ROOT = Path(__file__).parents[2]
PROGRAM = [sys.executable, "-m", "reflectionflow_core"]


def started(*options: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
    return subprocess.Popen([*PROGRAM, *options], cwd=ROOT, stdout=stdout, stderr=subprocess.PIPE)


def test_a_reader_that_leaves_ends_the_program_quietly() -> None:
    read, write = os.pipe()
    os.close(read)
    program = started("doctor", stdout=write)
    os.close(write)
    assert program.communicate()[1] == b""
    assert program.returncode == 0


def test_a_search_whose_messages_nobody_reads_is_not_done(tmp_path: Path) -> None:
    def leaves(*_: object) -> None:
        raise BrokenPipeError

    with pytest.raises(SystemExit) as ended:
        main(["run", "a red circle", "--out", str(tmp_path / "out")], build_actors=leaves)
    assert ended.value.code == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device")
@pytest.mark.parametrize("options", [("--help",), ("completion", "bash")], ids=" ".join)
def test_a_full_device_is_a_sentence(options: tuple[str, ...]) -> None:
    with Path("/dev/full").open("wb") as full:
        program = started(*options, stdout=full.fileno())
        said = program.communicate()[1].decode()
    assert program.returncode == 2
    assert said == (
        "reflectionflow: The output cannot be written: no space left on the device. "
        "Free some space.\n"
    )


def test_a_user_without_a_home_has_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setenv("HOME", "before")
    monkeypatch.setattr(Path, "home", unknown)
    ensure_home()
    assert os.environ["HOME"] == os.sep


@pytest.mark.skipif(sys.platform == "win32", reason="there is no shell that closes an output")
def test_a_closed_output_gets_nothing_and_a_closed_input_says_nothing() -> None:
    check = "from reflectionflow_core import __main__, cli; import sys;"
    check += "cli.main = lambda: sys.exit(len(sys.stdin.readline())); __main__.start()"
    unheard = ["sh", "-c", 'exec "$@" <&-', "sh", sys.executable, "-c", check]
    assert subprocess.run(unheard, cwd=ROOT, check=False).returncode == 0
    closed = ["sh", "-c", 'exec "$@" >&-', "sh", *PROGRAM, "completion", "bash"]
    done = subprocess.run(closed, cwd=ROOT, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends Ctrl-C to a console")
@pytest.mark.parametrize("pause", [0.15, 0.3, 0.5])
def test_ctrl_c_in_the_first_moments_ends_without_a_stack(pause: float) -> None:
    script = (
        "import os, signal, threading, sys;"
        # A shell that starts this in the background has told it to ignore Ctrl-C.
        "signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from reflectionflow_core.__main__ import start;"
        f"threading.Timer({pause}, os.kill, (os.getpid(), signal.SIGINT)).start();"
        "sys.argv = ['reflectionflow', 'doctor'];"
        "sys.exit(start())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 130 and "Traceback" not in done.stderr, done.stderr


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc")
def test_a_folder_that_is_no_model_is_a_sentence_before_it_is_read(tmp_path, capsys) -> None:
    assert main(["run", "a cup", "--out", str(tmp_path / "o"), "--model", "/proc/self"]) == 2
    assert "has no model_index.json. Give a folder" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["{key}"],
        ["doctor", "{key}"],
        ["run", "x", "--out", "out", "--verifier", "{key}"],
        ["run", "x", "--out", "out", "--width", "{key}"],
        ["run", "x", "--out", "out", "--send-pictures", "{key}"],
        ["run", "x", "--out", "out", "--judge-errors", "{key}", "--json"],
    ],
)
def test_a_key_in_the_wrong_place_is_not_printed(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    key = "sk-plantedKey0123456789abcdef"
    assert main([argument.format(key=key) for argument in arguments]) == 2
    shown = "".join(capsys.readouterr())
    assert "***" in shown and key not in shown and key[3:] not in shown


@pytest.mark.parametrize("name", ["/none/qwen", "./qwen", "qwen2.5vl:7b", "http://localhost:1/v1"])
@pytest.mark.parametrize("command", ["doctor", "judge"])
def test_a_model_that_is_no_folder_is_not_taken_for_a_profile(
    command: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--vlm", name]) == 2
    assert f"There is no folder {name}. Give one with a" in capsys.readouterr().err
