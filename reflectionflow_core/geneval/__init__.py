"""GenEval and GenEval 2: prompts, pictures, judges, rules and figures of both benchmarks.

GenEval: `detectors.py` and `colours.py` look at a picture, `rules.py` decides, `examiner.py` joins
them, `judging.py` runs over a folder, `scores.py` sums up. GenEval 2: `compositions.py` reads the
data, `soft_tifa.py` asks and sums up. `folder.py` and `painting.py` serve both.
"""
