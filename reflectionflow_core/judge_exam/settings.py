"""How an exam is asked for; light to import."""

from __future__ import annotations

from ..judge_errors import KINDS

LABELS = "labels.jsonl"  # what the user says of the pictures beside it
QUESTIONS = 200  # by default: about a minute at a second a question, four at once
AGAIN = 4  # one question in so many is asked again
LEAST = 2 * AGAIN * len(KINDS)  # questions of an exam: three and one again, of each kind and truth
PAINTED = 8  # pictures of a model, by default
