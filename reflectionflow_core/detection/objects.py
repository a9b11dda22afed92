"""The verifier `objects`: counts, colours and places, by a detector and GenEval's rules.

A prompt is parsed once, by rules if it is plain, otherwise by a vision-language model if there is
one. What no detector can judge (style, materials, actions) is named but not judged.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

from PIL import Image

from ..allowance import add_calls
from ..evidence import DIGITS, Evidence, place_in_words
from ..pictures import to_rgb
from ..protocols import SILENT, Progress
from ..record import InputError, Verdict
from ..verifiers.text.wanted import text_wishes
from ..vlm.interface import Vlm
from .asking import asked_by_model
from .detectors import Detector
from .device_check import MIN_SEEN, PICTURES, check_agreement
from .examiner import Examiner
from .pixel_colours import PixelColours
from .prompts import NotPlainError, Wanted, as_task, wanted_by
from .rules import (
    Detection,
    DetectionLimits,
    Finding,
    Need,
    Task,
    counted_detections,
    demands,
    findings,
    seen,
    share_met,
)
from .vocabulary import knows, unknown_name

LARGEST = 2048  # longest side of a picture for a detector in pixels; all use fewer
# Difference of scores between pictures: smaller for a broken network, 0.3 for plain posters.
SAME_SURENESS = 0.01
SMALLEST = 16  # shortest side in pixels: image processors mistake a shorter one for the channels

ADVICE = (
    "Write it plainly (such as: exactly two red cups left of a dog, no cats), give a "
    "vision-language model that takes it apart, or choose the verifier `checklist`."
)
JOIN_TEXT = "Choose `objects+text`, which reads the words in quotation marks as well."


@dataclass(frozen=True, slots=True)
class AskedFor:
    """What a prompt asks for; `unjudged` is what no detector can see.

    Classes in `by_colour` are split by colour: a need of "red cup" is one of cups.
    """

    task: Task  # classes of the detector
    renamed: Task  # with the colour in the class name
    by_colour: frozenset[str] = frozenset()
    unjudged: tuple[str, ...] = ()

    @property
    def demands(self) -> int:
        """The number of needs that the score is relative to."""
        return demands(self.renamed)


class ObjectsVerifier:
    """Judges by detections; `passed` and the score (0 to 1) follow GenEval's rules.

    * `unmet` names each fault in words that writers turn into commands; `evidence` gives the boxes
      of
      faults and of correct objects.
    * `passed` is None if everything a detector can judge is correct, but the prompt asks for more.
    * A number is exact unless the prompt says otherwise.

    InputError, even without pictures, for a prompt that cannot be parsed or a word that the
    detector does not know; and after PICTURES different pictures for a detector that sees nothing
    in most of them and is equally sure of all. `reference` builds the same examiner in fp32 on the
    CPU for comparison with the first pictures; None if the detector already runs that way.
    """

    calls = 0

    def __init__(
        self,
        examiner: Examiner,
        vlm: Vlm | None = None,
        reference: Callable[[], Examiner] | None = None,
        device: str = "cpu",
    ) -> None:
        self.examiner, self.vlm, self.device = examiner, vlm, device
        self.spent = 0
        self._unpaid = 0  # questions asked before the first picture, which nobody was counting
        self._reference = reference
        self._asked: dict[str, AskedFor] = {}
        self._surest: dict[bytes, float] = {}  # scores of the first pictures, by digest

    @property
    def detector(self) -> Detector:
        return self.examiner.detector

    def verify(
        self, prompt: str, images: Sequence[Image.Image], progress: Progress = SILENT
    ) -> list[Verdict]:
        unpaid = self._unpaid
        if prompt not in self._asked:
            self._asked[prompt] = self._taken_apart(prompt, progress)
        if not images:
            return []
        add_calls(unpaid)
        self.spent, self._unpaid = self.spent + self._unpaid, 0
        return self.judge(self._asked[prompt], images, progress)

    def judge(
        self, asked: AskedFor, images: Sequence[Image.Image], progress: Progress = SILENT
    ) -> list[Verdict]:
        """`verify` for requirements that are already parsed."""
        shown = [presentable(image) for image in images]
        found = self.examiner.detect(asked.task, shown, progress)
        self._guard(asked, shown, found, progress)
        return [self._verdict(asked, *pair) for pair in zip(shown, found, strict=True)]

    def applies_to(self, prompt: str) -> bool:
        """Whether rules or a model can parse the prompt into objects that the detector knows."""
        if self.vlm is not None or prompt in self._asked:
            return True
        try:
            self._asked[prompt] = self._taken_apart(prompt, SILENT)
        except InputError:
            return False
        return True

    def _taken_apart(self, prompt: str, progress: Progress) -> AskedFor:
        vocabulary = self.detector.vocabulary
        try:
            wanted, rest = wanted_by(prompt), []
            asked = told_apart(wanted, rest)
            unknown = [thing.name for thing in wanted if not knows(vocabulary, thing.name)]
        except NotPlainError as error:
            if self.vlm is None:
                advice = JOIN_TEXT if text_wishes(prompt) else ADVICE
                raise InputError(f"{error} {advice}") from error
            asked, unknown = None, [""]
        if unknown and self.vlm is not None:
            before = self.vlm.usage.calls
            try:
                wanted, rest = asked_by_model(self.vlm, prompt, vocabulary, progress)
            finally:
                self._unpaid += self.vlm.usage.calls - before
            asked = told_apart(wanted, rest)
            unknown = [thing.name for thing in wanted if not knows(vocabulary, thing.name)]
        if unknown or asked is None:
            raise InputError(unknown_name(unknown[0], vocabulary or ()))
        return asked

    def _guard(
        self,
        asked: AskedFor,
        images: Sequence[Image.Image],
        found: Sequence[Sequence[Detection]],
        progress: Progress,
    ) -> None:
        """InputError for a detector that does not work because of the device or damaged weights."""
        if any(not math.isfinite(thing.score) for things in found for thing in things):
            raise InputError(
                "The detector returns numbers that are not finite. Download its weights again, "
                "or choose another number format."
            )
        if self._reference is not None:
            reference, self._reference = self._reference(), None
            shown = [(asked.task, image) for image in images[:PICTURES]]
            check_agreement(self.examiner, reference, shown, found[:PICTURES], self.device)
        for image, things in zip(images, found, strict=True):
            if len(self._surest) < PICTURES:
                self._surest[sha256(image.tobytes()).digest()] = self._score(image, things)
                self._check_sight(progress)

    def _score(self, image: Image.Image, things: Sequence[Detection]) -> float:
        """The highest score of any class in a picture; 0 if nothing was found."""
        least, names = self.examiner.limits.confidence, self.detector.vocabulary
        if not any(thing.score > least for thing in things) and names is not None:
            things = self.detector.detect([image], list(dict.fromkeys(names)))[0]
        return max((thing.score for thing in things), default=0.0)

    def _check_sight(self, progress: Progress) -> None:
        scores = self._surest.values()
        saw = sum(score > self.examiner.limits.confidence for score in scores)
        if len(scores) < PICTURES or saw >= MIN_SEEN * PICTURES:
            return
        told = f"The detector finds something in {saw} of the first {PICTURES} pictures"
        if max(scores) - min(scores) < SAME_SURENESS:
            raise InputError(
                f"{told}, and is equally sure of all: it does not work, or the pictures show "
                "nothing. Look at some, then choose another detector or another verifier."
            )
        # Plain posters differ in score, so the detector works.
        progress.say(
            f"{told}. If they show what the prompt asks for, choose another detector or another "
            "verifier."
        )

    def _verdict(self, asked: AskedFor, image: Image.Image, things: Sequence[Detection]) -> Verdict:
        examiner = self.examiner
        counted = counted_detections(asked.task, things, examiner.limits)
        found = with_colours(asked, counted, image, examiner)
        said = findings(asked.renamed, found, lambda some: examiner.read_colours(image, some))
        evidence = [
            each
            for finding in said
            for each in evidence_of(finding, found, image.size, _doubt(finding, things))
        ]
        unmet = tuple(
            dict.fromkeys(text for f in said if f.text for text in texts_of(f, found, image.size))
        )
        rest = f" Not judged: {'; '.join(asked.unjudged)}." if asked.unjudged else ""
        return Verdict(
            score=share_met(asked.renamed, said),
            passed=False if unmet else None if rest else True,
            unmet=unmet,
            explanation=f"{seen(counted)}{rest}",
            evidence=tuple(dict.fromkeys(evidence)),
        )


def told_apart(wanted: Sequence[Wanted], unjudged: Sequence[str] = ()) -> AskedFor:
    """The tasks for what is wanted.

    GenEval's rules count objects of a class for every need of that class. If a class has several
    needs, or a colour is excluded, objects are renamed by colour: "a red cup and a blue cup" needs
    a "red cup" and a "blue cup". NotPlainError for a position between objects that cannot be told
    apart.
    """
    task = as_task(wanted)
    counts = Counter(need.name for need in task.include)
    by_colour = {name for name, count in counts.items() if count > 1}
    by_colour |= {need.name for need in task.exclude if need.colour}
    include = tuple(_renamed(need, task, by_colour, counts) for need in task.include)
    exclude = tuple(_renamed_limit(need, task, by_colour, counts) for need in task.exclude)
    plain = Task(task.tag, task.include, tuple(replace(n, colour=None) for n in task.exclude))
    renamed = Task(task.tag, include, exclude)
    return AskedFor(plain, renamed, frozenset(by_colour), tuple(unjudged))


def _renamed(need: Need, task: Task, by_colour: set[str], counts: Mapping[str, int]) -> Need:
    if need.name not in by_colour:
        return need
    if need.colour is not None:
        return replace(need, name=f"{need.colour} {need.name}", colour=None)
    if counts[need.name] > 1 and (need.relation or _is_target(need, task)):
        raise NotPlainError(f"Nothing tells one {need.name} from the other {need.name}.")
    # "a cup and a red cup" means two cups, one of them red.
    return replace(need, count=_total(need.name, task))


def _renamed_limit(need: Need, task: Task, by_colour: set[str], counts: Mapping[str, int]) -> Need:
    if need.colour is not None:
        return replace(need, name=f"{need.colour} {need.name}", colour=None)
    if need.name in by_colour and need.count > 1 and counts[need.name] > 1:
        return replace(need, count=_total(need.name, task) + 1)
    return need


def _is_target(need: Need, task: Task) -> bool:
    return any(o.target is not None and task.include[o.target] is need for o in task.include)


def _total(name: str, task: Task) -> int:
    return sum(need.count for need in task.include if need.name == name)


def with_colours(
    asked: AskedFor,
    counted: Mapping[str, Sequence[Detection]],
    image: Image.Image,
    examiner: Examiner,
) -> dict[str, list[Detection]]:
    """The detections that count, with those of classes split by colour renamed."""
    found = {name: list(things) for name, things in counted.items()}
    for name in asked.by_colour & found.keys():
        things = found[name]
        for thing, colour in zip(things, examiner.read_colours(image, things), strict=True):
            found.setdefault(f"{colour} {name}", []).append(thing)
    return found


def texts_of(
    finding: Finding, found: Mapping[str, Sequence[Detection]], size: tuple[int, int]
) -> list[str]:
    """The faults of a finding in words, with the place of each object that is not the only one."""
    if finding.kind not in ("extra", "colour"):
        return [finding.text]
    several = finding.kind == "extra" or len(found.get(finding.need.name, ())) > 1
    return [_text(finding, thing, size, several) for thing in finding.things]


def _text(finding: Finding, thing: Detection, size: tuple[int, int], several: bool) -> str:
    box = Evidence.in_pixels("", thing.box, size).box
    place = place_in_words(box) if box and several else ""
    noun = " ".join(filter(None, (finding.need.name, place)))
    return f"extra {noun}" if finding.kind == "extra" else f"{noun} is not {finding.need.colour}"


def evidence_of(
    finding: Finding,
    found: Mapping[str, Sequence[Detection]],
    size: tuple[int, int],
    doubt: float,
) -> list[Evidence]:
    """The boxes of a finding; for missing objects only the confidence, 1 - `doubt`."""
    if finding.kind == "missing":
        return [Evidence(finding.text, None, round(1 - doubt, DIGITS))]
    if finding.kind == "right":
        name = " ".join(filter(None, (finding.need.colour, finding.need.name)))
        texts = [name] * len(finding.things)
    elif finding.kind == "position":
        texts = [finding.text] * len(finding.things)
    else:
        texts = texts_of(finding, found, size)
    pairs = zip(texts, finding.things, strict=True)
    return [Evidence.in_pixels(text, thing.box, size, thing.score) for text, thing in pairs]


def _doubt(finding: Finding, things: Sequence[Detection]) -> float:
    """The best score (0 to 1) of a detection that might be the missing object."""
    name = finding.need.name
    return max((t.score for t in things if name.endswith(t.name)), default=0.0)


def presentable(image: Image.Image) -> Image.Image:
    """The picture in RGB and at a size that every detector accepts; boxes are fractions of it."""
    picture = to_rgb(image)
    if max(picture.size) > LARGEST:
        picture.thumbnail((LARGEST, LARGEST), Image.Resampling.BOX)
    size = (max(picture.width, SMALLEST), max(picture.height, SMALLEST))
    return picture if picture.size == size else picture.resize(size, Image.Resampling.NEAREST)


def objects_verifier(
    detector: Detector, limits: DetectionLimits | None = None, vlm: Vlm | None = None
) -> ObjectsVerifier:
    """The verifier with colours read from pixels, without a further model."""
    return ObjectsVerifier(Examiner(detector, PixelColours(), limits), vlm)
