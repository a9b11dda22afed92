"""`reflectionflow judge`: measures how often a judge is wrong, by kind of statement."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL.Image import Image

from ..archive.files import writing
from ..choice import ActorChoice
from ..judge_exam.asking import Answering, ModelAnswers, VerifierAnswers, check_examinable
from ..judge_exam.detecting import known_by_detector, known_shapes
from ..judge_exam.items import ExamItem, KnownPicture
from ..judge_exam.labels import numbered, read_labelled
from ..judge_exam.measuring import examine_judge
from ..judge_exam.painted import paint_for_exam, prompts_of, shape_prompts
from ..judge_exam.planting import known_items
from ..judge_exam.reporting import ANSWERS, errors_table, save_exam
from ..judge_exam.settings import LABELS, PAINTED, QUESTIONS
from ..plugins import load_plugins
from ..record import InputError
from ..registry import VERIFIERS, build_verifier, choice_of, model_named
from ..report.words import counted
from ..settings import SearchSettings, chosen_seed
from ..verifiers.spec import VerifierSpec, parse_verifiers
from ..vlm.judge_check import objection, probe
from ..vlm.kept_errors import OWN, error_key, keep_errors
from ..vlm.named import build_vlm, check_vlm_name
from ..vlm.profiles import command_line_folder
from .effects import Situation, check_effects
from .judging import NOT_A_JUDGE, agree, key_of, verifier_key, vlm_spec
from .naming import flag_of
from .options import make_record, with_drawn_seed
from .outcome import CommandOutcome, would_do
from .screen import Lines

OF_JUDGE = ("device", "vlm_dtype", "colour_judge", "send_pictures")
MOST_PICTURES = 60  # of a folder that a detector looks at
PAINTING = ("model", "device", "dtype", "steps", "size", "plan")
JUDGING = ("verifier", "vlm", "vlm_dtype", "detector", "colour_judge", "device", "plugins")


@dataclass(frozen=True, slots=True)
class ExaminedJudge:
    """A judge, its name, and the key under which its errors are stored."""

    judge: Answering
    name: str
    key: str


def measure(given: Mapping[str, Any]) -> CommandOutcome:
    """Measures a judge and stores its errors; exit code 1 if it is blind or does not answer."""
    given = with_drawn_seed(given, None)
    chosen_seed(given.get("seed", 0))  # raises for one out of range, before anything is loaded
    load_plugins(given.get("plugins", ()))
    out = _new_folder(given.get("out"))
    _check_sources(given)
    _check_effects(given)
    if given.get("dry_run"):
        return _dry_run(given)
    examined = _judge(given)
    if isinstance(examined, str):
        return CommandOutcome(NOT_A_JUDGE, error=examined)
    items = _items(given, np.random.default_rng(given.get("seed", 0)))
    questions = given.get("questions", QUESTIONS)
    with Asking(questions) as progress:
        exam = examine_judge(
            examined.judge, examined.name, items, questions, given.get("seed", 0), progress
        )
    if out is not None:
        with writing(out):
            save_exam(exam, out)
    if exam.problem:
        none = f"The judge answered none of {len(exam.answers)} questions: {exam.problem}"
        return CommandOutcome(NOT_A_JUDGE, error=none)
    if notice := keep_errors(command_line_folder(), examined.key, exam.errors):
        _say(notice)
    data = {"judge": examined.name, "errors": exam.errors.data()}
    return CommandOutcome(text=errors_table(exam.errors), data=data)


def _dry_run(given: Mapping[str, Any]) -> CommandOutcome:
    """What would be asked of whom; nothing is loaded."""
    verifier = given.get("verifier", OWN)
    _parts(given, verifier)
    judge = verifier
    if "vlm" in given:
        spec = vlm_spec(given["vlm"])
        check_vlm_name(spec, given.get("vlm_dtype"))
        judge = f"{spec}, {verifier}"
    facts = {"judge": judge}
    if "images" in given:
        count = len(read_labelled(Path(given["images"])).pictures)
        facts["pictures"] = f"{counted(count, 'picture')} of {given['images']}"
    if "model" in given:
        painted = counted(given.get("pictures", PAINTED), "picture")
        facts["model"] = f"{given['model']}, which paints {painted}"
    facts["cost"] = f"At most {counted(given.get('questions', QUESTIONS), 'question')}."
    if "out" in given:
        facts["folder"] = given["out"]
    return would_do(facts)


def _parts(given: Mapping[str, Any], verifier: str) -> list[VerifierSpec]:
    """The verifiers that are measured; raises InputError for those that cannot be."""
    parts = parse_verifiers(verifier, VERIFIERS)
    check_examinable(part.name for part in parts)
    if "vlm" not in given and any(VERIFIERS[part.name].asks_vlm for part in parts):
        raise InputError("There is no judge to measure. Give one with --vlm NAME.")
    if [part.name for part in parts] == ["text"] and "images" not in given:
        raise InputError(
            "The verifier text reads writing, and the pictures of this exam have none. Give "
            f"--images with pictures of writing and {LABELS} beside them."
        )
    return parts


def _judge(given: Mapping[str, Any]) -> ExaminedJudge | str:
    """The judge, or a sentence why it cannot be one."""
    verifier = given.get("verifier", OWN)
    parts = _parts(given, verifier)
    names = "+".join(part.name for part in parts)  # a source may be a private folder
    if "vlm" not in given:
        choice = _choice(given, verifier)
        return ExaminedJudge(VerifierAnswers(build_verifier(choice)), names, verifier_key(choice))
    spec = vlm_spec(given["vlm"])
    vlm = build_vlm(spec, given.get("device"), given.get("vlm_dtype"))
    agree(vlm, bool(given.get("send_pictures")))
    if why := objection(probe(vlm, Lines())):
        return why
    known = key_of(spec, vlm, given.get("vlm_dtype"))
    if verifier == OWN:
        return ExaminedJudge(ModelAnswers(vlm), spec, error_key(known))
    choice = _choice({**given, "vlm": spec}, verifier)
    asks = any(VERIFIERS[part.name].asks_vlm for part in parts)
    key = error_key(known, names) if asks else verifier_key(choice)
    return ExaminedJudge(VerifierAnswers(build_verifier(choice)), f"{spec}, {names}", key)


def _choice(given: Mapping[str, Any], verifier: str) -> ActorChoice:
    record = {name: given[name] for name in JUDGING if name in given}
    if not any(part.name == "objects" for part in parse_verifiers(verifier, VERIFIERS)):
        record.pop("detector", None)  # then it finds what is in the pictures
    return choice_of(make_record({**record, "verifier": verifier}))


def _items(given: Mapping[str, Any], rng: np.random.Generator) -> list[ExamItem]:
    """The statements about the user's pictures and those of a model; scenes are added later."""
    known = [*_from_folder(given, rng), *_painted(given, rng)]
    pictures = [each for each in known if isinstance(each, KnownPicture)]
    if pictures or _finds(given):
        _say(f"The contents of {counted(len(pictures), 'picture')} are known.")
    return [
        item
        for each in known
        for item in (known_items(each, rng) if isinstance(each, KnownPicture) else [each])
    ]


def _check_sources(given: Mapping[str, Any]) -> None:
    if "model" not in given:
        strange = [name for name in ("pictures", "steps", "size", "dtype", "plan") if name in given]
        if strange:
            raise InputError(
                f"{flag_of(strange[0])} has no effect without a model that paints. Give --model "
                "as well, or leave it out."
            )
    elif given["model"] != "miniature" and not _finds(given):
        raise InputError(
            "A prompt does not say what the picture painted from it shows. Give --detector, "
            "which finds that out."
        )
    if "things" in given and not _finds(given):
        raise InputError("--things are what a detector looks for. Give one with --detector.")


def _check_effects(given: Mapping[str, Any]) -> None:
    """Raises InputError for options without effect on this exam."""
    verifier, vlm = given.get("verifier", OWN), given.get("vlm")
    choice = ActorChoice(verifier=verifier, vlm=vlm and vlm_spec(vlm))
    names = [name for name in given if name in OF_JUDGE]
    loads = "model" in given or "detector" in given
    settings = SearchSettings(depth=0)
    check_effects(Situation(settings, choice, names, paints=loads, command="judge"))
    if _finds(given) and not {"images", "model"} & {*given}:
        raise InputError(
            "--detector has no effect without pictures to look at. Give --images or --model, or "
            "remove --detector."
        )


def _finds(given: Mapping[str, Any]) -> bool:
    """Whether there is a detector other than the judge."""
    return "detector" in given and "objects" not in given.get("verifier", OWN)


def _from_folder(
    given: Mapping[str, Any], rng: np.random.Generator
) -> list[ExamItem | KnownPicture]:
    if "images" not in given:
        return []
    folder = Path(given["images"])
    labelled = read_labelled(folder)
    found = [*labelled.items(rng), *labelled.known()]
    if _finds(given):
        some = rng.permutation(len(labelled.unlabelled))[:MOST_PICTURES]
        return [*found, *_detected(given, [labelled.unlabelled[index] for index in some])]
    if not found:
        raise InputError(
            f"Nothing is known about the pictures in {folder}. Write {LABELS} beside them, give a "
            "detector that is not the judge with --detector, or leave --images out."
        )
    return found


def _painted(given: Mapping[str, Any], rng: np.random.Generator) -> list[KnownPicture]:
    if "model" not in given:
        return []
    count = given.get("pictures", PAINTED)
    choice = choice_of(make_record({name: given[name] for name in PAINTING if name in given}))
    painter, _ = model_named(choice.model).build(choice, False)
    if choice.model == "miniature" and not _finds(given):
        images = paint_for_exam(painter, shape_prompts(count, rng), rng, Lines())
        shapes = [known_shapes(f"painted {i}", image) for i, image in enumerate(images)]
        return [known for known in shapes if known is not None]
    from ..detection.load import load_any

    names = given.get("things") or load_any(given["detector"], given.get("device")).vocabulary
    if not names:
        raise InputError("This detector finds any thing. Say which, as in --things cup,dog,chair.")
    images = paint_for_exam(painter, prompts_of(names, count, rng), rng, Lines())
    return _detected(given, [*numbered(images).values()])


def _detected(given: Mapping[str, Any], pictures: Sequence[KnownPicture]) -> list[KnownPicture]:
    from ..detection.load import load_any

    detector = load_any(given["detector"], given.get("device"))
    return known_by_detector(detector, pictures, given.get("things", ()))


def _new_folder(name: str | None) -> Path | None:
    """The folder for pictures and answers; raises InputError for one that has answers."""
    if name is None:
        return None
    if not name.strip():
        raise InputError("The name of the folder is empty. Give one after --out.")
    if (Path(name) / ANSWERS).exists():
        raise InputError(f"{name} holds another exam. Choose another folder after --out.")
    return Path(name)


class Asking(Lines):
    """A bar on a terminal that counts questions."""

    def __init__(self, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = (TextColumn("questions"), BarColumn(), MofNCompleteColumn())
        console = Console(stderr=True, highlight=False, emoji=False)
        self._bar = Progress(*columns, console=console, transient=True)
        self._task = self._bar.add_task("questions", total=total)

    def __enter__(self) -> Asking:
        if self._bar.console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def report(self, phase: str, done: int, total: int, preview: Image | None = None) -> None:
        del phase, total, preview
        self._bar.update(self._task, completed=done)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
