"""What a prompt wants to be read, and what the verifier `text` says of lines that were read."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from reflectionflow_core.record import InputError, Verdict
from reflectionflow_core.registry import ActorChoice, build_verifier
from reflectionflow_core.verifiers.ensemble import EnsembleMember, EnsembleVerifier
from reflectionflow_core.verifiers.text import reading
from reflectionflow_core.verifiers.text.letters import letters_of
from reflectionflow_core.verifiers.text.reading import ReadLine
from reflectionflow_core.verifiers.text.verifier import TextVerifier
from reflectionflow_core.verifiers.text.wanted import text_wishes
from reflectionflow_core.writers.template import edit_for

LATIN = frozenset(map(chr, range(33, 0x180)))
SIGN = 'a sign that says "OPEN 24 HOURS"'


def at(
    text: str, x: float = 100, y: float = 100, sureness: float = 0.99, height: float = 20
) -> ReadLine:
    """A line with its top left corner at x, y; ten pixels a letter."""
    right, bottom = x + 10 * len(text), y + height
    return ReadLine(text, sureness, ((x, y), (right, y), (right, bottom), (x, bottom)))


class ScriptedReader:
    """Reads what it is told, and something else in a mirrored picture (one with a white corner)."""

    alphabet = LATIN

    def __init__(
        self,
        lines: Sequence[ReadLine] = (),
        places: Sequence[ReadLine] = (),
        mirrored: Sequence[ReadLine] = (),
    ) -> None:
        self.lines, self.places, self.mirrored = list(lines), list(places), list(mirrored)
        self.reads = 0

    def read(self, image: Image.Image) -> list[ReadLine]:
        self.reads += 1
        return self.mirrored if image.getpixel((0, 0)) == (255, 255, 255) else self.lines

    def find_writing(self, image: Image.Image) -> list[ReadLine]:
        return self.places


def picture() -> Image.Image:
    image = Image.new("RGB", (600, 600))
    image.putpixel((599, 0), (255, 255, 255))
    return image


def score(verdict: Verdict) -> float:
    assert verdict.score is not None
    return verdict.score


def verdict_on(prompt: str, *lines: ReadLine, **more: Sequence[ReadLine]) -> Verdict:
    return TextVerifier(ScriptedReader(lines, **more)).verify(prompt, [picture()])[0]


MARKS = (
    '"…"', "“…”", "”…”", "„…“", "„…”", "«…»", "« … »", "»…«", "‹…›", "›…‹",
    "'…'", "‘…’", "‚…‘", "’…’", "`…`", "``…''", "「…」", "『…』", "﹁…﹂", "﹃…﹄",
    "《…》", "〝…〞", "＂…＂", "״…״", '\\"…\\"',
)  # fmt: skip


@pytest.mark.parametrize("marks", MARKS)
def test_quotation_marks_of_every_form_hold_a_text(marks: str) -> None:
    quoted = marks.replace("…", "HI\nTHERE")
    wishes = text_wishes(f"a sign that says {quoted} in a street")
    assert [wanted.text for wanted in wishes.texts] == ["HI THERE"]
    assert wishes.texts[0].surface == "sign"


@pytest.mark.parametrize(
    ("prompt", "texts"),
    [
        ("the dog's bone and the cat's tail", []),
        ("the dogs' house and the cats' house", []),
        ("rock 'n' roll in the '90s", []),
        ("a poster of the '90s with 'SALE' on it", ["SALE"]),
        ("a 24\" monitor that shows \"HELLO\"", ["HELLO"]),
        ("a man of 6'2\" on a stage", []),
        ("a mug with 'DON'T PANIC'", ["DON'T PANIC"]),
        ("a mug with 'Rock 'n' Roll' in red", ["Rock 'n' Roll"]),
        ("a mug with ‘DON’T PANIC’", ["DON’T PANIC"]),
        ('a shop "A" beside a shop "B"', ["A", "B"]),
        ('an empty "" text', []),
        ("写着“你好”的牌子", ["你好"]),
        ("ein Schild mit „Bäckerei“", ["Bäckerei"]),
        ("a sign with ''TWO MARKS''", ["TWO MARKS"]),
        ('“say ‘HI’ now”', ["say ‘HI’ now"]),
        ("a banner with 'Ladies' Night' and the dogs' house", ["Ladies' Night"]),
        ("a sign 'Sales' and a sign 'Quiet'", ["Sales", "Quiet"]),
        ("a 15” laptop that shows “HELLO”", ["HELLO"]),
    ],
)  # fmt: skip
def test_apostrophes_and_inches_are_no_quotation_marks(prompt: str, texts: list[str]) -> None:
    assert [wanted.text for wanted in text_wishes(prompt).texts] == texts


@pytest.mark.parametrize(
    ("prompt", "nothing_else"),
    [
        ("a cat without any text", True),
        ("a poster, no text", True),
        ("a poster with no words or letters", True),
        ('a sign "OPEN" and no other text', True),
        ('a sign "OPEN", nothing else', True),
        ("ein Plakat ohne Text", True),
        ("une affiche sans texte", True),
        ("没有文字的海报", True),
        ("ein Plakat ohne jeden Schriftzug", True),
        ("senza nessun testo", True),
        ("вывеска без каких-либо надписей", True),
        ("en skylt utan text", True),
        ("文字のないポスター", True),
        ("not a single word", True),
        ("a wall without texture", False),
        ("a sign with no notext", False),
        ('a sign that says "NO TEXT"', False),
        ("a cat", False),
    ],
)
def test_a_prompt_may_ask_for_no_writing(prompt: str, nothing_else: bool) -> None:
    assert text_wishes(prompt).nothing_else is nothing_else


def test_words_around_a_text_say_where_it_stands_how_often_and_whether_it_is_banned() -> None:
    mugs, shirt, banned, last = text_wishes(
        'three mugs that each say "TEA"; the word "HI" on a shirt. Without the word "SALE". "END"'
    ).texts
    assert (mugs.surface, mugs.copies, mugs.banned) == ("mug", True, False)
    assert (shirt.surface, shirt.copies) == ("shirt", False)
    assert banned.banned and not last.banned
    longer, but = text_wishes('It no longer says "OPEN", says anything but "SALE"').texts
    assert longer.banned and but.banned
    assert text_wishes('a wall with "STOP" painted twice').texts[0].copies


@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [
        ("a cat", "no words in quotation marks"),
        ('a sign that says "OPEN', "before 'OPEN' in the prompt is never closed"),
        ('a sign that says "..."', "no letters or digits"),
        ('a sign that says "Привет"', "cannot read: П р и в е т. It reads Latin"),
        ('a sign that says "I ♥ NY"', "cannot read: ♥. It reads Latin"),
    ],
)
def test_a_prompt_that_cannot_be_judged_is_refused_before_any_picture(
    prompt: str, sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        TextVerifier(ScriptedReader()).verify(prompt, [])


@pytest.mark.parametrize(
    "lines",
    [
        [at("OPEN 24 HOURS")],
        [at("open 24 hours")],
        [at("OPEN24HOURS")],
        [at("OPEN"), at("24 HOURS", y=130)],
        [at("24 HOURS", y=130), at("OPEN")],
        [at("OPEN", x=50), at("24", x=120), at("HOURS", x=180)],
        [at("OPEN,"), at("24 HOURS.", y=125)],
        [at("0PEN 24 H0URS")],
        [at("OPEN 24 HOURS"), at("Joe's Diner", y=400)],
    ],
)
def test_case_breaks_spaces_soft_marks_and_other_texts_do_not_matter(lines: list[ReadLine]) -> None:
    verdict = verdict_on(SIGN, *lines)
    assert verdict.passed and verdict.score == 1 and not verdict.unmet
    assert verdict.evidence[0].text == 'the text "OPEN 24 HOURS"'


@pytest.mark.parametrize(
    ("lines", "unmet"),
    [
        ([at("OPNE 24 HOURS")], 'replace the text "OPNE 24 HOURS" by "OPEN 24 HOURS"'),
        ([at("OPEN OPEN 24 HOURS")], 'replace the text "OPEN OPEN 24 HOURS" by'),
        ([at("OPEN 24"), at("24 HOURS", y=125)], 'replace the text "OPEN 24 24 HOURS" by'),
        ([at("24 HOURS OPEN")], 'replace the text "24 HOURS OPEN" by'),
        ([at("24 HOURS"), at("OPEN", y=130)], 'replace the text "24 HOURS'),
        ([at("OPEN HOURS")], 'replace the text "OPEN HOURS" by'),
        ([at("WE OPEN 24 HOURS")], 'replace the text "WE OPEN 24 HOURS" by'),
        ([at("OPEN 24 HOURS"), at("OPFN", x=240)], 'remove the text "OPFN"'),
        ([at("OPEN")], 'replace the text "OPEN" by "OPEN 24 HOURS" on the sign'),
        ([at("OPEN LATE")], 'replace the text "OPEN LATE" by "OPEN 24 HOURS" on the sign at'),
        ([at("HELLO")], 'replace the text "HELLO" by "OPEN 24 HOURS" on the sign at the top'),
        ([], 'add the text "OPEN 24 HOURS" on the sign'),
    ],
)
def test_every_fault_is_a_command(lines: list[ReadLine], unmet: str) -> None:
    verdict = verdict_on(SIGN, *lines)
    assert verdict.passed is False and score(verdict) < 1
    assert any(fault.startswith(unmet) for fault in verdict.unmet)
    assert all(edit_for(fault) == fault for fault in verdict.unmet)
    assert {seen.text for seen in verdict.evidence} >= set(verdict.unmet)


def test_what_is_there_of_a_longer_text_is_replaced_as_one() -> None:
    prompt = 'a poster that says "GRAND OPENING SALE TODAY ONLY"'
    verdict = verdict_on(prompt, at("GRAND"), at("SALE", y=130), at("SALE", x=400, y=500))
    assert verdict.unmet == (
        'replace the text "GRAND SALE" by "GRAND OPENING SALE TODAY ONLY" on the poster at the top '
        "left",
        'remove the text "SALE" at the bottom right',
    )
    assert 0 < score(verdict) < 0.5


def test_a_fault_says_where_and_its_evidence_has_the_box() -> None:
    verdict = verdict_on('a sign that says "OPEN"', at("OPNE", x=30, y=30, sureness=0.9))
    assert verdict.unmet == ('replace the text "OPNE" by "OPEN" on the sign at the top left',)
    (seen,) = verdict.evidence
    assert seen.pixels((600, 600)) == (30, 30, 70, 50) and seen.sureness == 0.9
    assert verdict.score == verdict.aspects["OPEN"] == 0.5


@pytest.mark.parametrize(
    ("wanted", "read", "passes"),
    [
        ("HAIL", "HALL", False), ("HAIL", "hall", False), ("hall", "HAIL", False),
        ("hall", "haIl", True), ("Illinois", "lllinois", True), ("101", "IOI", True),
        ("DON'T", "DONT", False), ("DON'T", "don’t", True), ("$5.99", "$599", False),
        ("WOW!", "WOW", False), ("Straße", "STRASSE", True), ("Café", "Cafe", False),
        ("-20%", "20%", False), ("-20%", "−20 %", True), ("-5°C", "5°C", False), ("A-", "A", False),
        ("20%", "-20%", False), ("I <3 NY", "I 3 NY", False), ("24", "- 24 -", True),
        ("SALE - 50%", "SALE -50%", True), ("SALE – 50%", "SALE-50%", True),
        ("OPEN 9 - 5", "OPEN 9-5", True), ("SALE - 50%", "SALE - 50%", True),
        ("24", "-24-", True), ("OPEN", "OPEN-", True), ("OPEN", "-OPEN", True),
        ("ﬁne", "fine", True), ("COFFEE", "COFFFEE", False), ("İzmir", "İZMİR", True),
    ],
)  # fmt: skip
def test_which_letters_count_as_the_same(wanted: str, read: str, passes: bool) -> None:
    assert verdict_on(f"a sign “{wanted}”", at(read)).passed is passes


def test_lost_spaces_after_a_comma_and_dirt_taken_for_accents_do_not_matter() -> None:
    assert verdict_on("a sign “Adopt, don't shop”", at("ADOPT,DON'TSHOP")).passed
    assert verdict_on("a sign “$1,500”", at("$1500")).passed is False
    assert verdict_on("a sign “QUIET ZONE”", at("QUIET ŽONE", sureness=0.89)).passed
    assert verdict_on("a sign “QUIET ZONE”", at("QUIET ŽONE")).passed is False
    assert verdict_on("a sign “Señor”", at("Senor", sureness=0.7)).passed is False


def test_no_text_is_told_from_writing_that_cannot_be_read() -> None:
    nothing = verdict_on('a sign that says "OPEN"')
    assert "No text was found." in nothing.explanation
    blob = ReadLine("", 0.8, ((400, 500), (500, 500), (500, 550), (400, 550)))
    unreadable = verdict_on('a sign that says "OPEN"', places=[blob])
    assert unreadable.unmet == (
        'replace the unreadable writing on the sign at the bottom right by "OPEN"',
    )
    assert "could not be read" in unreadable.explanation
    assert score(nothing) < score(unreadable) < 1 and unreadable.passed is False


def test_where_a_text_is_missing_the_largest_other_writing_is_replaced_by_it() -> None:
    shop = at("CLOSED", x=30, y=30, height=40), at("ON SUNDAY", x=30, y=75, height=40)
    verdict = verdict_on('a sign "BAKERY"', at("Nike", x=500, y=500), *shop)
    text = 'replace the text "CLOSED ON SUNDAY" by "BAKERY" on the sign at the top left'
    assert verdict.unmet == (text,) and verdict.score == 0
    assert verdict.evidence[0].pixels((600, 600)) == (30, 30, 120, 115)
    two = verdict_on('a sign "BAKERY" and a mug "TEA"', *shop)
    assert two.unmet == (text, 'add the text "TEA" on the mug')
    other = verdict_on('a sign "BAKERY", no other text', *shop)
    assert 'add the text "BAKERY" on the sign' in other.unmet and len(other.unmet) == 3


def test_mirrored_writing_is_named_and_its_box_is_that_of_the_picture() -> None:
    blob = ReadLine("", 0.8, ((40, 50), (80, 50), (80, 70), (40, 70)))
    verdict = verdict_on('a sign "OPEN"', places=[blob], mirrored=[at("OPEN", x=520, y=50)])
    assert verdict.unmet == (
        'mirror the writing on the sign at the top left, so that it reads "OPEN"',
    )
    assert verdict.evidence[0].pixels((600, 600)) == (40, 50, 80, 70)


def test_a_right_text_that_is_hardly_legible_is_left_in_doubt() -> None:
    verdict = verdict_on('a sign "OPEN"', at("OPEN", sureness=0.4))
    assert verdict.passed is None and verdict.score == 0.5 and not verdict.unmet
    assert '"OPEN" is hardly legible (40 % sure).' in verdict.explanation


def test_several_texts_are_found_wherever_they_are_and_each_word_serves_one() -> None:
    prompt = 'a poster with "NEW" and "NEW YORK"'
    assert verdict_on(prompt, at("NEW YORK"), at("NEW", y=300)).passed
    assert verdict_on(prompt, at("NEW"), at("NEW YORK", y=300)).passed
    assert verdict_on('a poster "HELLO" "WORLD"', at("HELLO WORLD")).passed
    alone = verdict_on(prompt, at("NEW YORK"))
    assert alone.unmet == ('add the text "NEW" on the poster',) and alone.score == 0.5
    between = verdict_on('a poster "HELLO" "WORLD"', at("HELLO BIG WORLD"))
    assert between.unmet == ('remove the text "BIG" at the top left',)


def test_columns_are_read_one_after_the_other() -> None:
    left = [at("OPEN", x=50, y=100), at("24 HOURS", x=50, y=130)]
    right = [at("FRESH", x=300, y=100), at("BREAD", x=300, y=130)]
    prompt = 'a wall with "OPEN 24 HOURS" and "FRESH BREAD"'
    assert verdict_on(prompt, left[0], right[0], left[1], right[1]).passed


def test_letters_below_each_other_are_one_word() -> None:
    letters = [at(letter, y=100 + 30 * n, height=24) for n, letter in enumerate("OPEN")]
    assert verdict_on('a neon sign "OPEN"', *letters).passed


def test_a_text_once_more_is_too_much_unless_copies_are_asked_for() -> None:
    lines = at("TEA"), at("TEA", x=400, y=500)
    once = verdict_on('a mug that says "TEA"', *lines)
    assert once.unmet == ('remove the text "TEA" at the bottom right',)
    assert verdict_on('two mugs that say "TEA"', *lines).passed
    wrong = verdict_on('two mugs that say "TEA"', at("TEA"), at("TEE", x=400, y=500))
    assert wrong.unmet == ('replace the text "TEE" by "TEA" on the mug at the bottom right',)
    assert 0 < score(wrong) < 1


@pytest.mark.parametrize(
    ("prompt", "least"),
    [
        ('two signs that say "STOP"', 2),
        ('three red signs, each saying "STOP", in a street', 3),
        ('both of the signs read "STOP"', 2),
        ('5 mugs with the word "STOP"', 5),
        ('two cats and a sign that says "STOP"', 1),
        ('two cats with signs that say "STOP"', 1),
        ('signs that say "STOP"', 1),
        ('two signs that say "STOP" and "GO"', 1),
        ('two signs, one says "STOP"', 1),
        ('two signs that say "STOP" and, on the other, "GO"', 1),
    ],
)
def test_a_number_of_signs_is_how_often_the_text_must_be_there(prompt: str, least: int) -> None:
    assert text_wishes(prompt).texts[0].least == least


def test_copies_with_other_letters_in_order_are_wrong_and_too_few_are_named() -> None:
    two, stop, spot = 'two signs that say "STOP"', at("STOP"), at("SPOT", x=400, y=500)
    swapped = verdict_on(two, stop, spot)
    assert swapped.unmet == ('replace the text "SPOT" by "STOP" on the sign at the bottom right',)
    assert verdict_on(two, stop).unmet == ('add the text "STOP" on another sign',)
    assert verdict_on(two, spot).unmet[1:] == ('add the text "STOP" on another sign',)
    assert verdict_on(two).unmet == ('add the text "STOP" on the sign',)
    assert verdict_on('four signs "STOP"', stop).score < verdict_on(two, stop).score  # type: ignore[operator]
    once = verdict_on('a sign "STOP"', stop, spot)
    assert once.unmet == ('remove the text "SPOT" at the bottom right',)


def test_other_text_counts_only_where_it_is_excluded_or_banned() -> None:
    lines = at("OPEN"), at("SALE", y=400)
    assert verdict_on('a sign "OPEN"', *lines).passed
    other = verdict_on('a sign "OPEN" and no other text', *lines)
    assert other.unmet == ('remove the text "SALE" at the bottom left',)
    banned = verdict_on('a sign "OPEN", without the word "SALE"', *lines)
    assert banned.unmet == ('remove the text "SALE" at the bottom left',)
    assert banned.passed is False and banned.score == 0.5


def test_without_any_text_means_none_and_many_texts_are_counted() -> None:
    assert verdict_on("a cat without any text").score == 1
    few = verdict_on("a cat without any text", at("OPEN"))
    many = verdict_on("a cat, no text", *(at(f"WORD{n}", y=3 * n) for n in range(200)))
    assert few.passed is False and score(many) < score(few)
    assert len(many.unmet) == 6 and many.unmet[-1] == "remove the text in 195 other places"
    assert len(many.evidence) == 201
    blob = ReadLine("", 0.8, ((400, 500), (500, 500), (500, 550), (400, 550)))
    strange = verdict_on("a cat without any text", places=[blob])
    assert strange.unmet == ("remove the unreadable writing at the bottom right",)
    speck = verdict_on("a cat without any text", at("O"), at("ii", y=300, sureness=0.3))
    assert speck.passed  # ears and ornaments are often read as one letter


def test_two_hundred_texts_are_searched_within_a_second_or_so() -> None:
    reader = ScriptedReader([at(f"OPEN {n}", x=n % 10 * 60, y=n // 10 * 25) for n in range(200)])
    verdict = TextVerifier(reader).verify('a wall with "OPEN 137"', [picture()])[0]
    assert verdict.aspects["OPEN 137"] == 1


@settings(max_examples=40, deadline=None)
@given(st.text(alphabet="AB 1OIl.-", min_size=1, max_size=12))
def test_whatever_is_wanted_passes_where_exactly_that_is_read(text: str) -> None:
    if not letters_of(text):
        return
    assert verdict_on(f"a sign “{text}”", at(text)).passed


@settings(max_examples=40, deadline=None)
@given(st.text(alphabet="ABCDE ", min_size=1, max_size=8), st.text(alphabet="ABCDE ", max_size=8))
def test_what_passes_has_the_wanted_letters_and_score_one(wanted: str, read: str) -> None:
    if not wanted.split():
        return
    verdict = verdict_on(f"a sign “{wanted}”", at(read))
    assert verdict.passed is ("".join(wanted.split()) == "".join(read.split()))
    assert (verdict.score == 1) is bool(verdict.passed)


class Fixed:
    calls = 0

    def verify(self, prompt: str, images: Sequence[Image.Image], progress=None) -> list[Verdict]:
        return [Verdict(0.5, True, explanation="fine") for _ in images]


def joined(gate: bool = False) -> EnsembleVerifier:
    text = TextVerifier(ScriptedReader([at("OPNE")]))
    members = [EnsembleMember("fixed", Fixed()), EnsembleMember("text", text)]
    return EnsembleVerifier(members[:1], text) if gate else EnsembleVerifier(members)


@pytest.mark.parametrize("gate", [False, True])
def test_among_others_it_is_left_out_where_the_prompt_has_no_text(gate: bool) -> None:
    ensemble = joined(gate)
    (without,) = ensemble.verify("a cat", [picture()])
    assert without.passed and without.unmet == () and "text" not in without.aspects
    assert ("text: left out" in without.explanation) is not gate
    (with_text,) = ensemble.verify('a sign "OPEN"', [picture()])
    assert with_text.passed is False and with_text.unmet[0].startswith('replace the text "OPNE"')


def test_alone_it_refuses_such_a_prompt_also_in_an_ensemble() -> None:
    ensemble = EnsembleVerifier([EnsembleMember("text", TextVerifier(ScriptedReader()))])
    with pytest.raises(InputError, match="no words in quotation marks"):
        ensemble.verify("a cat", [])


def test_a_missing_part_of_the_extra_is_named_with_what_to_install(monkeypatch) -> None:
    monkeypatch.setattr(reading, "NEEDED", ("json", "no_such_reader"))
    with pytest.raises(InputError, match=r'needs no_such_reader, .*pip install -e "\.\[text\]"'):
        build_verifier(ActorChoice(verifier="text"))
