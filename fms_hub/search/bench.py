"""Where a proposed epoch is trained, and what comes of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fms_hub.errors import TrainingFailure
from fms_hub.finetune.trainer import Trainer
from fms_hub.records import Candidate, Proposal
from fms_hub.search.shelf import before, checkpoint_name
from fms_hub.weights.describe import refresh
from fms_hub.weights.graph import WeightGraph


@dataclass(frozen=True)
class Trained:
    """What became of a proposed epoch; of a failed one only `failure` and `seconds` are known.

    Attributes:
        seconds: wall clock.
        score: on the validation split.
        train_loss: mean, nats.
        images: training images that were seen.
        graph: of the weights after the epoch.
        failure: why it failed.
    """

    seconds: float
    score: float | None = None
    train_loss: float | None = None
    images: int | None = None
    graph: WeightGraph | None = None
    failure: str | None = None


@dataclass(frozen=True)
class Bench:
    """Trains proposals of one search, checkpoint after checkpoint.

    Attributes:
        trainer: trains.
        candidates: by name.
        graphs: of their weights before training, by name.
        folder: of the search.
    """

    trainer: Trainer
    candidates: Mapping[str, Candidate]
    graphs: Mapping[str, WeightGraph]
    folder: Path

    def train(self, proposal: Proposal) -> Trained:
        """Train the proposed epoch from the checkpoint before it, and write its own.

        Raises:
            CheckpointError: the checkpoint before it is damaged.
            StorageError: the disk is full.
        """
        previous = before(proposal)
        start = time.perf_counter()
        try:
            result = self.trainer.epoch(
                self.candidates[proposal.candidate],
                proposal.hyperparameters,
                run=proposal.run,
                epoch=proposal.epoch,
                horizon=proposal.horizon,
                previous=None if previous is None else self.folder / previous,
                forked=proposal.previous is not None and proposal.previous == proposal.parent,
                target=self.folder / checkpoint_name(proposal.run, proposal.epoch),
            )
        except TrainingFailure as failure:
            return Trained(time.perf_counter() - start, failure=failure.reason)
        graph = refresh(self.graphs[proposal.candidate], result.weights, result.responses)
        return Trained(result.seconds, result.score, result.train_loss, result.images, graph)
