"""Fine-tuning: one run of one configuration, one more epoch at a time."""
