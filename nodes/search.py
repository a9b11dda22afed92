"""The search as nodes: ReflectionLoop, and the public nodes that it is made of.

ReflectionLoop expands, while it runs, into a ReflectionStart and one ReflectionRound after another.
ComfyUI caches each of them by its inputs, and the depth is not among them. So a deeper search
paints only its new rounds, and a cancelled search continues where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from comfy.model_management import InterruptProcessingException
from comfy_api.latest import io, ui
from comfy_execution.graph_utils import GraphBuilder
from comfy_execution.utils import get_executing_context
from torch import Tensor

from ..reflectionflow_core.protocols import Actors
from ..reflectionflow_core.record import History, InputError, ScenePlan
from ..reflectionflow_core.report import as_data, contact_sheet, history_text
from ..reflectionflow_core.search.budget import limit_calls
from ..reflectionflow_core.search.checks import check_search, check_understood
from ..reflectionflow_core.settings import RECOMMENDED, SearchSettings
from .comfy.masks import as_mask_text
from .comfy.memory import to_intermediate_device
from .comfy.tensors import to_batch
from .shared.expanding import ACTORS, PauseChoice, next_step
from .shared.forecasting import ahead_text
from .shared.graph import ancestry, shown_at
from .shared.judging import notice_of_errors
from .shared.kept import ROUNDS, round_key
from .shared.progress import framed, say
from .shared.rounds import goes_on, next_round, write_run
from .shared.running import PLANNED, RoundProgress
from .shared.schema import (
    NO_PROMPT,
    PREFIX,
    STOP_AT_SCORE,
    actor_inputs,
    check_texts,
    inspector_input,
    mask_input,
    output,
    pause_inputs,
    request_inputs,
    result_outputs,
    schema,
)
from .shared.sockets import HistorySocket, PicturesSocket, SearchActors, SearchState
from .shared.stopping import STOPPING
from .shared.telling import newest, notices_of, summary

MAX_DEPTH = 100  # rounds; ComfyUI finds a round's cached result through all the rounds before it
FOUND_BY = (
    *("best of n", "pick best", "retry", "improve prompt", "prompt adherence", "critic"),
    *("fix image", "self correction", "refine", "test-time scaling"),
)
PASSED_ON = (*ACTORS, "options", "plan", "mask")
SAVED_GRAPH = (io.Hidden.prompt, io.Hidden.extra_pnginfo)

_FIRST_OF_LISTS: dict[str, dict[str, int]] = {}  # by loop: where what is passed on is in memory


class ReflectionLoop(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        prompt, width, *others = request_inputs()
        return schema(
            "ReflectionLoop",
            display_name="Reflection Loop",
            description="The whole search: paints drafts, then finds and corrects what is "
            "wrong, round after round. Shows every round as it happens and keeps the best.",
            search_aliases=["reflectionflow", *FOUND_BY],
            essentials_category="Image Tools",
            inputs=[
                prompt,
                *actor_inputs(),
                width,
                io.Int.Input(
                    "depth",
                    display_name="rounds",
                    default=3,
                    min=0,
                    max=MAX_DEPTH,
                    tooltip="Rounds after the drafts. If you raise it later and change nothing "
                    "else (set the seed's control to fixed), only the new rounds are painted.",
                ),
                *others,
                inspector_input(),
                mask_input(),
                *pause_inputs(),
            ],
            outputs=[*result_outputs()],
            hidden=[io.Hidden.unique_id, io.Hidden.dynprompt],
            enable_expand=True,
        )

    @classmethod
    def validate_inputs(cls, prompt: str | None = None) -> bool | str:
        return check_texts([prompt], empty=NO_PROMPT)

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> str:
        return str(STOPPING.times)

    @classmethod
    def execute(
        cls, depth: int, ask_me: bool = False, ask_seconds: int = 600, **given: Any
    ) -> io.NodeOutput:
        check_one_for_all(cls.hidden.unique_id, given)
        PLANNED[shown_at(cls.hidden)] = depth
        handles = {name: given.pop(name) for name in ACTORS if name in given}
        state, actors = new_search(**given), SearchActors(**handles)
        check(state, actors.actors, depth)
        say(shown_at(cls.hidden), ahead_text(state, actors, depth))
        graph, links = GraphBuilder(), links_of(cls.hidden)
        if given["stop"] != STOP_AT_SCORE:
            given["stop_score"] = 1.0  # has no effect then, and must not start a new search
        given |= {name: links[name] for name in PASSED_ON if name in given}
        start = graph.node(f"{PREFIX}ReflectionStart", id="start", **given)
        asked = PauseChoice(ask_me, ask_seconds)
        return next_step(graph, start.out(0), 0, depth, links, asked)


class ReflectionStart(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ReflectionStart",
            display_name="Reflection Start",
            description="Prompt and settings of a search; paints nothing. Chain Reflection Rounds "
            "behind it.",
            search_aliases=["search settings"],
            inputs=[*request_inputs(), mask_input()],
            outputs=[output(HistorySocket, "history", "A history without pictures.")],
            hidden=[io.Hidden.unique_id, io.Hidden.dynprompt],
        )

    @classmethod
    def validate_inputs(cls, prompt: str | None = None) -> bool | str:
        return check_texts([prompt], empty=NO_PROMPT)

    @classmethod
    def execute(cls, **given: Any) -> io.NodeOutput:
        begun = new_search(**given)
        if begun.drawn_seed:  # once, whatever ComfyUI's cache forgets
            key = ancestry(cls.hidden.dynprompt, cls.hidden.unique_id)
            seed = ROUNDS.seed(key, begun.settings.seed)
            begun = replace(begun, settings=replace(begun.settings, seed=seed))
        return io.NodeOutput(begun)


class ReflectionRound(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ReflectionRound",
            display_name="Reflection Round",
            description="One round of a search: the drafts, or the next round of its strategy. A "
            "finished search passes through.",
            search_aliases=["reflectionflow", "iterate"],
            inputs=[
                HistorySocket.Input(
                    "history", tooltip="From Reflection Start, or from the round before."
                ),
                *actor_inputs(lazy=True),
                inspector_input(lazy=True),
            ],
            outputs=[output(HistorySocket, "history", "The history with this round.")],
            hidden=[io.Hidden.unique_id, io.Hidden.dynprompt, *SAVED_GRAPH],
        )

    @classmethod
    def check_lazy_status(cls, history: SearchState, **handles: Any) -> list[str]:
        """The inputs to evaluate: none after the end, so that no model is loaded in vain."""
        return [] if history.done else [name for name, one in handles.items() if one is None]

    @classmethod
    def execute(cls, history: SearchState, **handles: Any) -> io.NodeOutput:
        if history.done:
            return io.NodeOutput(replace(history, depth=history.asked.depth + 1))
        history = replace(history, graph=graph_of(cls.hidden))
        index = history.next_round
        progress, actors = RoundProgress(cls.hidden, history), SearchActors(**handles)
        key = round_key(history, actors, cls.hidden.unique_id, cls.hidden.dynprompt)
        state = painted_round(history, actors, key, progress)
        if state.next_round == index:  # stop rule or budget ended the search
            return io.NodeOutput(state)
        notice = _joined(notices_of(state), *progress.failures)
        text = _joined(history_text(state.history), notice)
        say(progress.node_id, _joined(newest(state.history), notice))
        painted = to_batch([framed(candidate.image) for candidate in state.history.rounds[index]])
        shown = ui.PreviewImage(painted).as_dict() | ui.PreviewText(text).as_dict()
        return io.NodeOutput(state, ui=shown)

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> str:
        return str(STOPPING.times)


class ReflectionStep(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        pictures = PicturesSocket.Output("images", tooltip="All pictures, for the loop.")
        best, _, *others = result_outputs()
        return schema(
            "ReflectionStep",
            display_name="Reflection Step (inside Reflection Loop)",
            description="Reflection Loop makes it between two rounds: it continues the search or "
            "outputs the results. Do not place it yourself; chain Reflection Rounds instead.",
            is_dev_only=True,
            inputs=[
                HistorySocket.Input("history", tooltip="From the round before."),
                *actor_inputs(),
                io.Int.Input(
                    "depth", default=3, min=0, max=MAX_DEPTH, tooltip="Rounds after the drafts."
                ),
                inspector_input(),
                *pause_inputs(),
            ],
            outputs=[best, pictures, *others],
            hidden=[io.Hidden.unique_id, io.Hidden.dynprompt, *SAVED_GRAPH],
            enable_expand=True,
        )

    @classmethod
    def execute(
        cls,
        history: SearchState,
        depth: int,
        ask_me: bool = False,
        ask_seconds: int = 600,
        **handles: Any,
    ) -> io.NodeOutput:
        if goes_on(history, depth, SearchActors(**handles).actors):
            links, asked = links_of(cls.hidden), PauseChoice(ask_me, ask_seconds)
            before = links["history"], history.next_round
            return next_step(GraphBuilder(), *before, depth, links, asked)
        history = replace(history, depth=depth)
        if history.save:
            history = write_run(replace(history, graph=graph_of(cls.hidden)))
        best, images, report = results(history)
        return io.NodeOutput(best, images, report, history)


class ReflectionTrail(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        best, images, report, _ = result_outputs()
        return schema(
            "ReflectionTrail",
            display_name="Reflection Trail",
            description="Shows how a search went: a contact sheet of its chains, and all its "
            "pictures.",
            search_aliases=["contact sheet", "report", "history"],
            is_output_node=True,
            inputs=[
                HistorySocket.Input("history", tooltip="From Reflection Loop or Reflection Round."),
                io.Boolean.Input(
                    "save_run",
                    default=False,
                    tooltip="Also write the whole run, with contact sheet and web page, into a "
                    "folder of ComfyUI's output/reflectionflow. Nothing is painted again.",
                ),
            ],
            outputs=[
                output(io.Image, "sheet", "The contact sheet."),
                report,
                best,
                images,
            ],
            hidden=[io.Hidden.unique_id, *SAVED_GRAPH],
        )

    @classmethod
    def execute(cls, history: SearchState, save_run: bool) -> io.NodeOutput:
        if not len(history.history):
            raise InputError("This history has no pictures yet. Put a Reflection Round before it.")
        if save_run:
            history = write_run(replace(history, graph=graph_of(cls.hidden)))
        # On the sheet, because a text on the node would take half of the picture's space.
        note = f"saved in ComfyUI's output/{history.folder}" if history.folder else ""
        sheet = contact_sheet(history.history, history.prompt, history.asked, history.model, note)
        drawn = to_batch([sheet])
        best, images, report = results(history)
        text = summary(history)
        shown = ui.PreviewImage(drawn).as_dict() | ui.PreviewText(text).as_dict()
        shown["report"] = [report]  # for scripts, which read /history; no node shows it
        return io.NodeOutput(to_intermediate_device(drawn), report, best, images, ui=shown)


def new_search(
    prompt: str,
    stop: str,
    stop_score: float,
    drafts: int,
    save_run: bool,
    options: dict[str, Any] | None = None,
    plan: ScenePlan | None = None,
    mask: Tensor | None = None,
    **given: Any,
) -> SearchState:
    """A search before its drafts; raises InputError for invalid settings."""
    rule = {"never": "never", "when passed": "passed", STOP_AT_SCORE: stop_score}[stop]
    settings = SearchSettings(
        **given,
        **{"correct": RECOMMENDED.correct, **(options or {})},
        drafts=drafts or None,
        stop=rule,
        depth=0,
        stages=plan.stages if plan else (),
        mask=None if mask is None else as_mask_text(mask),
    )
    drawn = settings.seed != given["seed"]
    return SearchState(prompt, settings, save=save_run, drawn_seed=drawn)


def painted_round(
    state: SearchState, handles: SearchActors, key: str | None, progress: RoundProgress
) -> SearchState:
    """The state after the next round: kept from before, or painted on from where it stopped."""
    if (kept := ROUNDS.find(key)) and kept.finished:
        progress.show(kept.state.history)
        return kept.state

    def keep(reached: SearchState) -> None:
        ROUNDS.keep(key, reached, finished=False)
        progress.reached(reached)

    begun = kept.state.history if kept else state.history
    progress.continues(len(begun))
    try:
        with STOPPING.during():
            after = next_round(state, handles, progress, keep, begun)
            stopped = STOPPING.requested
        after = replace(after, done=True, stopped=True) if stopped else after
    except InterruptProcessingException:
        reached = kept.state.history if (kept := ROUNDS.find(key)) else begun
        progress.cancelled(reached if key else History())  # without a key nothing is kept
        raise
    ROUNDS.keep(key, after, finished=not stopped)
    progress.show(after.history)
    return after


def check_one_for_all(node_id: str, given: Mapping[str, Any]) -> None:
    """Raises InputError for a list on a wire to the rounds: ComfyUI would run the loop once for
    each item, and give each of these runs the whole list."""
    index = getattr(get_executing_context(), "list_index", None)
    passed_on = {name: id(given[name]) for name in PASSED_ON if name in given}
    if not index:
        _FIRST_OF_LISTS[node_id] = passed_on
        return
    first = _FIRST_OF_LISTS[node_id]
    if name := next((name for name, one in passed_on.items() if one != first.get(name)), None):
        raise InputError(
            f"A list arrives at {name!r}, but a Reflection Loop takes one for all its searches; "
            "only prompts and seeds may be lists. Use a Reflection Loop for each."
        )


def check(state: SearchState, actors: Actors, depth: int) -> None:
    """Raises InputError before anything is painted for what would fail in a later round."""
    settings = state.settings_until(depth)
    check_search(state.prompt, settings, actors, History())
    with limit_calls(settings.budget):
        check_understood(state.prompt, settings, actors)


def links_of(hidden: Any) -> dict[str, Any]:
    """The inputs of the running node as in the graph, with wires as links."""
    return hidden.dynprompt.get_node(hidden.unique_id)["inputs"]


def graph_of(hidden: Any) -> dict[str, str]:
    """The running graph in the form in which ComfyUI stores it in saved pictures."""
    known = {"prompt": hidden.prompt, **(hidden.extra_pnginfo or {})}
    return {name: json.dumps(value) for name, value in known.items() if value}


def results(state: SearchState) -> tuple[Any, list[Any], str]:
    """Best picture, all pictures, and the report."""
    history = state.history
    data = as_data(history, state.prompt, state.asked, state.model)
    judged = {"judge": dict(state.judge), "judge_notice": notice_of_errors(state)}
    return (
        to_intermediate_device(to_batch([history.best.image])),
        [to_intermediate_device(to_batch([candidate.image])) for candidate in history],
        json.dumps(data | {"folder": state.folder} | judged, indent=2),
    )


def _joined(*texts: str) -> str:
    return "\n".join(filter(None, texts))


SEARCH = [ReflectionLoop, ReflectionStart, ReflectionRound, ReflectionStep, ReflectionTrail]
