"""Every template that we ship, in the order in which the template browser lists them.

The title of a template is the name of its file: ComfyUI's template browser shows and searches
nothing else, so every title says what the template is for, and has the word that people look for.
ComfyUI opens a graph at three quarters of the window, and draws text from a zoom of 57 % on: on
1600 x 950 pixels that is a graph of 2100 x 1250.
"""

from __future__ import annotations

from .by_hand import by_hand
from .ksampler import ksampler
from .pictures import (
    best_of_many,
    fix_by_words,
    fix_by_words_miniature,
    fix_what_the_critic_finds,
    rank_folder,
)
from .searches import (
    exact_words,
    first_look,
    kontext,
    many_prompts,
    search,
    server_search,
    staged,
)
from .todays import klein, krea2, qwen_image, z_image

TEMPLATES = (
    first_look(),
    fix_by_words_miniature(),
    by_hand(),
    search(),
    server_search(),
    fix_by_words(),
    fix_what_the_critic_finds(),
    rank_folder(),
    best_of_many(),
    ksampler(),
    kontext(),
    staged(),
    exact_words(),
    many_prompts(),
    krea2(),
    klein(),
    qwen_image(),
    z_image(),
)
