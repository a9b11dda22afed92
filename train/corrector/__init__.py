"""The corrector's training (paper §3.3 and §4.1)."""
