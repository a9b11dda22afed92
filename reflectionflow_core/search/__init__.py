"""The search: who paints what next, and when to stop.

Read `loop.py` first: `search` is the loop, `round_steps` one round of it. `strategies.py` plans a
round, `agenda.py` cuts the plan to budget and stop rule, `studio.py` asks the actors.
"""

from .agenda import finished
from .loop import round_steps, run_round, search
from .strategies import STRATEGIES
from .studio import ActorError

__all__ = ["STRATEGIES", "ActorError", "finished", "round_steps", "run_round", "search"]
