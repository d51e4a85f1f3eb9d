"""A generative flow network that proposes configurations in proportion to a reward."""
