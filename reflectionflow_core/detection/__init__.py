"""Which objects a picture shows, how many, in which colours and places: detectors and rules.

`detectors.py` finds objects, `colours.py` reads their colours, `rules.py` (GenEval's) decides,
`examiner.py` combines them, and `device_check.py` rejects a detector that does not work.
"""
