"""ReflectionFlow: FLUX paints, a verifier judges, a writer says what is wrong, a corrector
repaints.

Start with `search/loop.py`, and with the types that it uses, in `record.py` and `protocols.py`.
"""

__version__ = "0.2.0"
