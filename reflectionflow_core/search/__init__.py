"""The search: who paints what next, and when to stop.

Read `loop.py` first: `search` is the loop, `next_batch` says what it paints next. A strategy in
`strategies/` chooses the requests of every round, `budget.py` how many of them are paid for, and
`team.py` asks the actors. `pausing.py` asks a person between rounds, and `steering.py` does what
was said. `policies.py` decides for the strategy "adaptive", `portfolio.py` shares one budget among
many prompts.
"""

from .attempt import in_its_region
from .checks import check_search
from .forecast import Forecast, forecast
from .loop import goes_on, is_over, judged_again, limit_reached, next_batch, run_round, search
from .pausing import Pause, Person, is_asked_about, paused, steered_search
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
    "check_search",
    "complete",
    "forecast",
    "fresh_seed",
    "goes_on",
    "in_its_region",
    "is_asked_about",
    "is_over",
    "judged_again",
    "left_unjudged_text",
    "limit_reached",
    "next_batch",
    "paused",
    "portfolio",
    "run_round",
    "search",
    "steered_search",
    "trailing_unjudged",
    "unjudged_text",
]
