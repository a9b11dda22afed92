"""Compares search settings over many prompts, with statistics.

`studies.py` defines the arms of each study, `trial.py` runs one search, `evaluation.py` all of them
on a `pool.py` of workers with a resumable `journal.py`; `tables.py`, `plots.py` and `page.py` show
the results, `comparison.py` compares two of them.
"""
