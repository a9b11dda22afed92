"""A rehearsal of the whole path on files of FLUX.1-dev's true names, shapes and types.

The weights are random, so the pictures are noise: what is rehearsed is that files of the true size
load, paint and correct, how long that takes and what memory it takes.

    PYTHONPATH=.:tests python -m rehearsal [--size tiny] [--out FOLDER]
"""
