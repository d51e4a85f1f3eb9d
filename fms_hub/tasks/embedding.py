"""Names of the numbers that say where a task lies among others; `fms_hub.finetune.embedding` finds them."""

from __future__ import annotations

DIRECTIONS = 8
"""Numbers that say in which direction the mean response lies."""
EMBEDDING = (
    "response_length", "response_spread", "class_share", "within_rank", "between_rank", "nearest_cosine",
    "nearest_right", *(f"response_{i}" for i in range(1, DIRECTIONS + 1)),
)  # fmt: skip
"""In the order of `fms_hub.finetune.embedding.task_embedding`."""
