"""The search: what is painted next, by whom, and when to stop.

Read `loop.py` first: `search` is the loop, `next_batch` chooses what it paints next.

* `strategies/`: the requests of every round; `policies.py` decides for the strategy "adaptive".
* `budget.py`: how many requests the budget pays for.
* `team.py`: asks the actors; `attempt.py` is one picture on its way.
* `pausing.py`: asks a person between rounds; `steering.py` applies the answer.
* `trust.py`, `looking.py`: a judge whose error rates are known.
* `portfolio.py`: many prompts that share one budget.
"""

from .attempt import in_its_region
from .checks import check_search
from .forecast import Forecast, forecast
from .loop import (
    count_to_judge_again,
    is_over,
    limit_reached,
    next_batch,
    run_round,
    search,
    would_continue,
)
from .pausing import Pause, Person, ask_person, awaits_answer, search_with_pauses
from .policies import POLICIES
from .portfolio import InMemory, portfolio
from .seeds import fresh_seed
from .strategies import STRATEGIES
from .team import ActorError, complete
from .unjudged import UnjudgedError, left_unjudged_text, trailing_unjudged, unjudged_text

__all__ = [
    "POLICIES",
    "STRATEGIES",
    "ActorError",
    "Forecast",
    "InMemory",
    "Pause",
    "Person",
    "UnjudgedError",
    "ask_person",
    "awaits_answer",
    "check_search",
    "complete",
    "count_to_judge_again",
    "forecast",
    "fresh_seed",
    "in_its_region",
    "is_over",
    "left_unjudged_text",
    "limit_reached",
    "next_batch",
    "portfolio",
    "run_round",
    "search",
    "search_with_pauses",
    "trailing_unjudged",
    "unjudged_text",
    "would_continue",
]
