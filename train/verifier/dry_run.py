"""One step on a tiny model of the same structure, which is then saved and loaded as a verifier."""

from __future__ import annotations

from PIL import Image

from reflectionflow_core.verifiers.reward import load_reward
from train.qwen.run import dry_run_settings
from train.verifier.settings import VerifierSettings
from train.verifier.training import train


def dry_run(settings: VerifierSettings) -> str:
    with dry_run_settings(settings) as small:
        folder = train(small, like=settings.base)
        verifier = load_reward(
            folder, small.out / "base", dtype=small.weights, device=small.torch_device
        )
        score = verifier.scores("a red circle", [Image.new("RGB", (64, 64), "red")])[0]
    data = "the data" if small.data == settings.data else "made-up data"
    done = "trained, saved and loaded; it gives a picture"
    return f"One step on a tiny model and {data}: {done} {score:.3f}.\n"
