"""Old and rare words, which many readers do not know, stay out of what people read."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    page
    for pattern in ("*.md", "docs/*.md", "workflows/*.md", "nodes/web/docs/*.md")
    for page in sorted(ROOT.glob(pattern))
]
CODE = [
    file
    for folder in ("nodes", "reflectionflow_core", "train", "workflows")
    for file in sorted((ROOT / folder).rglob("*.py"))
]
# In their place: "again", "fix", "expensive", "rarely", "in the output folder", "is not a number".
OLD = re.compile(
    r"(?<![.\w])(anew|mend(?:s|ed|ing)?|dearer|is dear|are dear|whence|hence|upon|thrice|lest"
    r"|heed(?:s|ed)?|thereby|therein|whereby|seldom|in vain|belongs? into|tells of|told of"
    r"|leave it away|buys nothing|worth the name|of one's own|is none\.|are none\.|came of it"
    r"|comes of it|(?:is|are|was) no (?:number|time|file that|table|list|folder that))\b",
    re.IGNORECASE,
)


def sentences(file: Path) -> Iterator[tuple[int, str]]:
    """What the code says: its strings of several words, without docstrings."""
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in nodes
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in nodes:
        if not isinstance(node, ast.Constant) or id(node) in docstrings:
            continue
        if isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_is_in_plain_words(page: Path) -> None:
    text = re.sub(r"`[^`\n]*`|Mend:", "", page.read_text(encoding="utf-8"))
    lines = enumerate(text.splitlines(), 1)
    assert [(number, found[0]) for number, line in lines if (found := OLD.search(line))] == []


def test_what_the_code_says_is_in_plain_words() -> None:
    found = [
        (str(file.relative_to(ROOT)), number, match[0])
        for file in CODE
        for number, text in sentences(file)
        if (match := OLD.search(text))
    ]
    assert found == []


def test_no_sentence_asks_pip_for_this_package_by_name() -> None:
    """It is not on an index: who installs that name gets nothing, or something else."""
    asked = re.compile(r"pip install [^.`]*\breflectionflow\b(?!/)")
    found = [
        (str(file.relative_to(ROOT)), number)
        for file in CODE
        for number, text in sentences(file)
        if asked.search(text)
    ]
    assert found == []
