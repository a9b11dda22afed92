"""The embedded default: a world of coloured shapes, a very small FLUX that paints it, its
corrector, and an exact verifier and evolver that need no language model.

It proves mechanics and lets claims be measured anywhere; it says nothing about FLUX.1-dev.
"""
