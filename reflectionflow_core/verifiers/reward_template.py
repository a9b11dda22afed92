"""The two places in the words around a prompt that a reward model reads; imports no model."""

TOKEN = "<|VQ_reward|>"  # where the reward is read
SLOT = "{text_prompt}"  # where the prompt goes
