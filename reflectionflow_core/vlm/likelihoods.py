"""P(an answer begins with a choice), from the likeliest first tokens or from samples."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..record import InputError
from .closed import BEFORE_ANSWERS, begins_otherwise, choice_index, find_choice, folded, said_choice
from .thoughts import without_thoughts

# Least probability of all choices together where they are weighed against each other. Measured:
# models that are about to say something else leave them 1e-6 (a thought) to 0.0035 (a description).
MASS = 0.05
AGREEING = 3  # sampling ends when so many samples agree
_SPACES = str.maketrans("\u2581\u0120\u010a", "  \n")  # as tokenizers write them
Rivals = tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class AnswerToken:
    """A token of an answer, and likely alternatives with log-probabilities or logits."""

    text: str
    rivals: Rivals


def check_choices(choices: Sequence[str]) -> None:
    """InputError if a choice is empty or two differ only in case and leading signs."""
    bare = [folded(choice) for choice in choices]
    if not bare or not all(bare) or len(set(bare)) < len(bare):
        raise InputError(
            f"The choices {list(choices)} are empty or equal. Give different texts; upper and "
            "lower case count as the same."
        )


def from_answer(
    tokens: Sequence[AnswerToken], choices: Sequence[str], cut: bool = False
) -> tuple[float, ...] | None:
    """P(choice) at the token where an answer states its choice, after thoughts and markup.

    In a `cut` answer only at its beginning, see `certain_text`. None if the choices have less than
    MASS there: the model says something else, and the remaining probability would be noise.
    """
    for place, says in deciding_places([token.text for token in tokens], choices, cut):
        own = tokens[place].text, says
        if (odds := from_top_tokens(tokens[place].rivals, choices, own=own)) is not None:
            return odds
    return None


def from_top_tokens(
    tops: Iterable[tuple[str, float]],
    choices: Sequence[str],
    least: float = MASS,
    own: tuple[str, int | None] = ("", None),
) -> tuple[float, ...] | None:
    """P(choice) from (token, log-probability) pairs, summing to 1.

    None if all choices together have less than `least`. `own` is the written token with the choice
    that the answer states there: the "Ne" of "Nein" counts for "no". Other tokens that fit several
    choices, or none, are ignored. A choice that is not listed gets the most that the list leaves.
    """
    mass, listed = [0.0] * len(choices), []
    for token, logprob in normalised(tops):
        listed.append(math.exp(logprob))
        index = choice_index(token, choices)
        if index is None and token.strip() == own[0].strip():
            index = own[1]
        if index is not None:
            mass[index] += listed[-1]
    if sum(mass) < least or not any(mass):
        return None
    left = max(1 - sum(listed), 0) / max(mass.count(0), 1)
    mass = [m or min(left, *listed) for m in mass]
    return tuple(m / sum(mass) for m in mass)


def normalised(tops: Iterable[tuple[str, float]]) -> list[tuple[str, float]]:
    """The pairs with log-probabilities, also for servers that give logits.

    Values above 0 reveal logits; only the likeliest tokens are then part of the sum.
    """
    pairs = list(tops)
    highest = max((score for _, score in pairs), default=0.0)
    if highest <= 0:
        return pairs
    total = highest + math.log(sum(math.exp(score - highest) for _, score in pairs))
    return [(token, score - total) for token, score in pairs]


def tokens_of(said: str, tokens: Sequence[AnswerToken]) -> tuple[AnswerToken, ...]:
    """The tokens from the beginning of the answer `said`, all if it is empty; () if they belong to
    something else, such as a thought that the server removed from the answer."""
    texts = [token.text for token in tokens]
    raw = "".join(texts).translate(_SPACES)
    words = said, *said.split(maxsplit=1)[:1]  # later signs may be split into bytes
    start = next((at for at in map(raw.rfind, words) if at >= 0), None) if said else 0
    place = None if start is None else _covering(texts, start)
    return () if place is None else tuple(tokens[place:])


def best_scores(tops: Rivals, answers: Sequence[str]) -> tuple[float, ...]:
    """The largest logit or log-probability of a token for each answer; -inf if there is none.

    All are -inf if the model says something else: the likeliest token is not an answer, and all
    answers together have less than MASS.
    """
    scores = {folded(token): score for token, score in sorted(tops, key=lambda top: top[1])}
    said = tuple(scores.get(folded(answer), -math.inf) for answer in answers)
    likeliest = max(scores.values(), default=0.0) in said
    if not likeliest and sum(masses_from_top_tokens(tops, answers)) < MASS:
        return (-math.inf,) * len(said)
    return said


def masses_from_top_tokens(
    tops: Iterable[tuple[str, float]], answers: Sequence[str]
) -> tuple[float, ...]:
    """P(answer) among all tokens, from (token, log-probability) pairs; only whole answers count."""
    bare = [folded(answer) for answer in answers]
    mass = [0.0] * len(answers)
    for token, logprob in normalised(tops):
        if folded(token) in bare:
            mass[bare.index(folded(token))] += math.exp(logprob)
    return tuple(min(m, 1.0) for m in mass)


def from_samples(texts: Iterable[str], choices: Sequence[str]) -> tuple[float, ...] | None:
    """P(choice) from sampled answers with Laplace smoothing; None if no choice occurs."""
    counts = [0] * len(choices)
    for text in texts:
        if (index := said_choice(text, choices)) is not None:
            counts[index] += 1
    total = sum(counts)
    return tuple((c + 1) / (total + len(counts)) for c in counts) if total else None


def enough_samples(texts: Sequence[str], choices: Sequence[str], most: int) -> bool:
    """Whether sampling can end: there are `most` samples, or the first AGREEING ones agree."""
    said = [said_choice(text, choices) for text in texts]
    agree = len(said) >= AGREEING and len(set(said)) == 1 and said[0] is not None
    return agree or len(texts) >= most


def deciding_places(
    texts: Sequence[str], choices: Sequence[str], cut: bool = False
) -> list[tuple[int, int | None]]:
    """Indices of the tokens, given as texts, that may decide between the choices.

    These are the token that states a choice (in a `cut` text as in `certain_text`), with that
    choice, and the first word, with None.
    """
    raw = "".join(texts)
    said = without_thoughts(raw)
    start = raw.rfind(said)
    cut = cut and said == raw.strip()
    found = find_choice(said, choices, cut)
    bare = said.lstrip(BEFORE_ANSWERS)
    places: dict[int | None, int | None] = {}
    if found:
        places[_covering(texts, start + found.start)] = found.index
    if bare and not begins_otherwise(bare, choices, cut):
        places.setdefault(_covering(texts, start + len(said) - len(bare)))
    return [(place, says) for place, says in places.items() if place is not None]


def _covering(texts: Sequence[str], letter: int) -> int | None:
    """The index of the token at character `letter`, or of the first one after white space."""
    end = 0
    for place, text in enumerate(texts):
        end += len(text)
        if end > letter and text.strip():
            return place
    return None
