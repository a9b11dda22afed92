"""The search as nodes: ReflectionLoop, and the public nodes that it is made of.

ReflectionLoop unfolds, while it runs, into a ReflectionStart and one ReflectionRound after another.
ComfyUI caches each of them by what went into it, and the depth goes into none: so a deeper search
paints only its new rounds, and a cancelled one goes on where it was.
"""

from __future__ import annotations

import json
from typing import Any

from comfy_api.latest import io, ui
from comfy_execution.graph_utils import GraphBuilder

from ..reflectionflow_core.record import History, InputError, ScenePlan, SearchSettings
from ..reflectionflow_core.report import as_data, contact_sheet, cost_text, story, verdict_text
from ..reflectionflow_core.search import check_request
from .comfy.memory import handed_over
from .comfy.tensors import to_batch
from .shared.progress import NodeProgress, framed, say
from .shared.rounds import next_round, write_run
from .shared.schema import (
    NO_PROMPT,
    PREFIX,
    ROOT,
    STOP_AT_SCORE,
    check_texts,
    inspector_input,
    request_inputs,
    result_outputs,
    schema,
    seat_inputs,
)
from .shared.sockets import HistorySocket, PicturesSocket, Seats, Trail

CATEGORY = f"{ROOT}/search"
MAX_DEPTH = 100  # rounds; ComfyUI finds a round's cached result through all the rounds before it
SEATS = ("flux", "verifier", "writer", "evolver", "inspector")


class ReflectionLoop(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        prompt, width, *others = request_inputs()
        return schema(
            "ReflectionLoop",
            display_name="Reflection Loop",
            category=CATEGORY,
            description="The whole search: paints drafts, and in every round says what is wrong "
            "with each and corrects it. Shows every round as it happens and keeps the best.",
            search_aliases=["reflectionflow", "self correction", "refine", "test-time scaling"],
            inputs=[
                prompt,
                *seat_inputs(),
                width,
                io.Int.Input(
                    "depth",
                    default=3,
                    min=0,
                    max=MAX_DEPTH,
                    tooltip="Rounds after the drafts. Raising it later paints only the new rounds, "
                    "if nothing else changes (set the seed's control to fixed) and ComfyUI still "
                    "has the others: with its classic cache, or with save_run.",
                ),
                *others,
                inspector_input(),
            ],
            outputs=[*result_outputs()],
            hidden=[io.Hidden.unique_id, io.Hidden.dynprompt],
            enable_expand=True,
        )

    @classmethod
    def validate_inputs(cls, prompt: str | None = None) -> bool | str:
        return check_texts([prompt], empty=NO_PROMPT)

    @classmethod
    def execute(cls, depth: int, **given: Any) -> io.NodeOutput:
        seats = Seats(**{name: given.pop(name) for name in SEATS if name in given})
        check(begun(**given), seats, depth)
        graph, links = GraphBuilder(), links_of(cls.hidden)
        if given["stop"] != STOP_AT_SCORE:
            given["stop_score"] = 1.0  # means nothing then, and shall not begin the search anew
        given |= {name: links[name] for name in ("options", "plan") if name in given}
        start = graph.node(f"{PREFIX}ReflectionStart", id="start", **given)
        return next_step(graph, start.out(0), depth, links)


class ReflectionStart(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ReflectionStart",
            display_name="Reflection Start",
            category=CATEGORY,
            description="Says what a search is to find, and how; nothing is painted yet. Chain "
            "Reflection Rounds behind it.",
            search_aliases=["search settings"],
            inputs=[*request_inputs()],
            outputs=[
                HistorySocket.Output(
                    "history", display_name="history", tooltip="A history without pictures."
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, prompt: str | None = None) -> bool | str:
        return check_texts([prompt], empty=NO_PROMPT)

    @classmethod
    def execute(cls, **given: Any) -> io.NodeOutput:
        return io.NodeOutput(begun(**given))


class ReflectionRound(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ReflectionRound",
            display_name="Reflection Round",
            category=CATEGORY,
            description="One round of a search: the drafts, or one correction of every chain. A "
            "finished search passes through.",
            search_aliases=["reflectionflow", "iterate"],
            inputs=[
                HistorySocket.Input(
                    "history", tooltip="From Reflection Start, or from the round before."
                ),
                *seat_inputs(lazy=True),
                inspector_input(lazy=True),
            ],
            outputs=[
                HistorySocket.Output(
                    "history", display_name="history", tooltip="The history with this round."
                )
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.dynprompt],
        )

    @classmethod
    def check_lazy_status(cls, history: Trail, **seats: Any) -> list[str]:
        """Models are not even loaded for a search that is over."""
        return [] if history.done else [name for name, seat in seats.items() if seat is None]

    @classmethod
    def execute(cls, history: Trail, **seats: Any) -> io.NodeOutput:
        if history.done:
            return io.NodeOutput(history)
        index = history.next_round
        progress = NodeProgress(
            shown_at(cls.hidden), title=f"round {index}:" if index else "drafts:"
        )
        trail = next_round(history, Seats(**seats), progress)
        if trail.next_round == index:  # stop rule or budget had ended it before
            return io.NodeOutput(trail)
        text = story(trail.history)
        say(progress.node_id, newest(trail.history))
        painted = to_batch([framed(candidate.image) for candidate in trail.history.rounds[index]])
        shown = ui.PreviewImage(painted).as_dict() | ui.PreviewText(text).as_dict()
        return io.NodeOutput(trail, ui=shown)


class ReflectionStep(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        pictures = PicturesSocket.Output("images", tooltip="All pictures, for the loop.")
        best, _, *others = result_outputs()
        return schema(
            "ReflectionStep",
            display_name="Reflection Step (inside Reflection Loop)",
            category=f"{ROOT}/internal",
            description="Made by Reflection Loop between two rounds: goes on, or hands out the "
            "results. Not meant to be placed by hand; chain Reflection Rounds instead.",
            is_dev_only=True,
            inputs=[
                HistorySocket.Input("history", tooltip="From the round before."),
                *seat_inputs(),
                io.Int.Input(
                    "depth", default=3, min=0, max=MAX_DEPTH, tooltip="Rounds after the drafts."
                ),
                inspector_input(),
            ],
            outputs=[best, pictures, *others],
            hidden=[io.Hidden.unique_id, io.Hidden.dynprompt],
            enable_expand=True,
        )

    @classmethod
    def execute(cls, history: Trail, depth: int, **seats: Any) -> io.NodeOutput:
        del seats  # only their wires are needed
        if not history.done and history.next_round <= depth:
            links = links_of(cls.hidden)
            return next_step(GraphBuilder(), links["history"], depth, links)
        if history.save:
            history = write_run(history)
        best, images, report = results(history)
        return io.NodeOutput(best, images, report, history)


class ReflectionTrail(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        best, images, report, _ = result_outputs()
        return schema(
            "ReflectionTrail",
            display_name="Reflection Trail",
            category=CATEGORY,
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
                    "folder of ComfyUI's output/reflectionflow. Nothing is painted again for it.",
                ),
            ],
            outputs=[
                io.Image.Output("sheet", display_name="sheet", tooltip="The contact sheet."),
                report,
                best,
                images,
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, history: Trail, save_run: bool) -> io.NodeOutput:
        if not len(history.history):
            raise InputError("This history has no pictures yet. Put a Reflection Round before it.")
        if save_run:
            history = write_run(history)
        settings = history.settings_until(history.next_round - 1)
        sheet = contact_sheet(history.history, history.prompt, settings, history.model)
        drawn = to_batch([sheet])
        best, images, report = results(history)
        text = summary(history)
        if history.folder:  # the sheet says the rest, and a text takes half of its place
            say(cls.hidden.unique_id, text)
        shown = ui.PreviewImage(drawn).as_dict() | ui.PreviewText(text).as_dict()
        shown["report"] = [report]  # no node shows it; a script finds it in /history
        return io.NodeOutput(handed_over(drawn), report, best, images, ui=shown)


def begun(
    prompt: str,
    stop: str,
    stop_score: float,
    drafts: int,
    save_run: bool,
    options: dict[str, Any] | None = None,
    plan: ScenePlan | None = None,
    **given: Any,
) -> Trail:
    """A search in which nothing is painted yet; raises InputError for settings that cannot be."""
    rule = {"never": "never", "when passed": "passed", STOP_AT_SCORE: stop_score}[stop]
    settings = SearchSettings(
        **given,
        **(options or {}),
        drafts=drafts or None,
        stop=rule,
        depth=0,
        stages=plan.stages if plan else (),
    )
    return Trail(prompt, settings, save=save_run)


def check(trail: Trail, seats: Seats, depth: int) -> None:
    """Raises InputError for what would fail in a later round, before anything is painted."""
    check_request(trail.prompt, trail.settings_until(depth), seats.actors, History())
    seats.verifier.actor.verify(trail.prompt, [])


def links_of(hidden: Any) -> dict[str, Any]:
    """The inputs of the running node as they stand in the graph: wires as links."""
    return hidden.dynprompt.get_node(hidden.unique_id)["inputs"]


def shown_at(hidden: Any) -> str:
    """The node on the user's screen that the running node belongs to."""
    return hidden.dynprompt.get_display_node_id(hidden.unique_id)


def next_step(graph: GraphBuilder, history: Any, depth: int, links: dict) -> io.NodeOutput:
    """One round more, and then the question whether to go on."""
    seats = {name: links[name] for name in SEATS if name in links}
    played = graph.node(f"{PREFIX}ReflectionRound", id="round", history=history, **seats)
    step = graph.node(
        f"{PREFIX}ReflectionStep", id="step", history=played.out(0), depth=depth, **seats
    )
    return io.NodeOutput(*(step.out(i) for i in range(4)), expand=graph.finalize())


def results(trail: Trail) -> tuple[Any, list[Any], str]:
    """Best picture, all pictures, and the report."""
    history = trail.history
    data = as_data(history, trail.prompt, trail.settings_until(trail.next_round - 1), trail.model)
    return (
        handed_over(to_batch([history.best.image])),
        [handed_over(to_batch([candidate.image])) for candidate in history],
        json.dumps(data | {"folder": trail.folder}, indent=2),
    )


def newest(history: History) -> str:
    """The lines of the newest round and the best's: a node has room for few."""
    lines, round_size = story(history).splitlines(), len(history.rounds[-1])
    best = lines[list(history).index(history.best)]
    shown = lines[-round_size:]
    return "\n".join(shown if best in shown else [*shown, best])


def summary(trail: Trail) -> str:
    history = trail.history
    lines = [f"Best {verdict_text(history.best.verdict)}, after {cost_text(history.cost)}."]
    if trail.folder:
        lines.append(f"Saved in {trail.folder}")
    return "\n".join(lines)


SEARCH = [
    ReflectionLoop,
    ReflectionStart,
    ReflectionRound,
    ReflectionStep,
    ReflectionTrail,
]
