"""What is found out about candidates before a search: their weights, and their seconds on this device."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from torch import nn

from fms_hub.finetune.trainer import Trainer
from fms_hub.models.zoo import build, ensure_local
from fms_hub.records import Candidate
from fms_hub.search.progress import counting_bar
from fms_hub.weights.describe import describe
from fms_hub.weights.graph import WeightGraph

Candidates = str | Path | nn.Module | Candidate | Iterable[str | Path | nn.Module | Candidate] | None
"""How a user names candidates, see `fms_hub.models.catalog.resolve`."""


def describe_candidates(
    candidates: Sequence[Candidate], trainer: Trainer, *, progress: bool
) -> dict[str, WeightGraph]:
    """Fetch every candidate and sketch its weights, by name; one that does not fit is found out here.

    Raises:
        HubError: a candidate could not be fetched.
        CandidateError: a candidate cannot be built.
    """
    bar = counting_bar("reading candidates", shown=progress)
    graphs = {}
    for number, candidate in enumerate(candidates, start=1):
        ensure_local(candidate)
        model = build(
            candidate,
            classes=len(trainer.task.info.classes),
            image_size=trainer.image_size,
            seed=trainer.seed,
        )
        graphs[candidate.name] = describe(model.module, (3, model.input.size, model.input.size))
        bar(number, len(candidates))
    return graphs


def measure_seconds(candidates: Sequence[Candidate], trainer: Trainer, *, progress: bool) -> dict[str, float]:
    """Seconds of one epoch of each candidate with default hyperparameters here, from two training steps."""
    bar = counting_bar("timing candidates", shown=progress)
    seconds = {}
    for number, candidate in enumerate(candidates, start=1):
        seconds[candidate.name] = trainer.estimate_seconds(candidate)
        bar(number, len(candidates))
    return seconds
