"""Other libraries' notes and bars kept off the screen of a training."""

from __future__ import annotations

import logging
import warnings

import diffusers
import transformers


def quieten() -> None:
    """Leaves the screen to our own progress bar and errors."""
    for library in (transformers.logging, diffusers.utils.logging):
        library.set_verbosity_error()
        library.disable_progress_bar()
    logging.getLogger("accelerate").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(torch|transformers|trl|peft)\b")
