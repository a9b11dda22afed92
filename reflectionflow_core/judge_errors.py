"""How often a judge is wrong, by kind of statement, measured on statements of known truth.

It asks no model: `judge_exam` measures, `vlm/kept_errors.py` stores.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Any

from .record import InputError

THING, NUMBER, COLOUR, POSITION, OTHER = KINDS = ("thing", "number", "colour", "position", "other")
LEVEL = 0.95  # of the intervals
FORMAT = 1
Interval = tuple[float, float]  # of a share, 0 to 1

# What is wrong with a wrong statement of each kind, in the plural.
WRONG = {
    THING: "wrong things",
    NUMBER: "wrong counts",
    COLOUR: "wrong colours",
    POSITION: "wrong positions",
    OTHER: "other faults",
}
_NUMBERS = "two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|[2-9]|[1-9][0-9]+"
_NUMBER = re.compile(
    rf"\b(?:{_NUMBERS}|exactly|only|single|no|both|dozen|pair|several|many|number|count)\b"
)
_COLOUR = re.compile(
    r"\b(?:red|orange|yellow|green|blue|purple|violet|pink|brown|black|white|gr[ae]y|golden|gold"
    r"|silver|beige|turquoise|cyan|magenta|teal|colou?r(?:ed|s)?)\b"
)
_POSITION = re.compile(
    r"\b(?:(?:left|right)(?: side)?|above|below|under|underneath|beneath|over|on top|behind"
    r"|in front|next to|beside|between|inside|near|at the (?:top|bottom)|in the (?:middle|centre"
    r"|center|corner|background|foreground)|on (?:the|a|an))\b"
)
_THING = re.compile(
    r"(?:(?:there (?:is|are)|missing|the (?:picture|image) (?:shows|has|contains)) )?"
    r"(?:(?:an?|the|some) )?(?:[\w'-]+ ){0,2}[\w'-]+"
    r"(?: (?:is|are) (?:there|present|visible|shown))?"
)
# These ask how many there are, whatever else is said of them.
_COUNTED = re.compile(rf"\b(?:how many|exactly|only (?:one|{_NUMBERS})|all (?:{_NUMBERS}))\b")
# "the cup is red", but not "there is a red cup", "is the cup red" or "a red cup is there".
_STATED = re.compile(
    r"(?!(?:there|is|are|what|which|how) ).+? (?:is|are) "
    r"(?P<property>(?!(?:there|present|visible|shown|missing)$).+)"
)
_WRITTEN = re.compile(r'(?<!\d)["“„«「]\s*\w.*["”“»」]')  # after a digit it means inches
_SAYS_MORE = re.compile(r"\b(?:is|are|in|of|made|with|style|wearing|holding)\b")


@dataclass(frozen=True, slots=True)
class KindErrors:
    """How often a judge was wrong about statements of one kind (one of KINDS).

    Of `wrong_shown` false statements it accepted `missed`; of `right_shown` true ones it rejected
    `false_alarms`. Raises ValueError for counts that contradict each other.
    """

    kind: str
    wrong_shown: int = 0
    missed: int = 0
    right_shown: int = 0
    false_alarms: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"the kind {self.kind!r:.40} is none of {', '.join(KINDS)}")
        if not (0 <= self.missed <= self.wrong_shown):
            raise ValueError(f"{self.missed} of {self.wrong_shown} {self.kind} missed")
        if not (0 <= self.false_alarms <= self.right_shown):
            raise ValueError(f"{self.false_alarms} of {self.right_shown} {self.kind} false alarms")

    @property
    def miss_rate(self) -> float | None:
        """The share of false statements that the judge accepted; None if none was shown."""
        return self.missed / self.wrong_shown if self.wrong_shown else None

    @property
    def false_alarm_rate(self) -> float | None:
        """The share of true statements that the judge rejected; None if none was shown."""
        return self.false_alarms / self.right_shown if self.right_shown else None

    @property
    def miss_interval(self) -> Interval:
        """Wilson's 95 % interval of the miss rate; (0, 1) where nothing was measured."""
        return wilson(self.missed, self.wrong_shown)

    @property
    def false_alarm_interval(self) -> Interval:
        """Wilson's 95 % interval of the false-alarm rate; (0, 1) where nothing was measured."""
        return wilson(self.false_alarms, self.right_shown)

    def __add__(self, other: KindErrors) -> KindErrors:
        """Both added, under the kind of the first."""
        return KindErrors(
            self.kind,
            self.wrong_shown + other.wrong_shown,
            self.missed + other.missed,
            self.right_shown + other.right_shown,
            self.false_alarms + other.false_alarms,
        )


@dataclass(frozen=True, slots=True)
class JudgeErrors:
    """The measured errors of one judge.

    * `judge`: its name on the command line.
    * `correlation` (-1 to 1): how much its errors repeat when a statement is asked again in other
      words, with the picture in a frame and in another order: 1 if asking again tells nothing new,
      0 if it is as good as another judge, None if not measured.
    * `asked_again`: statements that were repeated; of the `wrong_before` ones, `wrong_again` were
      answered wrongly again.
    * `questions`, `unanswered`: how many were answered, and how many not.
    * `pictures`: which pictures were shown, in words.

    Raises ValueError for a kind that occurs twice and for a correlation outside -1 to 1.
    """

    judge: str
    kinds: tuple[KindErrors, ...] = ()
    correlation: float | None = None
    asked_again: int = 0
    wrong_before: int = 0
    wrong_again: int = 0
    questions: int = 0
    unanswered: int = 0
    pictures: str = ""

    def __post_init__(self) -> None:
        names = [each.kind for each in self.kinds]
        if len(set(names)) < len(names):
            raise ValueError("a kind occurs twice")
        if self.correlation is not None and not -1 <= self.correlation <= 1:
            raise ValueError(f"the correlation {self.correlation} is not between -1 and 1")
        if min(self.asked_again, self.wrong_again, self.questions, self.unanswered) < 0:
            raise ValueError("a count is negative")
        if not self.wrong_again <= self.wrong_before <= self.asked_again:
            raise ValueError("more answers were wrong again than were asked again")

    def of(self, kind: str) -> KindErrors:
        """The errors of one kind; all counts are 0 for one that was not measured."""
        return next((each for each in self.kinds if each.kind == kind), KindErrors(kind))

    @property
    def total(self) -> KindErrors:
        """All kinds added, as the kind "other"."""
        return sum(self.kinds, KindErrors(OTHER))

    def data(self) -> dict[str, Any]:
        """As JSON values, with the number of the format."""
        return {"format": FORMAT, **asdict(self), "kinds": [asdict(each) for each in self.kinds]}

    @classmethod
    def from_data(cls, data: object) -> JudgeErrors:
        """What `data` made. Raises InputError for anything else."""
        try:
            return _parsed(data)
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(
                f"The kept errors of the judge cannot be read: {error}. "
                "Measure them again with reflectionflow judge."
            ) from error


def errors_line(errors: JudgeErrors) -> str:
    """The measured errors as a sentence for reports, the most frequent misses first."""
    missing = [each for each in errors.kinds if each.missed]
    worst = sorted(missing, key=lambda each: -(each.miss_rate or 0.0))
    total = errors.total
    parts = [f"{each.missed} of {each.wrong_shown} {WRONG[each.kind]}" for each in worst]
    misses = ", ".join(parts) or f"none of {total.wrong_shown} wrong statements"
    alarms = f"{total.false_alarms} of {total.right_shown} right statements"
    return f"This judge misses {misses}, and calls {alarms} wrong."


def _parsed(data: object) -> JudgeErrors:
    record = _fields(data, JudgeErrors, {"format"})
    if (found := record.pop("format", None)) != FORMAT:
        raise ValueError(f"they have the format {found!r:.20}, and this version reads {FORMAT}")
    kinds = record.get("kinds", [])
    if not isinstance(kinds, (list, tuple)):
        raise ValueError("kinds is not a list")
    return JudgeErrors(
        **{**record, "kinds": tuple(KindErrors(**_fields(each, KindErrors)) for each in kinds)}
    )


_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "str": (str,),
    "float | None": (int, float, type(None)),
}


def _fields(data: object, kind: type, more: set[str] | frozenset[str] = frozenset()) -> dict:
    """The fields of a dataclass in JSON; raises ValueError for other names and types."""
    if not isinstance(data, Mapping):
        raise ValueError("a record is not an object")
    types = {f.name: _TYPES.get(str(f.type)) for f in fields(kind)}
    if unknown := data.keys() - types.keys() - more:
        raise ValueError(f"there is no field {min(map(str, unknown))!r:.40}")
    for name, value in data.items():
        allowed = types.get(name)
        # By the type itself, since True is an int, too.
        if allowed and type(value) not in allowed:
            raise ValueError(f"{name} is {value!r:.40}")
    return dict(data)


@lru_cache(1024)
def wilson(found: int, shown: int) -> Interval:
    """Wilson's 95 % interval (1927) of a share `found` of `shown`; (0, 1) for none shown."""
    if not shown:
        return 0.0, 1.0
    from scipy.stats import binomtest  # takes a second to import

    interval = binomtest(found, shown).proportion_ci(LEVEL, method="wilson")
    return float(interval.low), float(interval.high)


def kind_of(text: str) -> str:
    """The kind (of KINDS) of a statement, question or fault, by its words.

    A position comes before a number, a number before a colour: "two red cups left of a plate" is
    about a position. If a colour or another property is stated of objects, the statement is about
    that property: "two cups are red" is about a colour, "the red cup is big" is "other"; but
    "exactly two cups are red" is about a number. The mere name of an object is a thing: "a cup",
    "there is a dog"; but "missing a red cup" is about a colour. "extra cup" is a number. Everything
    else is "other", including written text: a sign that says "24 RED HATS".
    """
    said = " ".join(text.lower().split()).strip(" .?!")
    if _WRITTEN.search(text):
        return OTHER
    stated = _STATED.fullmatch(said)
    said_of_it = stated["property"] if stated else said
    if _POSITION.search(said):
        return POSITION
    of_number = stated is None or _COUNTED.search(said) or _NUMBER.search(said_of_it)
    if said.startswith("extra ") or (_NUMBER.search(said) and of_number):
        return NUMBER
    if _COLOUR.search(said_of_it):
        return COLOUR
    return OTHER if stated and _NUMBER.search(said) else _of_a_thing(said)


def _of_a_thing(said: str) -> str:
    """THING where one is named and no more is said of it."""
    bare = re.sub(r"^(?:there (?:is|are) |is there |are there )|(?: (?:is|are) there)$", "", said)
    return THING if _THING.fullmatch(bare) and not _SAYS_MORE.search(bare) else OTHER
