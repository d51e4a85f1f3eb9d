"""Pick, fine-tune and hand back the best of many pretrained image models within a budget."""

__version__ = "0.1.0"
