"""One step on a tiny model of the same structure, which is then saved and loaded as a writer."""

from __future__ import annotations

from PIL import Image

from reflectionflow_core.record import Candidate, Request, Verdict
from reflectionflow_core.vlm.local import load_vlm
from reflectionflow_core.writers.reflection_generator import ReflectionGeneratorWriter
from train.qwen.run import dry_run_settings
from train.writer.settings import WriterSettings
from train.writer.training import train


def dry_run(settings: WriterSettings) -> str:
    with dry_run_settings(settings, answers=2, max_answer=16) as small:
        folder = train(small, like=settings.base)
        vlm = load_vlm(folder, dtype=small.weights, device=small.torch_device)
        writer = ReflectionGeneratorWriter(vlm, max_words=10)
        flawed = Candidate(Image.new("RGB", (64, 64), "red"), "a blue square", 0, Verdict(0.0))
        text = writer.reflect("a blue square", [Request(0, parent=flawed)])[0]
    data = "the data" if small.data == settings.data else "made-up data"
    return f"One step on a tiny model and {data}: trained, saved, loaded; it writes {text!r}.\n"
