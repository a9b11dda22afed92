"""Trains a reward verifier: one number at a token of its own, by comparing pictures in pairs."""
