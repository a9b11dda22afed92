"""Measures how often a judge is wrong: it is asked about pictures and statements whose truth is
known.

Truth comes from drawn scenes, from labels, and from changes that were planted into pictures whose
things are known. That a picture was painted from a prompt is no truth about it.
"""
