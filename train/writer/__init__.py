"""Trains a reflection writer: a vision-language model that says what should change."""
