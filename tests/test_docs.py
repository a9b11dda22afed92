"""The pages hold together: every relative link leads to a file, every anchor to a heading, and the
tables of docs/strategies.md are those of the published evaluations."""

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("workflows/*.md"),
        *ROOT.glob("nodes/web/docs/*.md"),
        ROOT / "tests/README.md",
    ]
)
LINK = re.compile(r"\]\(([^)\s]+)\)|<img src=\"([^\"]+)\"")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    headings = re.findall(
        r"(?m)^#{1,6} (.+)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    )
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_links_of_a_page_lead_somewhere(page):
    for groups in LINK.findall(CODE.sub("", page.read_text(encoding="utf-8"))):
        target, _, anchor = "".join(groups).partition("#")
        if ":" in target:
            continue
        file = (page.parent / unquote(target)) if target else page
        assert file.exists(), f"{page.name} links to {target}, which is not there"
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), (
                f"{page.name} links to #{anchor} of {file.name}, which has no such heading"
            )


def test_the_tables_of_strategies_are_those_of_the_published_evaluations():
    evaluations = sorted(ROOT.glob("docs/miniature/all-seed*.gz"))
    program = [sys.executable, "tests/benchmarks/strategy_tables.py", *map(str, evaluations)]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=True)
    page = (ROOT / "docs/strategies.md").read_text(encoding="utf-8").splitlines()
    assert len(done.stdout.splitlines()) > 50
    assert [line for line in done.stdout.splitlines() if line not in page] == []
