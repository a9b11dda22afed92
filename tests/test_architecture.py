"""The house keeps its shape: nodes -> reflectionflow_core <- train, and rooms in their order."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = "reflectionflow_core"
TOP = ("nodes", CORE, "workflows", "train", "tests")
# Each room of the core imports only rooms before it.
ROOMS = (
    "starting",
    "phases",
    "evidence",
    "feedback",
    "verdict",
    "regions",
    "record",
    "pictures",
    "texts",
    "settings",
    "judge_errors",
    "protocols",
    "allowance",
    "search",
    "flux",
    "vlm",
    "pipelines",
    "verifiers",
    "writers",
    "evolvers",
    "planners",
    "inspectors",
    "detection",
    "miniature",
    "judge_exam",
    "plugins",
    "choice",
    "painters",
    "registry",
    "identity",
    "doctor",
    "archive",
    "report",
    "evaluation",
    "geneval",
    "cli",
    "__main__",
)
PRODUCT = (CORE, "nodes", "train")
FORBIDDEN = {
    CORE: {"nodes", "train", "tests", "comfy", "comfy_api", "folder_paths", "server"},
    "train": {"nodes", "tests", "comfy", "comfy_api", "folder_paths", "server"},
    "nodes": {"train", "tests"},
}


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imports(file: Path, top_only: bool = False) -> Iterator[str]:
    """Every module that a file names in an import, in full and from the root of the repository."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    folders = file.relative_to(ROOT).parts[:-1]
    for node in tree.body if top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = folders[: len(folders) + 1 - node.level] if node.level else ()
            module = ".".join((*package, *filter(None, [node.module])))
            # `from . import name` names modules of the package, or things in its __init__.
            yield from [module] if node.module else (f"{module}.{a.name}" for a in node.names)


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


@pytest.mark.parametrize("folder", TOP)
def test_every_top_folder_is_there_and_not_empty(folder: str) -> None:
    assert (ROOT / folder).is_dir()
    assert any((ROOT / folder).iterdir())


def test_the_core_has_exactly_the_rooms_of_the_plan() -> None:
    found = {
        p.stem for p in (ROOT / CORE).iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()
    }
    assert found - {"__init__"} == set(ROOMS)


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_arrows_point_to_the_core_only(folder: str) -> None:
    files = sources(folder)
    assert files
    wrong = {
        f"{file.relative_to(ROOT)}: {module}"
        for file in files
        for module in imports(file)
        if module.split(".")[0] in FORBIDDEN[folder]
    }
    assert not wrong


def test_inside_the_core_a_room_imports_only_rooms_above_it() -> None:
    wrong = []
    for file in sources(CORE):
        here = file.relative_to(ROOT / CORE).parts[0].removesuffix(".py")
        for module in imports(file):
            there = room_of(module)
            if not module.startswith(f"{CORE}.") or there not in ROOMS or here == "__init__":
                continue  # `__version__` is in no room
            if ROOMS.index(there) > ROOMS.index(here):
                wrong.append(f"{file.relative_to(ROOT)} imports {module}")
    assert not wrong


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_no_files_import_each_other_in_a_circle(folder: str) -> None:
    files = {
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
        for file in sources(folder)
    }
    graph = {name: set(imports(file)) & files.keys() for name, file in files.items()}
    list(TopologicalSorter(graph).static_order())  # raises CycleError, which names them


def test_programs_of_the_training_are_small_and_nothing_imports_them() -> None:
    programs = sorted((ROOT / "train").glob("*/__main__.py"))
    assert len(programs) == 7
    for file in programs:
        text = file.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 40, file
        assert "run_program(" in text, file
    for file in (*sources("train"), *sources("tests")):
        assert not [module for module in imports(file) if module.endswith(".__main__")], file


def test_core_and_nodes_import_relatively_since_comfyui_gives_the_pack_another_name() -> None:
    for file in (*sources(CORE), *sources("nodes")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            module = node.module if isinstance(node, ast.ImportFrom) and not node.level else None
            assert not {CORE, "nodes"} & {n.split(".")[0] for n in (*names, module or "")}, file


def test_comfyuis_door_imports_nothing_at_the_top() -> None:
    assert set(imports(ROOT / "__init__.py", top_only=True)) <= {"__future__"}


def test_the_packs_requirements_are_those_of_the_project() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.search(r"^dependencies = (\[.*?\])", project, re.MULTILINE | re.DOTALL)
    assert listed
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    asked = [line for line in lines if line and not line.startswith("#")]
    assert asked == ast.literal_eval(listed[1])
    comfyuis = {"torch", "torchvision", "numpy", "pillow", "safetensors", "transformers"}
    assert not comfyuis & {re.split(r"[<>=]", line)[0].lower() for line in asked}


def test_importing_the_seams_and_the_search_loads_no_model_library() -> None:
    heavy = ("torch", "diffusers", "transformers", "peft", "comfy")
    program = (
        f"import sys, {CORE}.search, {CORE}.registry, {CORE}.cli;"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_the_core_never_prints_and_reads_arguments_only_on_its_command_line() -> None:
    for file in sources(CORE):
        text = file.read_text(encoding="utf-8")
        names = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
        assert "print" not in names, file
        if "cli" not in file.parts and file.name != "__main__.py":
            assert "sys.argv" not in text, file


@pytest.mark.parametrize("folder", PRODUCT)
def test_texts_are_read_and_written_in_utf_8_on_every_system(folder: str) -> None:
    given = {"read_text": 1, "write_text": 2}  # places at which the encoding is known
    for file in sources(folder):
        for call in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
                named = any(one.arg == "encoding" for one in call.keywords)
                places = given.get(call.func.attr, 0)
                assert len(call.args) >= places or named, f"{file}:{call.lineno}"


def test_no_two_classes_have_one_name() -> None:
    places: dict[str, list[str]] = {}
    for file in (file for folder in PRODUCT for file in sources(folder)):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(str(file.relative_to(ROOT)))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


@pytest.mark.parametrize("folder", PRODUCT)
def test_files_and_functions_are_short_enough_to_read(folder: str) -> None:
    for file in sources(folder):
        text = file.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 400, file
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and node.name != "define_schema":
                assert (node.end_lineno or 0) - node.lineno < 60, f"{file}: {node.name}"


def test_the_published_pack_holds_what_nodes_read_and_help_names() -> None:
    def listed(*command: str, given: str = "") -> set[str]:
        git = ["git", "-c", "core.excludesFile=.comfyignore", *command]
        return {*subprocess.check_output(git, cwd=ROOT, input=given, text=True).splitlines()}

    files = listed("ls-files")
    published = files - listed("check-ignore", "--no-index", "--stdin", given="\n".join(files))
    assert "tests/test_architecture.py" not in published and "docs/first_look.png" not in published
    needed = ["__init__.py", "requirements.txt", "locales/words.json", "docs/cli.md"]
    needed += ["reflectionflow_core/report/panel.js", "nodes/web/pause.js", "workflows/README.md"]
    assert {*needed} <= published
