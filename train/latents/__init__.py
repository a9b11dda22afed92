"""Encodes pictures and texts before a training, so that it needs neither VAE nor T5."""
