"""Who decides what passes."""

from __future__ import annotations

from ..choice import ActorChoice
from ..registry import VERIFIERS
from ..search.strategies import STRATEGIES
from ..settings import SearchSettings
from ..verifiers.spec import parse_verifiers


def only_ranking(choice: ActorChoice) -> list[str]:
    """The verifiers that would have to decide what passes, but only rank."""
    deciding = parse_verifiers(choice.gate or choice.verifier, VERIFIERS)
    return [part.name for part in deciding if not VERIFIERS[part.name].tells_passed]


def ranking_notice(choice: ActorChoice, settings: SearchSettings) -> str:
    """That a strategy which ends at a pass will not, since nobody decides what passes; else ""."""
    known, silent = STRATEGIES.get(settings.strategy), only_ranking(choice)
    if not (silent and settings.depth and known and known.ends):
        return ""
    return (
        f"The verifier {silent[0]} only ranks, so that all rounds are painted. A --gate decides "
        "what passes."
    )
