"""What a strategy says: the pictures of a round as tasks, and round after round as a plan."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field

from ..record import Candidate, Cost, History, Seed


@dataclass(frozen=True, slots=True)
class Task:
    """A picture to paint: a strategy says how, the studio then fills in the texts.

    With `corrects` the parent is repainted as a reflection asks, else the picture is painted from
    text alone. With `evolves` its text is rewritten in view of the parent, else it is the user's.
    A seed that is a Restart repaints the parent. A `tentative` picture is painted only if its
    foresight promises more than what it shall improve on: its parent, or else the best so far.
    `action` is the strategy's own short word for it, which the record keeps.
    """

    seed: Seed
    parent: Candidate | None = None
    corrects: bool = False
    evolves: bool = False
    tentative: bool = False
    action: str = ""
    prompt: str = ""
    reflection: str = ""
    cost: Cost = field(default_factory=Cost)  # of writing the texts


# A strategy at work: it yields the tasks of a round, as many as it likes, and is sent the History
# after it, without its cost. A return ends the search, and so does a round without tasks. All
# follows from the settings and what is sent, with no random state, since a search that resumes
# plays the plan again from its start. It may then go deeper, stop elsewhere or spend more, so what
# a round paints must not depend on `depth`, `stop` or `budget`; `depth` only says when to end.
Plan = Generator[list[Task], History, None]
