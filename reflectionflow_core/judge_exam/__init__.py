"""Measures how often a judge is wrong, by statements about pictures whose truth is known.

The truth comes from drawn scenes, from labels, and from faults planted into pictures with known
objects; never from the prompt that a picture was painted from.
"""
