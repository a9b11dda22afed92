"""Where ComfyUI stores profiles, and how an API key is recognised.

A widget's value is stored in the metadata of every PNG, in ComfyUI's history and in error messages.
So no node has a field for a key, and a text that looks like one is refused.
"""

from __future__ import annotations

from pathlib import Path

from ...reflectionflow_core.vlm.profiles import Profile, find_profile
from ...reflectionflow_core.vlm.redaction import looks_like_a_key

__all__ = ["Profile", "find_profile", "looks_like_a_key", "profiles_folder"]


def profiles_folder() -> Path:
    """user/__reflectionflow of this ComfyUI, which its server never serves."""
    import folder_paths

    return Path(folder_paths.get_system_user_directory("reflectionflow"))
