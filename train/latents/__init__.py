"""Encodes pictures and texts before a training, which then needs neither VAE nor T5."""
