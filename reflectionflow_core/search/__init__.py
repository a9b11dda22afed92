"""The search: who paints what next, and when to stop.

Read `loop.py` first: `search` is the loop, `next_batch` says what it paints next. A strategy in
`strategies/` chooses the requests of every round, `budget.py` how many of them are paid for, and
`team.py` asks the actors. `policies.py` decides for the strategy "adaptive", `portfolio.py` shares
one budget among many prompts.
"""

from .attempt import in_its_region
from .checks import check_search
from .loop import is_over, next_batch, run_round, search
from .policies import POLICIES
from .portfolio import InMemory, portfolio
from .seeds import fresh_seed
from .strategies import STRATEGIES
from .team import ActorError, complete
from .unjudged import UnjudgedError, trailing_unjudged, unjudged_text

__all__ = [
    "POLICIES",
    "STRATEGIES",
    "ActorError",
    "InMemory",
    "UnjudgedError",
    "check_search",
    "complete",
    "fresh_seed",
    "in_its_region",
    "is_over",
    "next_batch",
    "portfolio",
    "run_round",
    "search",
    "trailing_unjudged",
    "unjudged_text",
]
