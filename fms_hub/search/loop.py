"""The loop of a search: ask, train exactly that epoch, tell, tidy up."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from fms_hub.records import Budget, Observation, Proposal
from fms_hub.search.bench import Bench, Trained
from fms_hub.search.crew import MakeTrainer, crew
from fms_hub.search.inquire import probe_candidate
from fms_hub.search.progress import SearchBar
from fms_hub.search.selector import Selector
from fms_hub.search.shelf import best_of, check_space, checkpoint_name, clear, kept


@dataclass(frozen=True)
class Loop:
    """A search under way.

    Attributes:
        selector: chooses.
        bench: trains, in this process.
        make: trainers for other processes.
        parallel: epochs that are trained at once.
        keep: most checkpoints besides the best, None keeps the last of each run.
        probing: whether every candidate is probed first.
    """

    selector: Selector
    bench: Bench
    make: MakeTrainer
    parallel: int = 1
    keep: int | None = None
    probing: bool = False

    def run(self, budget: Budget, *, progress: bool) -> None:
        """Train until the budget is spent.

        What came out is told in the order in which it was asked for, so that equal seeds give equal searches
        whichever process is faster.

        Raises:
            StorageError: the disk is full; everything logged is kept.
            UsageError, SearchError: see `crew`.
        """
        self._tidy()
        with SearchBar(budget, shown=progress) as bar:
            self._probe(bar)
            bar.update(self.selector.spent, best_of(self.selector.history))
            with crew(self.bench, self.make, self.parallel) as begin:
                out: deque[tuple[Proposal, Future[Trained]]] = deque()
                while True:
                    while len(out) < self.parallel and (proposal := self.selector.ask()) is not None:
                        out.append((proposal, begin(proposal)))
                    if not out:
                        return
                    proposal, trained = out.popleft()
                    self._tell(proposal, trained.result())
                    self._tidy([waiting for waiting, _ in out])
                    bar.update(self.selector.spent, best_of(self.selector.history))

    def check_disk(self, budget: Budget) -> None:
        """See that the checkpoints will fit.

        Raises:
            OutputError: they will not.
        """
        candidates, trainer = self.bench.candidates, self.bench.trainer
        size = max(trainer.checkpoint_bytes(c, {}) for c in candidates.values())
        runs = budget.epochs if budget.epochs is not None else 1
        # Besides those kept, the best ones and those being written.
        best = 1 if self.selector.tradeoff is None else min(len(candidates), runs)
        staying = runs if self.keep is None else min(self.keep, runs)
        check_space(self.bench.folder, size, staying + best + self.parallel)

    def _probe(self, bar: SearchBar) -> None:
        """Probe the candidates that were not; what was probed before a kill is in the log."""
        candidates = self.bench.candidates
        for name in [name for name in candidates if self.probing and name not in self.selector.probes]:
            self.selector.tell_probe(probe_candidate(candidates[name], self.bench.trainer))
            bar.update(self.selector.spent, None)

    def _tell(self, proposal: Proposal, trained: Trained) -> Observation:
        if trained.failure is not None:
            return self.selector.tell(proposal, failure=trained.failure, seconds=trained.seconds)
        return self.selector.tell(
            proposal,
            score=trained.score,
            seconds=trained.seconds,
            train_loss=trained.train_loss,
            checkpoint=trained.graph,
            images=trained.images,
            saved_as=checkpoint_name(proposal.run, proposal.epoch),
        )

    def _tidy(self, out: Sequence[Proposal] = ()) -> None:
        keep = kept(self.selector.history, self.keep, self.selector.front, out)
        clear(self.bench.folder, keep)
        for run in keep.stopped:
            self.selector.stop(run)
