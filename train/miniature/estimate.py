"""What a rebuild of the miniature consists of."""

from __future__ import annotations

from train.miniature.settings import MiniatureSettings


def estimate(settings: MiniatureSettings) -> str:
    s = settings
    stages = {
        "VAE": (s.vae_steps, s.vae_batch),
        "text encoders": (s.text_steps, s.text_batch),
        "base": (s.base_steps, s.base_batch),
        "guidance distillation": (s.distil_steps, s.base_batch),
        "corrector": (s.corrector_steps, s.corrector_batch),
        "corrector, with the base's mistakes alone": (s.mistake_steps, s.corrector_batch),
    }
    lines = [f"{name}: {steps:,} steps of {batch}" for name, (steps, batch) in stages.items()]
    lines.append(f"then {s.measured:,} held-out prompts are measured")
    return "".join(f"{line}.\n" for line in lines)
