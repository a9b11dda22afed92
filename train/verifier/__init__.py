"""Trains a reward verifier on pairs of pictures: the reward is one number, read at a special
token."""
