"""The placeholders in a reward model's template; imports no model."""

TOKEN = "<|VQ_reward|>"  # where the reward is read
SLOT = "{text_prompt}"  # where the prompt goes
