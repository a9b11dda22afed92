"""Trains a reward verifier on pairs of pictures; its reward is read at a special token."""
