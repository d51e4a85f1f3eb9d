"""What can be fine-tuned: candidates, and the networks built from them."""
