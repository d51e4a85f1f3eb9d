"""Ask and tell: the search without a training loop, for people who bring their own."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from ConfigSpace import ConfigurationSpace
from torch import Tensor, nn

from fms_hub.errors import BudgetError, CandidateError, UsageError
from fms_hub.records import Budget, Observation, Probe, Proposal, TaskInfo
from fms_hub.search.acquisition import DEFAULT_RULE, Rule
from fms_hub.search.belief import Belief
from fms_hub.search.cost import CostModel
from fms_hub.search.encoding import Problem, problem_of
from fms_hub.search.generator import Generator, Proposals, check_proposals
from fms_hub.search.known import Known
from fms_hub.search.memory import Memory
from fms_hub.search.proposals import Configuration
from fms_hub.search.scheduler import Situation, conditioned, designing, fit_size, fit_to, propose
from fms_hub.search.space import Space
from fms_hub.search.spending import Spent, spent
from fms_hub.search.tradeoff import Tradeoff, check_tradeoff, front_of
from fms_hub.search.warm_start import read_earlier
from fms_hub.surrogate.surrogate import Surrogate
from fms_hub.weights.describe import refresh
from fms_hub.weights.graph import WeightGraph

"""Rules that look one epoch ahead start ever new runs where scores are noisy: see training/LOG.md."""
INITIAL_RUNS = 8
"""Most runs of the diverse start; a small budget starts fewer."""


class Selector:
    """Chooses which candidate to train one more epoch, with which hyperparameters.

    Call `ask`, train exactly the epoch it proposes from that run's last checkpoint, `tell` what came
    out, until `ask` returns None. Several proposals may be out at once.

    Args:
        candidates: their names, at least one, all different.
        budget: in all, as ``"40 epochs"``, ``"20m"`` or `Budget`; charged what was really spent.
        max_epochs: horizon of a run, >= 1.
        space: a ConfigSpace; None means `fms_hub.search.space.default_space`.
        task: of the dataset; None leaves the surrogate without task features.
        graphs: weight graph of each candidate before training; those missing count as unknown.
        known: what else is known of task and candidates, for a meta-trained surrogate.
        surrogate: what to start from; None means one that learns from this search alone.
        out: folder of a logbook, which makes the search resumable; None keeps it in memory.
        identity: further fingerprints that must agree when a search is resumed.
        seed: of all proposals.
        acquisition: see `fms_hub.search.acquisition.Rule`.
        proposals: where new runs come from, see `fms_hub.search.generator.Proposals`.
        forking: whether a run may start from another's last checkpoint, or from the best one, with other
            hyperparameters (`Proposal.parent`); these checkpoints must then be kept.
        tradeoff: a cost of the candidates to weigh against the score; None means that only the score counts.
        seconds: of one epoch of each candidate with default hyperparameters, as far as known.
        warm_start: folders of earlier logs over the same data, of searches or imported. The surrogate
            knows their runs from the start; they cost nothing, are not in `history` and never go on.
            Of logs with more than about 400 epochs a part of the runs is used, with a warning.

    Raises:
        BudgetError, CandidateError, SpaceError, OutputError, ResumeError, UsageError: see `fms_hub.errors`.
    """

    def __init__(
        self,
        candidates: Sequence[str],
        *,
        budget: str | Budget,
        max_epochs: int = 12,
        space: ConfigurationSpace | None = None,
        task: TaskInfo | None = None,
        graphs: Mapping[str, WeightGraph] | None = None,
        known: Known | None = None,
        surrogate: Surrogate | None = None,
        out: str | Path | None = None,
        identity: Mapping[str, str] | None = None,
        seed: int = 0,
        acquisition: Rule = DEFAULT_RULE,
        proposals: Proposals = "local",
        forking: bool = False,
        tradeoff: Tradeoff | None = None,
        seconds: Mapping[str, float] | None = None,
        warm_start: str | Path | Sequence[str | Path] = (),
    ) -> None:
        _check(candidates, max_epochs, acquisition)
        searched = Space(space)
        check_proposals(proposals, searched)
        check_tradeoff(tradeoff, candidates, acquisition)
        self.budget = Budget.parse(budget)
        self._graphs = dict(graphs or {})
        self._base = surrogate if surrogate is not None else Surrogate()
        self._problem = problem_of(candidates, searched, max_epochs, task, self._graphs, known)
        self._classes = None if task is None else len(task.classes)
        self._seed, self._acquisition, self._proposals = seed, acquisition, proposals
        self.tradeoff, self._forking = tradeoff, forking
        self._generator = Generator(self._problem, seed) if proposals == "gflownet" else None
        self._cost = CostModel.prior(candidates, seconds)
        self._earlier = read_earlier(
            warm_start, candidates, self._problem.space, identity=identity or {}, out=out
        )
        self._pending: dict[int, Proposal] = {}
        self._asking: dict[int, float] = {}
        self._stopped: set[int] = set()
        self._fitted: tuple[int, Surrogate] = (-1, self._base)
        self._memory = Memory(
            None if out is None else Path(out),
            {**self.identity, **(identity or {})},
            self._earlier.sketches(),
        )
        for probe in self._memory.probes.values():
            self._problem = self._knowing(probe)

    @property
    def identity(self) -> dict[str, str]:
        """What must be the same for a search to be resumed."""
        return {
            "candidates": ", ".join(self._problem.candidates),
            "space": self._problem.space.fingerprint,
            "max_epochs": str(self._problem.horizon),
            "seed": str(self._seed),
            "acquisition": self._acquisition,
            "surrogate": self._base.identity,
            **({} if self._proposals == "local" else {"proposals": self._proposals}),
            **({"forking": "yes"} if self._forking else {}),
            **({} if self.tradeoff is None else {"objectives": f"score, {self.tradeoff.name}"}),
            **self._earlier.identity,
        }

    @property
    def history(self) -> tuple[Observation, ...]:
        """All observations, oldest first."""
        return tuple(self._memory.history)

    @property
    def probes(self) -> Mapping[str, Probe]:
        """All probes by candidate, in the order of telling."""
        return dict(self._memory.probes)

    @property
    def front(self) -> tuple[Observation, ...]:
        """The best observations so far, see `fms_hub.search.tradeoff.front_of`."""
        return front_of(self._memory.history, self.tradeoff)

    @property
    def spent(self) -> Spent:
        """Epochs and seconds charged to the budget so far."""
        return spent(self._memory.history, self._memory.probes.values(), self._problem.images_per_epoch)

    def ask(self) -> Proposal | None:
        """The epoch to train next, or None when the budget is spent or nothing is left to train."""
        start = time.perf_counter()
        epochs_left, seconds_left = self._left()
        if epochs_left <= 0 or seconds_left <= 0:
            return None
        situation = self._situation(seconds_left)
        surrogate = self._surrogate(situation)
        proposal = propose(situation, surrogate, self._generated(situation, surrogate))
        if proposal is not None:
            self._pending[proposal.run] = proposal
            self._asking[proposal.run] = time.perf_counter() - start
        return proposal

    def tell(
        self,
        proposal: Proposal,
        *,
        score: float | None = None,
        seconds: float = 0.0,
        train_loss: float | None = None,
        checkpoint: nn.Module | Mapping[str, Tensor] | WeightGraph | None = None,
        failure: str | None = None,
        images: int | None = None,
        saved_as: str | None = None,
    ) -> Observation:
        """Record what became of a proposal.

        Args:
            proposal: what `ask` returned.
            score: validation score in [0, 1]; None for a failed epoch.
            seconds: what the epoch took, wall clock.
            train_loss: mean training loss, nats.
            checkpoint: the network after the epoch, its state dict or its weight graph, to look at the
                weights.
            failure: why the epoch failed, e.g. ``"diverged"``; the run is then given up.
            images: training images the epoch saw.
            saved_as: name of the checkpoint kept in the search's folder.

        Returns:
            The observation as logged.

        Raises:
            ValueError: the proposal is not pending, or score and failure are both or neither given.
            StorageError: the log cannot be written.
        """
        start = time.perf_counter()
        if self._pending.get(proposal.run) != proposal:
            raise ValueError(f"run {proposal.run}, epoch {proposal.epoch} was not asked for or is answered.")
        if (score is None) == (failure is None):
            raise ValueError("tell either the score of the epoch or its failure.")
        graph = self._graph_of(proposal.candidate, checkpoint)
        observation = Observation(
            run=proposal.run,
            candidate=proposal.candidate,
            hyperparameters=dict(proposal.hyperparameters),
            epoch=proposal.epoch,
            horizon=proposal.horizon,
            score=score,
            train_loss=train_loss if train_loss is None or math.isfinite(train_loss) else None,
            seconds=seconds,
            overhead=self._asking.get(proposal.run, 0.0) + time.perf_counter() - start,
            images=images,
            status="ok" if failure is None else "failed",
            reason=failure,
            checkpoint=saved_as,
            sketch=None if graph is None else self._memory.save_sketch(proposal, graph),
            parent=proposal.parent,
        )
        self._memory.add(observation, graph)
        del self._pending[proposal.run]
        return observation

    def tell_probe(self, probe: Probe) -> None:
        """Record a look at a candidate before training; it is charged to the budget, see `Spent`.

        Raises:
            ValueError: the candidate is none of the search, was probed before, or the search was given no
                task.
            StorageError: the log cannot be written.
        """
        if probe.candidate not in self._problem.candidates or probe.candidate in self._memory.probes:
            raise ValueError(f"{probe.candidate} is no candidate of this search, or was probed before.")
        problem = self._knowing(probe)
        self._memory.add_probe(probe)
        self._problem = problem

    def stop(self, run: int) -> None:
        """Never propose this run again, because its checkpoint is gone."""
        self._stopped.add(run)

    def belief(self) -> Belief:
        """What the search believes now of configurations, trained or not."""
        situation = self._situation(self._left()[1])
        return Belief(self._problem, conditioned(situation, self._surrogate(situation)))

    def close(self) -> None:
        """Release the logbook; what was told is kept."""
        self._memory.close()

    def _knowing(self, probe: Probe) -> Problem:
        if self._classes is None:
            raise ValueError("what a probe means depends on the number of classes; give the Selector a task.")
        return replace(self._problem, known=self._problem.known.after(probe, self._classes))

    def _left(self) -> tuple[float, float]:
        cost, limit = self.spent, self.budget
        epochs = math.inf if limit.epochs is None else limit.epochs - cost.epochs - len(self._pending)
        seconds = math.inf if limit.seconds is None else limit.seconds - cost.seconds
        return epochs, seconds

    def _situation(self, seconds_left: float) -> Situation:
        return Situation(
            problem=self._problem,
            history=tuple(self._memory.history),
            pending=tuple(self._pending.values()),
            sketches=self._memory.sketches,
            stopped=frozenset(self._stopped),
            initial=_initial_runs(self.budget, len(self._problem.candidates)),
            seconds_left=seconds_left,
            rule=self._acquisition,
            seed=self._seed,
            cost=self._cost,
            earlier=self._earlier.observations,
            tradeoff=self.tradeoff,
            forking=self._forking,
        )

    def _surrogate(self, situation: Situation) -> Surrogate:
        size = fit_size(len(situation.observed))
        if self._fitted[0] != size:
            self._fitted = (size, fit_to(situation, self._base, size))
        return self._fitted[1]

    def _generated(self, situation: Situation, surrogate: Surrogate) -> list[Configuration]:
        if self._generator is None or designing(situation, surrogate):
            return []
        return self._generator.configurations(situation, surrogate)

    def _graph_of(
        self, candidate: str, checkpoint: nn.Module | Mapping[str, Tensor] | WeightGraph | None
    ) -> WeightGraph | None:
        if isinstance(checkpoint, WeightGraph):
            return checkpoint
        graph = self._graphs.get(candidate)
        if graph is None or checkpoint is None:
            return None
        return refresh(graph, checkpoint.state_dict() if isinstance(checkpoint, nn.Module) else checkpoint)


def _check(candidates: Sequence[str], max_epochs: int, acquisition: str) -> None:
    if acquisition not in get_args(Rule):
        raise UsageError(f"acquisition must be one of {', '.join(get_args(Rule))}; found {acquisition!r}.")
    if not candidates:
        raise CandidateError("a search needs at least one candidate, found none.")
    if len(set(candidates)) != len(candidates):
        raise CandidateError(f"candidates must differ from each other, found {sorted(candidates)}.")
    if max_epochs < 1:
        raise BudgetError(f"max_epochs must be at least 1, found {max_epochs}.")


def _initial_runs(budget: Budget, candidates: int) -> int:
    """A diverse start of one epoch each, on at most a quarter of the epochs."""
    quarter = INITIAL_RUNS if budget.epochs is None else max(1, budget.epochs // 4)
    return min(candidates, INITIAL_RUNS, quarter)
