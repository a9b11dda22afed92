"""Rebuilds the embedded miniature from nothing: `python -m train.miniature`."""
