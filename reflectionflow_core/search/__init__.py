"""The search: who paints what next, and when to stop.

Read `loop.py` first: `search` is the loop, `round_steps` one round of it. A strategy in
`strategies/` plans the rounds, `replay.py` finds the one that is due, `agenda.py` cuts it to budget
and stop rule, `studio.py` asks the actors. `policies.py` decides for the strategy "adaptive",
`portfolio.py` shares one budget out among many prompts.
"""

from .agenda import check_request, finished
from .loop import round_steps, run_round, search
from .policies import POLICIES
from .portfolio import InMemory, portfolio
from .seeds import fresh_seed
from .strategies import STRATEGIES
from .studio import ActorError, complete

__all__ = [
    "POLICIES",
    "STRATEGIES",
    "ActorError",
    "InMemory",
    "check_request",
    "complete",
    "finished",
    "fresh_seed",
    "portfolio",
    "round_steps",
    "run_round",
    "search",
]
