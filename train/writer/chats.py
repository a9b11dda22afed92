"""Flawed pictures, the question to a writer about each, and the reflection it should write."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL.Image import Image

from reflectionflow_core.report.words import shortened
from reflectionflow_core.texts import parse_json
from reflectionflow_core.vlm.interface import Question
from reflectionflow_core.vlm.texts import tidy
from reflectionflow_core.writers.reflection_generator import REQUEST
from train.prompt_words import digests
from train.qwen.data import SampleSource, require_pictures, rows_of
from train.shard_index import ShardIndex, index_of
from train.shard_lists import shards_in
from train.skipped import Skipped
from train.triplets import (
    CHAT,
    PICTURE,
    SampleError,
    Triplets,
    open_picture,
    opened,
    read_files,
)

SHOWN = 120  # most characters of a question that are shown
ASKED = re.compile(re.escape(REQUEST).replace(re.escape("{prompt}"), "(.*)"), re.DOTALL)


@dataclass(frozen=True, slots=True, eq=False)
class Chat:
    """A question, its picture if any, and the answer.

    `prompt` is what the picture should show; "" if unknown or if the answer is not a reflection.
    """

    key: str
    image: Image | None
    request: str
    answer: str
    prompt: str
    system: str = ""
    kind: str = ""  # of the staged source's questions

    @property
    def picture(self) -> Image:
        """The picture of a chat that has one."""
        assert self.image is not None
        return self.image

    @property
    def asked(self) -> str:
        """What is asked, in one line: the prompt, or the kind of a question and its text."""
        return self.prompt or f"{self.kind}: {shortened(self.request, SHOWN)}".removeprefix(": ")

    @property
    def question(self) -> Question:
        """The question as the model will be asked."""
        return Question(self.request, (self.image,) if self.image else (), self.system)


class TripletChats:
    """The bad picture of each triplet, with the question of ReflectionGeneratorWriter."""

    def __init__(self, triplets: Triplets) -> None:
        self.triplets, self.skipped = triplets, triplets.skipped

    def __len__(self) -> int:
        return len(self.triplets)

    @property
    def prompts(self) -> np.ndarray:
        return self.triplets.entries.prompts

    def key(self, index: int) -> str:
        return self.triplets.entries[index].key

    def read(self, index: int) -> Chat:
        found = self.triplets[index]
        prompt = tidy(found.prompt)
        request = REQUEST.format(prompt=prompt)
        return Chat(found.key, found.bad, request, _answer(found.reflection), prompt)


class FileChats:
    """Rows {"messages": [user, assistant], "images": [path]} of a JSON Lines file.

    Paths are relative to the file. The content of a message is text, with or without "<image>", or
    a list of parts {"type": "image"} and {"type": "text", "text": ...}.
    """

    def __init__(self, file: Path) -> None:
        self.folder, self.name, self.rows = file.parent, file.name, rows_of(file)
        self.skipped: Counter[str] = Counter()
        named = (row.get("images") for row in self.rows)
        require_pictures(file, (n for names in named if isinstance(names, list) for n in names))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def prompts(self) -> np.ndarray:
        return digests(_prompt(request) or request for request in map(_request, self.rows))

    def key(self, index: int) -> str:
        return f"{self.name}:{index + 1}"

    def read(self, index: int) -> Chat:
        row = self.rows[index]
        images = row.get("images")
        if not isinstance(images, list) or len(images) != 1 or not isinstance(images[0], str):
            raise SampleError("not one picture")
        request, answer = _said(row, "user"), _said(row, "assistant")
        return Chat(
            self.key(index),
            open_picture(self.folder / images[0]),
            request,
            _answer(answer),
            _prompt(request),
        )


class ShardChats:
    """Questions with answers in shards of the data engine's staged source."""

    def __init__(self, shards: Iterable[Path]) -> None:
        self.skipped: Counter[str] = Counter()
        self.parts = [(shard, index_of(shard)) for shard in shards]
        self.rows = [np.flatnonzero(index.has(CHAT)) for _, index in self.parts]
        self.ends = np.cumsum([len(rows) for rows in self.rows], dtype=np.int64)

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    @property
    def prompts(self) -> np.ndarray:
        return digests(map(self._prompt, range(len(self))))

    def key(self, index: int) -> str:
        (_, found), row = self._place(index)
        return found.key(row)

    def read(self, index: int) -> Chat:
        files = self._files(index)
        told = self._told(files)
        picture = next((data for name, data in files.items() if name.startswith(PICTURE)), None)
        return Chat(
            self.key(index),
            opened(picture) if picture else None,
            str(told.get("request", "")),
            _answer(str(told.get("answer", ""))),
            "",
            str(told.get("system", "")),
            str(told.get("kind", "")),
        )

    def _prompt(self, index: int) -> str:
        try:
            return str(self._told(self._files(index, CHAT)).get("prompt", ""))
        except SampleError:
            return ""

    def _place(self, index: int) -> tuple[tuple[Path, ShardIndex], int]:
        """The shard of a sample with its index, and the sample's row in it."""
        part = int(np.searchsorted(self.ends, index, "right"))
        before = int(self.ends[part - 1]) if part else 0
        return self.parts[part], int(self.rows[part][index - before])

    def _files(self, index: int, only: str = "") -> dict[str, bytes]:
        (shard, found), row = self._place(index)
        places = {n: where for n, where in found.places(row).items() if n == only or not only}
        return read_files(shard, places)

    @staticmethod
    def _told(files: Mapping[str, bytes]) -> Mapping[str, Any]:
        try:
            told = parse_json(files[CHAT])
        except ValueError as error:
            raise SampleError("chat.json unreadable") from error
        if not isinstance(told, dict):
            raise SampleError("chat.json unreadable")
        return told


class SeveralChats:
    """Several sources, one after the other."""

    def __init__(self, sources: Sequence[SampleSource[Chat]]) -> None:
        self.sources = sources
        self.ends = np.cumsum([len(source) for source in sources], dtype=np.int64)
        self.skipped = Skipped()
        for source in sources:
            self.skipped.merge(source.skipped)

    def __len__(self) -> int:
        return int(self.ends[-1])

    @property
    def prompts(self) -> np.ndarray:
        return np.concatenate([source.prompts for source in self.sources])

    def key(self, index: int) -> str:
        source, place = self._place(index)
        return source.key(place)

    def read(self, index: int) -> Chat:
        source, place = self._place(index)
        return source.read(place)

    def _place(self, index: int) -> tuple[SampleSource[Chat], int]:
        """The source of a sample, and its number there."""
        number = int(np.searchsorted(self.ends, index, "right"))
        before = int(self.ends[number - 1]) if number else 0
        return self.sources[number], index - before


def kinds_of(source: SampleSource[Chat]) -> tuple[bool, bool]:
    """Whether the chats ask for reflections, and whether they are the staged source's questions."""
    staged = isinstance(source, SeveralChats) and bool(len(source.sources[1]))
    return (bool(len(source.sources[0])) if isinstance(source, SeveralChats) else True), staged


def chats_in(where: str, fetch: bool = True) -> SampleSource[Chat]:
    """The chats of a .jsonl file, or of the shards in a folder or pattern (see `shards_in`).

    From shards: a chat about the bad picture of each triplet, and the staged source's questions.
    """
    if where.endswith(".jsonl"):
        return FileChats(Path(where).expanduser())
    shards = shards_in(where, fetch)
    triplets, chats = TripletChats(Triplets(shards)), ShardChats(shards)
    return SeveralChats([triplets, chats]) if len(chats) else triplets


def _prompt(request: str) -> str:
    """The prompt in a question about its picture; "" in other questions."""
    asked = ASKED.fullmatch(request)
    return asked[1] if asked else ""


def _request(row: dict[str, Any]) -> str:
    try:
        return _said(row, "user")
    except SampleError:
        return ""


def _said(row: dict[str, Any], role: str) -> str:
    """The text of the only message with that role."""
    messages = row.get("messages")
    found = [m for m in messages if isinstance(m, dict)] if isinstance(messages, list) else []
    contents = [m.get("content") for m in found if m.get("role") == role]
    if len(contents) != 1:
        raise SampleError(f"not one message of the {role}")
    parts = contents[0] if isinstance(contents[0], list) else [{"text": contents[0]}]
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    return tidy(" ".join(text for text in texts if isinstance(text, str)).replace("<image>", " "))


def _answer(reflection: str) -> str:
    """The reflection; raises SampleError if it is empty, which would teach to ignore flaws."""
    if not (answer := tidy(reflection)):
        raise SampleError("reflection empty")
    return answer
