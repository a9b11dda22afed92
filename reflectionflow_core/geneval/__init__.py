"""GenEval and GenEval 2: prompts, pictures, judges, rules and figures of both benchmarks.

GenEval: `detection` looks at a picture and decides, `tasks.py` reads what a prompt asks for,
`judging.py` runs over a folder, `scores.py` sums up. GenEval 2: `compositions.py` reads the
data, `soft_tifa.py` asks and sums up. `folder.py` and `painting.py` serve both.
"""
