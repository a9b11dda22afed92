"""The search: who paints what next, and when to stop.

Read `loop.py` first: `search` is the loop, `round_steps` one round of it. `strategies.py` plans a
round, `agenda.py` cuts the plan to budget and stop rule, `studio.py` asks the actors.
"""

from reflectionflow_core.search.agenda import finished
from reflectionflow_core.search.loop import round_steps, run_round, search
from reflectionflow_core.search.strategies import STRATEGIES
from reflectionflow_core.search.studio import ActorError

__all__ = ["STRATEGIES", "ActorError", "finished", "round_steps", "run_round", "search"]
