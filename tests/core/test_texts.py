"""One reader for text files and typed texts: BOM, CRLF, lone surrogates, NUL, and what is none."""

from __future__ import annotations

import errno
import json
import re
from argparse import ArgumentTypeError
from pathlib import Path
from typing import Any

import pytest
from fakes import Toys

from reflectionflow_core.cli import main
from reflectionflow_core.cli.batch import read_prompts
from reflectionflow_core.cli.options import plan
from reflectionflow_core.flux.folders import local_folder, read_json
from reflectionflow_core.geneval.compositions import read_compositions
from reflectionflow_core.geneval.folder import read_prompts as read_tasks
from reflectionflow_core.identity import digest, weights_of
from reflectionflow_core.record import InputError
from reflectionflow_core.search import search
from reflectionflow_core.settings import SearchSettings
from reflectionflow_core.texts import (
    TextError,
    checked_text,
    decode_text,
    parse_json,
    read_text,
    usable_text,
    user_path,
    why_no_path,
)
from reflectionflow_core.verifiers.reward import SLOT, TOKEN, read_template
from reflectionflow_core.vlm.named import check_vlm_name
from reflectionflow_core.vlm.profiles import find_profile
from train.data.prompts import read_lines
from train.qwen.data import rows_of
from train.settings import read_config

HALF = "\ud83d"
COMPOSITION = {"prompt": "a cup", "atom_count": 1, "vqa_list": [["A cup?", "yes"]], "skills": ["o"]}

# What reads a text file, with a text that it takes.
READERS: dict[str, tuple[Any, str]] = {
    "text": (read_text, "two\nlines\n"),
    "prompts": (read_prompts, "a cup\na jug\n"),
    "plan": (lambda path: plan(str(path)), "add a cup -> a cup -> a cup\n"),
    "geneval": (read_tasks, '{"prompt": "a cup", "tag": "x"}\n{"prompt": "a jug"}\n'),
    "geneval2": (read_compositions, f"{json.dumps(COMPOSITION)}\n{json.dumps(COMPOSITION)}\n"),
    "json": (read_json, '{\n "a": 1\n}\n'),
    "profiles": (
        lambda path: find_profile("mine", path.parent, {}),
        '{\n "mine": {"base_url": "http://localhost:1/v1", "model": "m"}\n}\n',
    ),
    "training prompts": (lambda path: list(read_lines(path)), 'a cup\n{"prompt": "a jug"}\n'),
    "training rows": (rows_of, '{"a": 1}\n{"a": 2}\n'),
    "training settings": (read_config, "seed: 1\nout: x\n"),
}
AS_WINDOWS_WRITES = {
    "BOM": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "CRLF": lambda text: text.replace("\n", "\r\n").encode(),
    "BOM and CRLF": lambda text: b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
    "UTF-16 big": lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
    "CR": lambda text: text.replace("\n", "\r").encode(),
}
DAMAGED = {
    "Latin-1": b"caf\xe9 \n",
    "NUL": b"a\x00b\n",
    "half UTF-16": b"\xff\xfea\x00b",
    "a surrogate": b"\xed\xa0\x80\n",
}


def file_in(folder: Path, data: bytes) -> Path:
    path = folder / "profiles.json"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("written", AS_WINDOWS_WRITES)
@pytest.mark.parametrize("reader", READERS)
def test_files_of_other_editors_are_read_as_plain_ones(
    tmp_path: Path, reader: str, written: str
) -> None:
    read, text = READERS[reader]
    plain = read(file_in(tmp_path, text.encode()))
    assert read(file_in(tmp_path, AS_WINDOWS_WRITES[written](text))) == plain


@pytest.mark.parametrize("data", DAMAGED)
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_text_is_refused_in_two_sentences(
    tmp_path: Path, reader: str, data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    read, _ = READERS[reader]
    with pytest.raises((InputError, SystemExit, ArgumentTypeError)) as refused:
        read(file_in(tmp_path, DAMAGED[data]))
    said = capsys.readouterr().err if refused.type is SystemExit else str(refused.value)
    assert re.fullmatch(r"[^\n]+[.!?] [A-Z][^\n]+\.\n?", said), said


def test_a_reward_template_may_come_from_windows(tmp_path: Path) -> None:
    words = f"{SLOT} {TOKEN}\n"
    assert read_template(file_in(tmp_path, b"\xef\xbb\xbf" + words.encode())) == words


@pytest.mark.parametrize(
    "data", [b'{"a"', b"[" * 100_000, b"\xff", b"1" * 10_000, b"", b'{"a": \x00}', b"nul"]
)
def test_json_that_is_none_is_a_value_error_with_a_short_reason(data: bytes) -> None:
    with pytest.raises(ValueError) as refused:
        parse_json(data)
    assert 0 < len(str(refused.value)) < 200


@pytest.mark.parametrize("text", [f"a {HALF} cup", "a \0 cup"])
def test_half_characters_and_nul_are_refused_wherever_a_prompt_comes_from(text: str) -> None:
    with pytest.raises(TextError):
        checked_text(text)
    with pytest.raises(InputError, match=r"The prompt cannot be used: .* Write it again"):
        next(iter(search(text, SearchSettings(depth=0), Toys().actors())))
    with pytest.raises(InputError, match="The draft prompt cannot be used"):
        SearchSettings(draft_prompt=text)


@pytest.mark.parametrize("given", [None, 5, b"a cup", ["a cup"]])
def test_what_is_not_a_text_is_refused(given: Any) -> None:
    with pytest.raises(InputError, match=r"^The prompt is .*, which is not a text\. "):
        usable_text(given, "prompt")


def test_a_byte_order_mark_within_a_text_stays() -> None:
    assert decode_text("\ufeffa\ufeffb".encode()) == "a\ufeffb"


def test_a_wrong_neighbour_spoils_no_profile_and_a_wrong_one_is_named(tmp_path: Path) -> None:
    mine = {"base_url": "http://localhost:1/v1", "model": "m"}
    table = {"mine": mine, "other": {"base_url": 1}, "list": []}
    folder = file_in(tmp_path, json.dumps(table).encode()).parent
    assert find_profile("mine", folder, {}).model == "m"
    for name, part in (("other", "profile 'other'"), ("list", "profile 'list'")):
        with pytest.raises(InputError, match=part):
            find_profile(name, folder, {})


def test_a_slip_in_the_profiles_is_placed_and_no_line_is_quoted(tmp_path: Path) -> None:
    folder = file_in(tmp_path, b'{"mine": {\n"api_key": "sk-secret",}\n}').parent
    with pytest.raises(InputError, match="line 2 column") as refused:
        find_profile("mine", folder, {})
    assert "secret" not in str(refused.value)


def test_prompts_with_unusual_separators_stay_one_line(tmp_path: Path) -> None:
    path = file_in(tmp_path, "a cup\u2028and a jug\na hat\x0bon a cat\n".encode())
    assert read_prompts(path).split("\n") == ["a cup\u2028and a jug", "a hat\x0bon a cat"]
    row = json.dumps({"prompt": "a cup\u2028a jug"}, ensure_ascii=False)
    assert [r["prompt"] for r in rows_of(file_in(tmp_path, row.encode()))] == ["a cup\u2028a jug"]


@pytest.mark.parametrize("word", ["--prompts=~/none.txt", "~/none.txt", "--prompts=a:~/none.txt"])
def test_the_users_own_folder_is_found_where_no_shell_puts_it_in(word: str, capsys) -> None:
    before = ["--prompts"] if word.startswith("~") else []
    assert main(["run", *before, word, "--out", "x", "--dry-run"]) == 2
    assert f"{Path.home()}/none.txt: No such file" in capsys.readouterr().err


def test_a_name_with_characters_that_windows_refuses_may_be_no_path(monkeypatch) -> None:
    def refuses(path: Path) -> None:
        error = OSError(errno.EINVAL, "The filename, directory name, ... is incorrect")
        error.winerror = 123  # type: ignore[attr-defined]
        raise error

    assert why_no_path("x" * 5000)
    monkeypatch.setattr(Path, "stat", refuses)
    assert not why_no_path("2*exact+clip-score:C:\\clip")


def test_the_home_of_nobody_is_no_crash(capsys) -> None:
    nobody = "reward:~no-such-user/x"
    options = ["--verifier", nobody, "--reward-base", "b", "--out", "never", "--dry-run"]
    assert main(["run", "a circle", *options]) == 2
    assert "There is no folder ~no-such-user/x" in capsys.readouterr().err


def test_a_lone_surrogate_of_the_terminal_is_a_sentence(tmp_path: Path, capsys) -> None:
    assert main(["run", "a \udce9 cup", "--out", str(tmp_path / "out")]) == 2
    assert "Check the encoding of the terminal" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_path_with_a_home_folder_is_the_same_everywhere(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "vlm").mkdir()
    (tmp_path / "x.onnx").write_bytes(b"x")
    check_vlm_name("~/vlm")
    assert local_folder("~/vlm") == tmp_path / "vlm"
    assert weights_of("onnx:~/x.onnx") == digest(tmp_path / "x.onnx")
    assert weights_of("owner/name") == "owner/name"
    assert user_path("~nobody-at-all/x") == Path("~nobody-at-all/x")
