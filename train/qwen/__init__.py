"""Shared by the trainings of Qwen2.5-VL: sizes, tiny models, data, and a Trainer with checks."""
