"""Trains a LoRA that teaches an editing model to correct, from the same triplets as the
corrector."""
