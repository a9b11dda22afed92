"""Every option has an effect or is refused, in every strategy, with every judge and model."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes import Toys, ToyVerifier
from PIL import Image

from reflectionflow_core.choice import ActorChoice
from reflectionflow_core.cli import main
from reflectionflow_core.cli.effects import (
    EFFECTS,
    Situation,
    check_effects,
    effects_table,
)
from reflectionflow_core.cli.naming import flag_of
from reflectionflow_core.cli.parser import make_parser
from reflectionflow_core.record import InputError, Stage
from reflectionflow_core.regions.masks import mask_text
from reflectionflow_core.search import search
from reflectionflow_core.search.checks import check_drafts
from reflectionflow_core.search.strategies import STRATEGIES
from reflectionflow_core.settings import SearchSettings

ROOT = Path(__file__).parents[2]
STAGES = (Stage("add a cup", "a cup", ("a cup",)), Stage("add tea", "tea", ("tea",)))
# What a setting is changed to; searches with and without it are compared.
CHANGED: dict[str, Any] = {
    "policy": "restart",
    "context": 0,
    "parents": "best",
    "noise_search": "zero_order",
    "width": 1,
    "drafts": 4,
    "axes": ("noise",),
}


def painted(settings: SearchSettings) -> list[tuple[Any, ...]]:
    """All pictures of a search, and what was asked for them."""
    toys = Toys(verifier=ToyVerifier(pass_at=0.9999))
    if settings.strategy == "staged":
        settings = replace(settings, stages=STAGES)
    *_, history = search("a red cube", settings, toys.actors())
    return [(c.seed, c.prompt, c.reflection, c.action, c.score) for c in history]


def refused(now: Situation) -> bool:
    try:
        check_effects(now)
    except InputError:
        return True
    return False


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_setting_changes_the_search_or_is_refused(strategy: str) -> None:
    for seed in range(3):  # what one search does not show, another may
        before = SearchSettings(strategy=strategy, width=2, depth=4, drafts=2, seed=seed)
        usual = painted(before)
        for name, value in CHANGED.items():
            usable = STRATEGIES[strategy].axes
            if name == "axes" and (not {*value} <= {*usable} or STRATEGIES[strategy].needs):
                continue
            after = replace(before, **{name: value})
            changes = painted(after) != usual
            allowed = not refused(Situation(after, ActorChoice(), (name,)))
            assert allowed or not changes, (strategy, name)  # what has an effect is allowed
            SEEN.setdefault((strategy, name), set()).add((allowed, changes))


SEEN: dict[tuple[str, str], set[tuple[bool, bool]]] = {}
# No seed of the toys shows these: their chains are as good at their latest as at their best.
UNSEEN = {"parents", "context", "axes"}


def test_what_never_changes_a_search_is_refused() -> None:
    assert SEEN  # of the test above
    silent = {
        where
        for where, found in SEEN.items()
        if all(allowed and not changes for allowed, changes in found)
    }
    assert {name for _, name in silent} <= UNSEEN, silent


SITUATIONS: dict[str, tuple[SearchSettings, ActorChoice, bool]] = {
    **{
        f"strategy {name}": (SearchSettings(strategy=name, axes=row.axes), ActorChoice(), True)
        for name, row in STRATEGIES.items()
    },
    "drafts only": (SearchSettings(depth=0, drafts=4), ActorChoice(), True),
    "noise axis": (SearchSettings(axes=("noise",)), ActorChoice(), True),
    "prompt axis": (SearchSettings(axes=("prompt",)), ActorChoice(), True),
    "checklist": (SearchSettings(), ActorChoice(verifier="checklist", vlm="endpoint:a"), True),
    "local judge": (SearchSettings(), ActorChoice(verifier="rubric", vlm="/models/vlm"), True),
    "objects": (SearchSettings(), ActorChoice(verifier="objects", detector="d"), True),
    "reward": (SearchSettings(), ActorChoice(verifier="reward:f"), True),
    "screened": (SearchSettings(), ActorChoice(verifier="text", screen="clip-score:f"), True),
    "full size": (SearchSettings(), ActorChoice(model="/models/flux", lora="l"), True),
    "editing": (SearchSettings(), ActorChoice(model="/m", edit_model="/e"), True),
    "joined": (SearchSettings(), ActorChoice(verifier="exact+text"), True),
    "ranking": (SearchSettings(depth=0), ActorChoice(), False),
    "ranking by a server": (
        SearchSettings(depth=0),
        ActorChoice(verifier="yes-no", vlm="endpoint:a"),
        False,
    ),
}


def each(options: tuple[str, ...], where: set[str]) -> dict[str, set[str]]:
    return dict.fromkeys(options, where)


# Where an option has an effect, by hand: the table must say the same.
CORRECTING = {f"strategy {name}" for name, s in STRATEGIES.items() if "reflection" in s.axes}
REWRITING = {f"strategy {name}" for name, s in STRATEGIES.items() if "prompt" in s.axes}
PLAIN = {
    "joined",
    "checklist",
    "local judge",
    "objects",
    "reward",
    "screened",
    "full size",
    "editing",
}
SEARCHES = {name for name, (_, _, paints) in SITUATIONS.items() if paints}
ASKED = {"checklist", "local judge", "ranking by a server"}
WHERE: dict[str, set[str]] = {
    "policy": {"strategy adaptive"},
    "context": {"strategy in-context"},
    "parents": {
        *PLAIN,
        *("prompt axis", "strategy reflection", "strategy noise+prompt"),
        *("strategy staged", "strategy in-context"),
    },
    "axes": SEARCHES - {"drafts only"},
    "width": {*SITUATIONS} - {"drafts only"},
    "noise_search": SEARCHES - {"drafts only", "prompt axis", "strategy paths"},
    "radius": set(),
    **each(("correct", "accept", "mask", "writer", "max_words"), CORRECTING | PLAIN),
    **each(("lora", "edit_model"), CORRECTING | PLAIN),
    **each(("edit_steps", "edit_guidance"), {"editing"}),
    **each(("condition_size", "condition_fit", "prompt_style"), (CORRECTING | PLAIN) - {"editing"}),
    "evolver": REWRITING | PLAIN | {"prompt axis"},
    "recheck": {"checklist"},
    **each(("stages", "inspector", "planner"), {"strategy staged"}),
    "think_first": {*SITUATIONS} - {"strategy staged", "strategy interleaved"},
    "thinker": {"strategy interleaved"},
    **each(("transformer", "dtype", "plan"), {"full size", "editing"}),
    "device": SEARCHES,
    "verifier_error": set(),
    **each(("detector", "colour_judge"), {"objects"}),
    "ground": {"checklist"},
    **each(("reward_base", "reward_template"), {"reward"}),
    "shortlist": {"screened"},
    "vlm": {*ASKED, "objects", "strategy interleaved"},
    "max_calls": ASKED,
    "vlm_dtype": {"local judge"},
    "judge_check": ASKED,
    "send_pictures": {"checklist", "ranking by a server"},
    "judge_errors": {*SITUATIONS} - {"joined", "screened"},
}


def places() -> Iterator[tuple[str, str]]:
    return ((option, where) for option in EFFECTS for where in SITUATIONS)


def test_a_default_value_without_effect_is_refused_too() -> None:
    mask = mask_text(Image.new("L", (8, 8), 255))
    for settings, option in (
        (SearchSettings(strategy="adaptive", depth=0), "width"),
        (SearchSettings(mask=mask), "correct"),
    ):
        assert refused(Situation(settings, ActorChoice(), (option,)))
        assert not refused(Situation(settings, ActorChoice()))


def test_parents_have_an_effect_on_new_noise_only_if_it_is_searched_near_theirs() -> None:
    random = SearchSettings(axes=("noise",), parents="best", width=2, depth=4)
    near = replace(random, noise_search="zero_order")
    for settings, changes in ((random, False), (near, True)):
        seeds = (replace(settings, seed=seed) for seed in range(6))
        assert any(painted(s) != painted(replace(s, parents="latest")) for s in seeds) == changes
        assert refused(Situation(settings, ActorChoice(), ("parents",))) != changes


def test_the_table_is_the_one_written_by_hand() -> None:
    assert {*EFFECTS} == {*WHERE}


def test_each_option_is_refused_at_each_place_without_effect_and_nowhere_else() -> None:
    wrong = []
    for option, where in places():
        settings, choice, paints = SITUATIONS[where]
        now = Situation(settings, choice, (option,), paints=paints)
        if refused(now) != (where not in WHERE[option]):
            wrong.append((option, where))
    assert not wrong


def test_every_refusal_says_what_and_what_to_do() -> None:
    for option, where in places():
        settings, choice, paints = SITUATIONS[where]
        try:
            check_effects(Situation(settings, choice, (option,), paints=paints))
        except InputError as error:
            flag = re.escape(flag_of(option))
            form = rf"{flag} has no effect without [^.]+(\.5)?\. [A-Z].+, or remove {flag}\."
            assert re.fullmatch(form, str(error)), error


def test_help_says_what_every_option_of_the_table_needs() -> None:
    actions = command("run")._actions
    with_run = {a.dest: a.help for a in actions if a.help != argparse.SUPPRESS}
    for option, needs in EFFECTS.items():
        assert with_run[option].endswith(f"; only with {needs.what}"), option


def test_the_page_of_the_command_line_has_the_table() -> None:
    assert effects_table() in (ROOT / "docs" / "cli.md").read_text("utf-8")


def command(name: str) -> Any:
    (below,) = (action for action in make_parser()._actions if action.dest == "command")
    return below.choices[name].filled()  # type: ignore[index]


VALUES = [
    (("--verifier", "exact:folder"), "The verifier exact loads nothing"),
    (("--verifier", "objects:folder", "--detector", "d"), "so --detector has no effect."),
    (("--verifier", "2*exact"), "A weight has no effect on a single verifier."),
    (("--gate", "exact"), "--gate and --verifier are the same verifier."),
    (("--stop", "2"), "Scores of this verifier end at 1, so --stop 2 never stops."),
    (("--stop", "-0.1"), "Scores of this verifier begin at 0, so --stop -0.1 stops at once."),
    (("--dry-run", "--open"), "--dry-run makes no page that --open could open."),
    (("--verifier", "clip-score:f", "--stop", "passed"), "does not decide what passes"),
    (
        ("--drafts", "1", "--strategy", "reflection", "--axes", "reflection"),
        "2 chains would paint some pictures twice: there is only 1 draft, and the axis noise is",
    ),
    (("--strategy", "noise", "--axes", "noise,prompt"), "does not change the prompt."),
    (("--device", ""), "--device is empty."),
    (("--lora", " "), "--lora is empty."),
    (("--guidance", "1e30"), "is not between 0 and 100"),
    (("--guidance", "1_0"), "is not a number"),
    (("--radius", "\u0660"), "is not a number"),
    (("--width", "1_0"), "is not a whole number"),
    (("--size", "1_0x64"), "is not a size such as 1024x768"),
    (("--strategy", "noise", "--writer", "template"), "--writer has no effect without"),
]


@pytest.mark.parametrize(("options", "said"), VALUES, ids=[" ".join(each) for each, _ in VALUES])
def test_odd_values_are_refused(
    options: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new"
    assert main(["run", "a red circle", "--out", str(out), *options]) == 2
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_chains_may_begin_with_fewer_drafts_where_new_noise_keeps_them_apart() -> None:
    for name in STRATEGIES:
        few = SearchSettings(strategy=name, width=3, drafts=1)
        assert not refused(Situation(few, ActorChoice(), ("drafts",)))
        check_drafts(few)
        assert len(set(painted(replace(few, depth=1)))) > 1


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (
            ["rank", "x", "a cup", "--vlm", "endpoint:a"],
            "Give one that does, such as --verifier checklist, or remove --vlm.",
        ),
        (
            ["doctor", "--vlm", "endpoint:a", "--device", "cpu"],
            "Give a local --vlm, or remove --device.",
        ),
        (
            ["judge", "--verifier", "text", "--device", "cpu"],
            "Give --verifier objects, a local --vlm, --model or --detector, or remove --device.",
        ),
    ],
)
def test_a_command_advises_only_options_that_it_takes(
    words: list[str], advice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert advice in capsys.readouterr().err
