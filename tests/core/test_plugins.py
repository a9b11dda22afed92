"""A user's own names, from a file or a package; the verifier of docs/extending.md as it stands."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import Toys

from reflectionflow_core import registry
from reflectionflow_core.cli import main
from reflectionflow_core.identity import digest
from reflectionflow_core.plugins import GROUP
from reflectionflow_core.search import POLICIES, STRATEGIES

EXTENDING = Path(__file__).parents[2] / "docs/extending.md"
TABLES = (registry.VERIFIERS, registry.WRITERS, registry.MODELS, STRATEGIES, POLICIES)

EVERYTHING = """
from fakes import Toys
from reflectionflow_core.registry import MODELS, WRITERS, ModelRow, Row
from reflectionflow_core.search.policies import POLICIES, STOP
from reflectionflow_core.search.strategies import STRATEGIES, Strategy
from reflectionflow_core.search.strategies.reflection import drafts

def only_drafts(settings):
    yield drafts(settings)

toys = Toys().actors()
MODELS["toy"] = ModelRow(lambda choice, corrects: (toys.generator, toys.corrector))
WRITERS["toy"] = Row(lambda choice, vlm: toys.writer)
STRATEGIES["drafts"] = Strategy(only_drafts, axes=("noise",), depth=0)
POLICIES["none"] = lambda settings, past, chain: STOP
"""


@pytest.fixture(autouse=True)
def only_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What plugins add is forgotten again, and paths are those of a folder of its own."""
    monkeypatch.chdir(tmp_path)
    before = [dict(table) for table in TABLES]
    modules = set(sys.modules)
    yield
    for name in set(sys.modules) - modules:
        if name.startswith(("reflectionflow_plugin_", "my_plugin")):
            del sys.modules[name]
    for table, rows in zip(TABLES, before, strict=True):
        table.clear()
        table.update(rows)  # type: ignore[arg-type]


def run(*options: str) -> int:
    """A run on toys, of which the plugin may replace some."""
    return main(
        ["run", "a cube", "--out", "new", *options], build_actors=lambda *_: Toys().actors()
    )


def record() -> dict[str, dict[str, object]]:
    return json.loads(Path("new/run.json").read_text())


def test_readmes_verifier_is_typed_and_run_as_it_stands() -> None:
    section = EXTENDING.read_text(encoding="utf-8").split("## How to add a verifier")[1]
    source, command = re.findall(r"```(?:python)?\n(.*?)```", section.split("\n## ")[0], re.DOTALL)
    Path("brightness.py").write_text(source)
    assert main(shlex.split(command)[1:]) == 0
    lines = [json.loads(line) for line in Path("bright/history.jsonl").read_text().splitlines()]
    assert {tuple(line["unmet"]) for line in lines} <= {(), ("too dark",)}
    assert not list(Path().rglob("__pycache__"))


def test_a_file_adds_models_writers_strategies_and_policies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("mine.py").write_text(EVERYTHING)
    options = ("--plugin", "mine.py", "--model", "toy", "--writer", "toy", "--policy", "none")
    asked = ["run", "a red circle", "--out", "new", *options, "--strategy", "drafts"]
    assert main(asked) == 0
    assert len(Path("new/history.jsonl").read_text().splitlines()) == 2
    assert record()["actors"]["plugins"] == ["mine.py"]
    assert main(["report", "new"]) == 0


def test_a_run_resumes_with_the_same_plugin_only(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.py").write_text(EVERYTHING)
    assert run("--plugin", "mine.py", "--depth", "0") == 0
    assert record()["identity"]["plugins"] == digest(Path("mine.py"))
    assert run("--resume", "--depth", "1") == 0
    Path("mine.py").rename("moved.py")
    capsys.readouterr()
    assert run("--resume") == 2
    assert "The plugin mine.py cannot be read (No such file" in capsys.readouterr().err
    assert run("--resume", "--plugin", "moved.py") == 0
    Path("moved.py").write_text(EVERYTHING + "# changed\n")
    capsys.readouterr()
    assert run("--resume") == 2
    assert "other contents of the plugins ['moved.py']" in capsys.readouterr().err


def test_a_run_without_plugins_says_nothing_of_them() -> None:
    assert run("--depth", "0") == 0
    assert "plugins" not in {**record()["actors"], **record()["identity"]}


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import gone_library", "ModuleNotFoundError: No module named 'gone_library'"),
        ("def broken(:", "SyntaxError: invalid syntax"),
        ("import sys; sys.exit('bye')", "SystemExit: bye"),
        ("raise ValueError('one\\ntwo')", "ValueError: one"),
    ],
)
def test_a_plugin_that_does_not_load_is_two_sentences(
    source: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("bad.py").write_text(source)
    for _ in range(2):
        assert run("--plugin", "bad.py") == 2
        said = capsys.readouterr().err
        assert said.startswith(f"reflectionflow: The plugin bad.py cannot be loaded ({reason}")
        assert said.endswith("). Correct it, or leave out --plugin.\n")
    assert not Path("new").exists()


def test_a_benchmark_takes_plugins_where_it_paints(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["evaluate", "geneval", "--images", "x", "--detector", "y", "--json", "z.json"]
    assert main([*asked, "--plugin", "mine.py"]) == 2
    assert "--plugin belongs to the search" in capsys.readouterr().err


def test_an_installed_package_needs_no_option(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    package = Path("site/my_plugin-2.5.dist-info")
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: my-plugin\nVersion: 2.5\n")
    (package / "entry_points.txt").write_text(f"[{GROUP}]\nmine = my_plugin\n")
    Path("site/my_plugin.py").write_text(EVERYTHING)
    monkeypatch.syspath_prepend(str(Path("site").absolute()))
    assert run("--strategy", "drafts") == 0
    assert record()["versions"]["plugin my-plugin"] == "2.5"
    (package / "entry_points.txt").write_text(f"[{GROUP}]\nmine = my_plugin_gone\n")
    assert main(["run", "a cube", "--out", "other"]) == 2
    assert "The installed plugin mine cannot be loaded" in capsys.readouterr().err
