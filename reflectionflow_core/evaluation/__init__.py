"""How far each way of spending compute carries: searches over many prompts, and their statistics.

`studies.py` says what is compared, `trial.py` runs it, `statistics.py` counts, `tables.py`,
`plots.py` and `page.py` show it. Nothing here knows a command line.
"""
