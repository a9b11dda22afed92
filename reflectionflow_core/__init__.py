"""ReflectionFlow: FLUX paints, a verifier ranks, a writer says what is wrong, a corrector repaints.

Start with `search/loop.py`, and with `record.py` and `protocols.py`, the words it is written in.
"""

__version__ = "0.2.0"
