"""A setting of a search is written once; the command line has an option for it."""

from __future__ import annotations

from dataclasses import Field, fields, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from reflectionflow_core.cli.naming import name_of
from reflectionflow_core.cli.options import make_settings
from reflectionflow_core.cli.parser import make_parser
from reflectionflow_core.record import Stage
from reflectionflow_core.regions.masks import mask_picture, mask_text
from reflectionflow_core.registry import choices_of
from reflectionflow_core.settings import RECOMMENDED, Budget, SearchSettings

MASK = mask_text(Image.new("L", (8, 8), 200))
PLAN = (Stage("add a cup", "a cup", ("a cup",)),)
BY_TYPE: dict[str, tuple[list[str], Any]] = {
    "int": (["5"], 5),
    "int | None": (["5"], 5),
    "float": (["0.5"], 0.5),
    "float | None": (["0.5"], 0.5),
    "str | None": (["two bowls"], "two bowls"),
    "str | float": (["passed"], "passed"),
    "bool": ([], True),
    "tuple[Axis, ...]": (["noise,prompt"], ("noise", "prompt")),
    "tuple[Stage, ...]": (["plan.txt"], PLAN),
}


def asked(setting: Field[Any]) -> tuple[list[str], Any]:
    """Words for a setting that differ from its default, and what they mean."""
    if names := choices_of(setting):
        return [names[-1]], names[-1]
    if setting.name == "mask":
        return ["mask.png"], MASK
    return BY_TYPE[str(setting.type)]


@pytest.mark.parametrize(
    "setting",
    [f for f in (*fields(SearchSettings), *fields(Budget)) if f.name != "budget"],
    ids=name_of,
)
def test_every_setting_has_an_option(
    setting: Field[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("plan.txt").write_text("add a cup -> a cup -> a cup", "utf-8")
    mask_picture(MASK).save("mask.png")
    words, value = asked(setting)
    options = ["run", "a cup", "--out", "x", f"--{name_of(setting).replace('_', '-')}", *words]
    given = vars(make_parser().parse_args(options))
    wanted = {setting.name: value}
    if setting in fields(Budget):
        wanted = {"budget": Budget(**wanted)}
    assert make_settings(given) == replace(RECOMMENDED, **wanted)
