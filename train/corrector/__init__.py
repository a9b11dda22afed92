"""Training of the corrector (paper §3.3 and §4.1)."""
