"""Flawed pictures, what a writer is asked about them, and the reflection it should write."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL.Image import Image

from reflectionflow_core.vlm.texts import tidy
from reflectionflow_core.writers.reflection_generator import REQUEST
from train.qwen.data import require_pictures, rows_of
from train.shard_lists import shards_in
from train.triplets import SampleError, Triplets, open_picture

ASKED = re.compile(re.escape(REQUEST).replace(re.escape("{prompt}"), "(.*)"), re.DOTALL)


@dataclass(frozen=True, slots=True, eq=False)
class Chat:
    """One question with its picture, and the answer; `prompt` is "" where it is not known."""

    key: str
    image: Image
    request: str
    answer: str
    prompt: str


class TripletChats:
    """The bad picture of each triplet, asked about as ReflectionGeneratorWriter asks."""

    def __init__(self, triplets: Triplets) -> None:
        self.triplets, self.skipped = triplets, triplets.skipped

    def __len__(self) -> int:
        return len(self.triplets)

    def read(self, index: int) -> Chat:
        found = self.triplets[index]
        prompt = tidy(found.prompt)
        request = REQUEST.format(prompt=prompt)
        return Chat(found.key, found.bad, request, _answer(found.reflection), prompt)

    def prompt(self, index: int) -> str:
        return self.triplets.prompt(index)


class FileChats:
    """Rows {"messages": [user, assistant], "images": [path]} of a JSON Lines file.

    Paths are relative to the file. A content is text, with or without "<image>", or a list of parts
    {"type": "image"} and {"type": "text", "text": ...}.
    """

    def __init__(self, file: Path) -> None:
        self.folder, self.name, self.rows = file.parent, file.name, rows_of(file)
        self.skipped: Counter[str] = Counter()
        named = (row.get("images") for row in self.rows)
        require_pictures(file, (n for names in named if isinstance(names, list) for n in names))

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, index: int) -> Chat:
        row = self.rows[index]
        images = row.get("images")
        if not isinstance(images, list) or len(images) != 1 or not isinstance(images[0], str):
            raise SampleError("not one picture")
        request, answer = _said(row, "user"), _said(row, "assistant")
        asked = ASKED.fullmatch(request)
        return Chat(
            f"{self.name}:{index + 1}",
            open_picture(self.folder / images[0]),
            request,
            _answer(answer),
            asked[1] if asked else "",
        )

    def prompt(self, index: int) -> str:
        try:
            return _said(self.rows[index], "user")
        except SampleError:
            return ""


def chats_in(where: str) -> FileChats | TripletChats:
    """The chats of a .jsonl file, or of the shards that a folder or pattern names."""
    if where.endswith(".jsonl"):
        return FileChats(Path(where).expanduser())
    return TripletChats(Triplets(shards_in(where)))


def _said(row: dict[str, Any], role: str) -> str:
    """The text of the one message of that role."""
    messages = row.get("messages")
    found = [m for m in messages if isinstance(m, dict)] if isinstance(messages, list) else []
    contents = [m.get("content") for m in found if m.get("role") == role]
    if len(contents) != 1:
        raise SampleError(f"not one message of the {role}")
    parts = contents[0] if isinstance(contents[0], list) else [{"text": contents[0]}]
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    return tidy(" ".join(text for text in texts if isinstance(text, str)).replace("<image>", " "))


def _answer(reflection: str) -> str:
    """Nothing can be learnt from an empty one but to be silent about flaws."""
    if not (answer := tidy(reflection)):
        raise SampleError("reflection empty")
    return answer
