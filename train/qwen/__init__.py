"""What the trainings on Qwen2.5-VL share: its sizes, tiny copies, data, and a guarded Trainer."""
