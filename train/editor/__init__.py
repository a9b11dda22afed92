"""Trains a LoRA for correcting with an editing model, from the corrector's triplets."""
