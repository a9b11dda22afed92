"""`python -m train.data`: reflection triplets from five sources, as WebDataset shards (paper §3.2).

Prompts are painted, the pictures judged and paired, and each pair gets a reflection. Every stage is
a function from a Slice to a Slice (`records.py`); `engine.py` runs the stages.
"""
