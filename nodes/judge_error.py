"""Judge Error: how often a judge is wrong, measured on statements whose truth is known."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from comfy_api.latest import io, ui

from ..reflectionflow_core.judge_exam.asking import (
    Answering,
    ModelAnswers,
    VerifierAnswers,
    check_examinable,
)
from ..reflectionflow_core.judge_exam.items import ExamItem
from ..reflectionflow_core.judge_exam.labels import numbered, parse_labels
from ..reflectionflow_core.judge_exam.measuring import examine_judge
from ..reflectionflow_core.judge_exam.planting import known_items
from ..reflectionflow_core.judge_exam.reporting import errors_table
from ..reflectionflow_core.judge_exam.settings import LEAST, QUESTIONS
from ..reflectionflow_core.protocols import Progress
from ..reflectionflow_core.record import InputError
from ..reflectionflow_core.settings import MAX_SEED
from ..reflectionflow_core.vlm.judge_check import objection, probe
from ..reflectionflow_core.vlm.kept_errors import OWN, error_key, keep_errors
from .comfy.tensors import to_pictures
from .shared.judging import key_of, verifier_key, verifier_name, warn
from .shared.profiles import profiles_folder
from .shared.progress import NodeProgress
from .shared.schema import check_texts, output, schema
from .shared.sockets import ActorHandle, VerifierSocket, VlmHandle, VlmSocket

NO_JUDGE = "There is no judge to measure. Wire a Vision model into vlm, or a Judge into verifier."
TWO_JUDGES = "There are two judges, in vlm and in verifier. Remove one of the wires."


class JudgeError(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "JudgeError",
            display_name="Judge Error",
            description="Measures how often a judge is wrong, by kind of fault: asks it about "
            "drawn scenes, and about your own pictures where you say what is true of them.",
            search_aliases=["calibrate", "accuracy", "miss rate", "false alarms", "benchmark vlm"],
            is_output_node=True,
            inputs=[
                VlmSocket.Input(
                    "vlm",
                    optional=True,
                    tooltip="The vision model to measure, asked as the checklist asks it. From "
                    "Vision model.",
                ),
                VerifierSocket.Input(
                    "verifier",
                    optional=True,
                    tooltip="Instead of vlm: a judge that decides what passes, asked in its own "
                    "way. From Judge.",
                ),
                io.Image.Input(
                    "images",
                    optional=True,
                    tooltip="Your own pictures, described by labels.",
                ),
                io.Int.Input(
                    "questions",
                    default=QUESTIONS,
                    min=LEAST,
                    max=10_000,
                    tooltip="How many questions to ask. More make the intervals narrower.",
                ),
                io.String.Input(
                    "labels",
                    default="",
                    multiline=True,
                    tooltip="What is true of images, one JSON object per line; file is the number "
                    'of a picture: {"file": "1", "statement": "the cup is red", "true": true}.',
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=MAX_SEED,
                    tooltip="Seed of the statements to ask about. Change it to measure again.",
                    extra_dict={"advanced": True},
                ),
            ],
            outputs=[
                output(io.String, "table", "Misses and false alarms by kind, with intervals."),
                output(io.String, "errors", "The same as JSON, as later searches read it."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, labels: str | None = None) -> bool | str:
        return check_texts([labels])

    @classmethod
    def execute(
        cls,
        questions: int,
        labels: str,
        seed: int,
        vlm: VlmHandle | None = None,
        verifier: ActorHandle | None = None,
        images: Any = None,
    ) -> io.NodeOutput:
        progress = NodeProgress(cls.hidden.unique_id)
        items = labelled_items(labels, images, np.random.default_rng(seed))
        judge, name, key = judge_of(vlm, verifier, progress)
        exam = examine_judge(judge, name, items, questions, seed, progress)
        if exam.problem:
            raise InputError(f"The judge answered no question: {exam.problem}")
        warn(keep_errors(profiles_folder(), key, exam.errors))
        table = errors_table(exam.errors)
        errors = json.dumps(exam.errors.data(), indent=2)
        return io.NodeOutput(table, errors, ui=ui.PreviewText(table))


def judge_of(
    vlm: VlmHandle | None, verifier: ActorHandle | None, progress: Progress
) -> tuple[Answering, str, str]:
    """The judge, its name, and the key under which its errors are stored.

    Raises InputError for none, for two, for rules of the miniature, and for a model that is blind
    or does not answer.
    """
    if vlm is not None and verifier is not None:
        raise InputError(TWO_JUDGES)
    if verifier is not None and verifier_name(verifier) == OWN:
        vlm = verifier.vlms[0]
    if vlm is not None:
        check(vlm, progress)
        return ModelAnswers(vlm.vlm), vlm.shown_name, error_key(key_of(vlm))
    if verifier is None:
        raise InputError(NO_JUDGE)
    name = verifier_name(verifier)
    check_examinable(part.rpartition("*")[2] for part in name.split("+"))
    for each in verifier.vlms:
        check(each, progress)
    shown = f"{verifier.vlm_texts('shown_name')}, {name}" if verifier.vlms else name
    return VerifierAnswers(verifier.actor), shown, verifier_key(verifier)


def check(vlm: VlmHandle, progress: Progress) -> None:
    why = objection(probe(vlm.vlm, progress))
    if why and not vlm.insists:
        raise InputError(why)
    warn(why)


def labelled_items(labels: str, images: Any, rng: np.random.Generator) -> list[ExamItem]:
    """The statements that labels make about the pictures.

    Raises InputError for labels without pictures, pictures without labels, and bad lines.
    """
    if images is None and not labels.strip():
        return []
    if images is None or not labels.strip():
        missing = "images" if images is None else "labels"
        raise InputError(f"Labels and images belong together. Give {missing} as well.")
    labelled = parse_labels(labels, numbered(to_pictures([images])), "labels")
    known = [item for each in labelled.known() for item in known_items(each, rng)]
    return [*labelled.items(rng), *known]
