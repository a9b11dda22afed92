"""`python -m train.data`: reflection triplets from five sources, as WebDataset shards (paper §3.2).

Prompts become pictures, pictures are judged, the judged are paired, and a pair gets its reflection.
Every stage is a function from a Slice to a Slice (`records.py`); `engine.py` runs them.
"""
