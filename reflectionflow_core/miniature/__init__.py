"""The built-in default: a world of coloured shapes, a very small FLUX that paints it, its
corrector, and a rule-based verifier and evolver that need no language model.

It runs everywhere and shows that the search works; its results do not carry over to FLUX.1-dev.
"""
