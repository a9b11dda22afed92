"""Where ComfyUI keeps profiles, and what a key looks like.

A widget's value ends up in the metadata of every PNG, in ComfyUI's history and in error messages.
So no node has a field for a key, and a text that looks like one is refused.
"""

from __future__ import annotations

import re
from pathlib import Path

from ...reflectionflow_core.vlm.profiles import Profile, find_profile

__all__ = ["Profile", "find_profile", "looks_like_a_key", "profiles_folder"]

KEYS = re.compile(
    r"\b(?:sk-[\w-]{16,}|hf_\w{20,}|gh[pousr]_\w{20,}|github_pat_\w{20,}|xox[abp]-[\w-]{10,}"
    r"|AIza[\w-]{30,}|r8_\w{20,}|AKIA[A-Z0-9]{16}"
    r"|(?:Bearer|(?i:api[ _-]?key))[\s:='\"]+[\w.-]{16,})"
)


def profiles_folder() -> Path:
    """user/__reflectionflow of this ComfyUI, which its server never serves."""
    import folder_paths

    return Path(folder_paths.get_system_user_directory("reflectionflow"))


def looks_like_a_key(text: str) -> bool:
    return KEYS.search(text) is not None
