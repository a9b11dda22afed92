"""What a search will cost, for its node."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import folder_paths

from ...reflectionflow_core.archive.experience import experience
from ...reflectionflow_core.report import forecast_text
from ...reflectionflow_core.search import forecast
from ...reflectionflow_core.vlm.named import price_in_profile
from .profiles import profiles_folder
from .rounds import RUNS, run_of
from .sockets import SearchActors, SearchState


def ahead_text(state: SearchState, handles: SearchActors, depth: int) -> str:
    """The forecast of a search of `depth` rounds, with the times of saved runs of its models."""
    settings = state.settings_until(depth)
    known = replace(state, chosen=handles.chosen, identity=handles.identity)
    output = Path(folder_paths.get_output_directory()) / RUNS
    past = experience(output, run_of(known, settings))
    ahead = forecast(settings, handles.actors, pass_rate=past.pass_rate)
    # Calls are not counted by model, so with several there is no price.
    name = handles.chosen.get("vlm") if len(handles.vlms) == 1 else None
    price = price_in_profile(name, profiles_folder())
    return forecast_text(ahead, past.seconds_each, price)
