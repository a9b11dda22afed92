"""What is there, how many, which colour, where: detectors and rules instead of a language model.

`detectors.py` finds things, `colours.py` reads their colours, `rules.py` (GenEval's) decides,
`examiner.py` joins them, and `device_check.py` refuses a detector that sees nothing.
"""
