"""Reflection Pause: a person decides between two rounds how a search continues."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from comfy_api.latest import io

from ..reflectionflow_core.feedback import Feedback
from ..reflectionflow_core.protocols import SILENT, Progress
from ..reflectionflow_core.record import InputError
from ..reflectionflow_core.search import Pause, ask_person, awaits_answer, is_over
from .shared.judging import errors_of_verifier
from .shared.kept import ROUNDS, round_key
from .shared.pauses import PAUSES
from .shared.progress import NodeProgress
from .shared.rounds import read_feedback, write_feedback
from .shared.schema import actor_inputs, inspector_input, output, pause_seconds_input, schema
from .shared.sockets import HistorySocket, SearchActors, SearchState
from .shared.stopping import STOPPING


class StoppedAtPauseError(Exception):
    """The person ended the search at a pause; Run asks again."""


class ReflectionPause(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ReflectionPause",
            display_name="Reflection Pause",
            description="Asks you how to continue a search: pick the winner, veto pictures, "
            "edit what will be changed and where, or continue as planned. Put it behind a "
            "Reflection Round, or switch ask_me on in Reflection Loop.",
            search_aliases=["human in the loop", "pick", "choose", "image filter", "approve"],
            inputs=[
                HistorySocket.Input("history", tooltip="From Reflection Round."),
                *actor_inputs(),
                inspector_input(),
                pause_seconds_input(),
                io.Boolean.Input(
                    "last",
                    default=False,
                    tooltip="No round follows: you are only asked for the winner.",
                    extra_dict={"advanced": True},
                ),
            ],
            outputs=[output(HistorySocket, "history", "The history with what you said.")],
            hidden=[io.Hidden.unique_id, io.Hidden.dynprompt],
        )

    @classmethod
    def execute(
        cls, history: SearchState, seconds: int, last: bool, **handles: Any
    ) -> io.NodeOutput:
        if not len(history.history):
            raise InputError("This history has no pictures yet. Put a Reflection Round before it.")
        if history.stopped:
            return io.NodeOutput(history)
        actors, hidden = SearchActors(**handles), cls.hidden
        key = round_key(history, actors, hidden.unique_id, hidden.dynprompt)
        if (kept := ROUNDS.find(key)) and kept.finished:
            return io.NodeOutput(kept.state)
        progress = NodeProgress(hidden.dynprompt.get_display_node_id(hidden.unique_id))
        begun = kept.state if kept else history
        after = asked(begun, actors, progress, seconds, last, key)
        if not after.stopped:
            ROUNDS.keep(key, after)
        return io.NodeOutput(after)

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> str:
        return str(STOPPING.times)


class InBrowser:
    """Asks a person in the browser."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.stops = False

    def answer(self, pause: Pause, progress: Progress = SILENT) -> Feedback:
        assert isinstance(progress, NodeProgress)  # it knows the node on the screen
        given = PAUSES.ask(pause, progress, self.seconds)
        self.stops = given.stops
        if self.stops and (given.answer is None or given.answer.changes_nothing):
            raise StoppedAtPauseError
        return given.answer or pause.unchanged


def asked(
    state: SearchState,
    handles: SearchActors,
    progress: NodeProgress,
    seconds: int,
    last: bool,
    key: str | None,
) -> SearchState:
    """The state with what the person says, or with what the run's folder has of it already.

    Proposed reflections are kept under `key`, so that they are paid for once, also after Cancel.
    """
    actors = replace(handles.actors, errors=errors_of_verifier(handles, state.judge))
    settings = state.settings_until(state.next_round - last)
    state = read_feedback(state)
    panel, history = InBrowser(seconds), state.history
    if awaits_answer(history, settings, actors):
        try:
            with STOPPING.during():
                for asked_about in ask_person(
                    state.prompt, settings, actors, panel, history, progress
                ):
                    state = replace(state, history=asked_about)
                    if asked_about.proposed is not None:
                        ROUNDS.keep(key, state, finished=False)
        except StoppedAtPauseError:
            STOPPING.times += 1
            return replace(state, done=True, stopped=True)
        state = write_feedback(state)
    if panel.stops:
        STOPPING.times += 1
        return replace(state, done=True, stopped=True)
    ahead = state.settings_until(state.next_round)
    return replace(state, done=is_over(state.history, ahead, actors))


PAUSING = [ReflectionPause]
