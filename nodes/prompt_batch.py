"""Prompt Batch: many prompts share one budget; each picture goes where it should help most."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from comfy_api.latest import io, ui

from ..reflectionflow_core.record import InputError
from ..reflectionflow_core.report.overview import overview_summary, overview_text, row_of
from ..reflectionflow_core.report.prompts import prompts_sheet
from ..reflectionflow_core.search import STRATEGIES
from ..reflectionflow_core.search.checks import planned_pictures
from ..reflectionflow_core.settings import MAX_SEED, RECOMMENDED, Budget, SearchSettings
from .comfy.memory import to_intermediate_device
from .comfy.tensors import to_batch
from .search import ACTORS, MAX_DEPTH, SAVED_GRAPH, graph_of, links_of
from .shared.batches import number_of
from .shared.effects import unused_text
from .shared.prompt_batch import MOST_PROMPTS, PromptBatchSearch, prompt_batch, prompts_in
from .shared.running import BatchProgress
from .shared.schema import (
    actor_inputs,
    check_texts,
    list_output,
    output,
    request_inputs,
    schema,
)
from .shared.sockets import HistorySocket, SearchActors, SearchState
from .shared.stopping import STOPPING

STOPS = {"when passed": "passed", "never": "never"}
PROMPTS = (
    "What to paint, one prompt per line. Empty lines and repetitions are ignored; at most "
    f"{MOST_PROMPTS} prompts."
)
ONE_DRAFT_PROMPT = (
    "draft_prompt in Search Options is for a single prompt, but there are many here. Leave it "
    "empty."
)


class PromptBatch(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        asked = {each.id: each for each in request_inputs()}
        return schema(
            "PromptBatch",
            display_name="Prompt Batch",
            description="Many prompts with one budget: paints, judges and corrects each of "
            "them, and always continues with the prompt where one more picture is expected to "
            "help most. Keeps the best picture of each.",
            search_aliases=["batch", "many prompts", "prompt list", "queue", "portfolio"],
            is_output_node=True,
            inputs=[
                io.String.Input("prompts", multiline=True, default="", tooltip=PROMPTS),
                *actor_inputs(),
                io.Int.Input(
                    "budget",
                    display_name="pictures in all",
                    default=24,
                    min=1,
                    max=100_000,
                    tooltip="The most pictures of all prompts together. If you raise it later "
                    "and change nothing else, only the new pictures are painted.",
                ),
                asked["width"],
                io.Int.Input(
                    "depth",
                    display_name="rounds",
                    default=3,
                    min=0,
                    max=MAX_DEPTH,
                    tooltip="The most rounds of one prompt, after its drafts.",
                ),
                asked["drafts"],
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=MAX_SEED,
                    control_after_generate=True,
                    tooltip="The noise of every picture is drawn from it. The same seed, settings "
                    "and models give the same pictures.",
                ),
                io.Combo.Input(
                    "strategy",
                    options=[name for name, one in STRATEGIES.items() if not one.in_stages],
                    default=RECOMMENDED.strategy,
                    tooltip="How the pictures of a prompt are made, as in Reflection Loop. "
                    "staged is missing, since it needs a plan for a single prompt.",
                ),
                io.Combo.Input(
                    "stop",
                    options=list(STOPS),
                    default="when passed",
                    tooltip="Whether a prompt gets no more pictures once one of them has passed.",
                ),
                asked["options"],
            ],
            outputs=[
                list_output(io.Image, "best", "The best picture of each prompt that was painted."),
                list_output(io.String, "prompts", "The prompts of these pictures."),
                list_output(io.Float, "scores", "Their scores; nan for one that was not judged."),
                output(io.Image, "sheet", "A row for each prompt, with its pictures."),
                output(
                    io.String, "report", "For each prompt: whether it passed, and its pictures."
                ),
                list_output(
                    HistorySocket, "histories", "For Reflection Trail, which can save each run."
                ),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.dynprompt, *SAVED_GRAPH],
        )

    @classmethod
    def validate_inputs(cls, prompts: str | None = None) -> bool | str:
        if prompts is None:
            return True
        try:
            prompts_in(prompts)
        except InputError as error:
            return str(error)
        return check_texts([prompts])

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> str:
        return str(STOPPING.times)

    @classmethod
    def execute(cls, prompts: str, budget: int, **given: Any) -> io.NodeOutput:
        links, graph = links_of(cls.hidden), graph_of(cls.hidden)
        handles = SearchActors(**{name: given.pop(name) for name in ACTORS if name in given})
        settings, limits = settings_of(**given)
        asked = prompts_in(prompts)
        states = [SearchState(prompt, settings, graph=graph) for prompt in asked]
        total = replace(limits, images=min(budget, limits.images or budget))
        most = min(planned_pictures(settings) * len(asked), total.images or budget)
        progress = BatchProgress(cls.hidden.unique_id, len(asked), most)
        wires = {name: links[name] for name in ACTORS if name in links}
        batch = prompt_batch(states, handles, total, progress, (wires, cls.hidden.dynprompt))
        ended = batch.play()
        return results_of(batch, ended)


def settings_of(
    stop: str, drafts: int, options: dict[str, Any] | None = None, **given: Any
) -> tuple[SearchSettings, Budget]:
    """The settings of each prompt's search, without a budget, and the limits of Search Options,
    which are shared by all prompts. Raises InputError for invalid ones."""
    finer = {"correct": RECOMMENDED.correct, **(options or {})}
    limits = finer.pop("budget", Budget())
    settings = SearchSettings(**given, **finer, drafts=drafts or None, stop=STOPS[stop])
    if settings.draft_prompt is not None:
        raise InputError(ONE_DRAFT_PROMPT)
    return settings, limits


def results_of(batch: PromptBatchSearch, ended: bool) -> io.NodeOutput:
    """The node's outputs, and what it shows of them."""
    begun = [search for search in batch.searches if len(search.history)]
    if not begun:
        raise InputError("The budget does not allow a single picture. Give a larger one.")
    histories = [search.history for search in batch.searches]
    rows = [row_of(one.prompt, str(i), one.history) for i, one in enumerate(batch.searches, 1)]
    early = "" if ended else "ended early; press Run to go on"
    sheet = prompts_sheet(rows, histories, early)
    batch.progress.show_pictures([sheet])
    drawn = to_batch([sheet])
    unused = unused_text(begun[0].reached.settings, begun[0].reached.chosen)
    said = "\n".join(filter(None, [overview_summary(rows), early.capitalize(), unused]))
    shown = ui.PreviewImage(drawn).as_dict() | ui.PreviewText(said).as_dict()
    best = [search.history.best for search in begun]
    return io.NodeOutput(
        [to_intermediate_device(to_batch([candidate.image])) for candidate in best],
        [search.prompt for search in begun],
        [number_of(candidate.verdict) for candidate in best],
        to_intermediate_device(drawn),
        overview_text(rows) + early.capitalize(),
        [search.reached for search in begun],
        ui=shown,
    )
