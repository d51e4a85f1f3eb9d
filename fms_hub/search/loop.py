"""The loop of a search: ask, train exactly that epoch, tell, tidy up."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fms_hub.errors import TrainingFailure
from fms_hub.finetune.trainer import Trainer
from fms_hub.records import Budget, Candidate, Observation, Proposal
from fms_hub.search.inquire import probe_candidate
from fms_hub.search.progress import SearchBar
from fms_hub.search.selector import Selector
from fms_hub.search.shelf import before, best_of, check_space, checkpoint_name, clear, kept
from fms_hub.weights.describe import refresh
from fms_hub.weights.graph import WeightGraph


@dataclass(frozen=True)
class Loop:
    """A search under way.

    Attributes:
        selector: chooses.
        trainer: trains.
        candidates: by name.
        graphs: of their weights before training, by name.
        folder: of the search.
        keep: most checkpoints besides the best, None keeps the last of each run.
        probing: whether every candidate is probed first.
    """

    selector: Selector
    trainer: Trainer
    candidates: Mapping[str, Candidate]
    graphs: Mapping[str, WeightGraph]
    folder: Path
    keep: int | None
    probing: bool = False

    def run(self, budget: Budget, *, progress: bool) -> None:
        """Train until the budget is spent.

        Raises:
            StorageError: the disk is full; everything logged is kept.
        """
        self._tidy()
        with SearchBar(budget, shown=progress) as bar:
            self._probe(bar)
            bar.update(self.selector.spent, best_of(self.selector.history))
            while (proposal := self.selector.ask()) is not None:
                self._train(proposal)
                self._tidy()
                bar.update(self.selector.spent, best_of(self.selector.history))

    def check_disk(self, budget: Budget) -> None:
        """See that the checkpoints will fit.

        Raises:
            OutputError: they will not.
        """
        size = max(self.trainer.checkpoint_bytes(c, {}) for c in self.candidates.values())
        runs = budget.epochs if budget.epochs is not None else 1
        # Besides those kept, the best ones and the one being written.
        best = 1 if self.selector.tradeoff is None else min(len(self.candidates), runs)
        check_space(self.folder, size, (runs if self.keep is None else min(self.keep, runs)) + best + 1)

    def _probe(self, bar: SearchBar) -> None:
        """Probe the candidates that were not; what was probed before a kill is in the log."""
        for name in [name for name in self.candidates if self.probing and name not in self.selector.probes]:
            self.selector.tell_probe(probe_candidate(self.candidates[name], self.trainer))
            bar.update(self.selector.spent, None)

    def _train(self, proposal: Proposal) -> Observation:
        """Train the proposed epoch from the run's last checkpoint and tell what came out."""
        name = checkpoint_name(proposal.run, proposal.epoch)
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
                target=self.folder / name,
            )
        except TrainingFailure as failure:
            elapsed = time.perf_counter() - start
            return self.selector.tell(proposal, failure=failure.reason, seconds=elapsed)
        return self.selector.tell(
            proposal,
            score=result.score,
            seconds=result.seconds,
            train_loss=result.train_loss,
            checkpoint=refresh(self.graphs[proposal.candidate], result.weights, result.responses),
            images=result.images,
            saved_as=name,
        )

    def _tidy(self) -> None:
        keep = kept(self.selector.history, self.keep, self.selector.front)
        clear(self.folder, keep)
        for run in keep.stopped:
            self.selector.stop(run)
