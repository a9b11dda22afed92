"""GenEval and GenEval 2: prompts, pictures, judges, rules and results of both benchmarks.

GenEval: `detection` judges a picture, `tasks.py` reads what a prompt asks for, `judging.py`
processes a folder, `scores.py` summarises. GenEval 2: `compositions.py` reads the data,
`soft_tifa.py` asks and summarises. `folder.py` and `painting.py` serve both.
"""
