"""Which candidate is best, said before any training: what is true, who says what, and how good it is.

A candidate is judged by its best run. Hubs try some candidates with many configurations and others with few,
and the best of many is better than the best of few, so only candidates with enough of them are ranked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from scipy import stats

from fms_hub.corpus.schema import ProbeRow
from fms_hub.surrogate.surrogate import Surrogate
from training.benchmarks.cached import portfolio
from training.benchmarks.cached.environment import Environment
from training.benchmarks.cached.ours import WITHOUT_WEIGHTS, Ours
from training.benchmarks.cached.pool import CachedRun, Pool
from training.benchmarks.cached.snapping import CANDIDATE

ENOUGH = 0.5
"""A candidate is ranked if it has so large a share of the configurations of the most tried candidate."""
METADATA_ONLY = WITHOUT_WEIGHTS | {"task", "embedding", "probes"}
"""What a surrogate goes without that sees metadata and hyperparameters only."""
Scores = Mapping[str, float]
"""By candidate, higher is better."""
_Key = TypeVar("_Key")


@dataclass(frozen=True)
class Question:
    """A task on which candidates are to be ranked.

    Attributes:
        pool: its runs, of which only the configurations are looked at.
        training: pools of other groups.
        probes: of the task, by candidate.
        surrogate: that never saw the task's group, if there is one.
    """

    pool: Pool
    training: Mapping[str, Pool] = field(default_factory=dict)
    probes: Mapping[str, ProbeRow] = field(default_factory=dict)
    surrogate: Surrogate | None = None


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        name: as on the command line.
        note: what the table says of it.
        foresee: the scores of as many candidates as it can say something of.
        taught: whether it needs a surrogate.
        trains: whether it has learned from other tasks or trains here; False for what must be beaten.
        drawn: whether it depends on the generator.
        rival: the row of ours on the same candidates.
    """

    name: str
    note: str
    foresee: Callable[[Question, np.random.Generator], Scores]
    taught: bool = False
    trains: bool = False
    drawn: bool = False
    rival: str = "fms"


def truth(pool: Pool) -> dict[str, float]:
    """The best final score of each candidate with enough configurations.

    That of a configuration with several seeds is their mean; a failed run's is 0.
    """
    found = {name: max(expected(pool, run) for run in runs) for name, runs in tried(pool).items()}
    return dict(sorted(found.items()))


def tried(pool: Pool) -> dict[str, list[CachedRun]]:
    """The runs of the candidates that have enough of them."""
    runs: dict[str, list[CachedRun]] = {}
    for run in pool.runs:
        runs.setdefault(run.candidate, []).append(run)
    most = max(len(group) for group in runs.values())
    return {name: group for name, group in runs.items() if len(group) >= ENOUGH * most}


def expected(pool: Pool, run: CachedRun) -> float:
    """Mean final score over the seeds of a run's configuration."""
    return float(np.mean(pool.repeats.get(run.id, (run.final,))))


def by_other_seeds(pool: Pool) -> tuple[dict[str, float], dict[str, float]]:
    """The first seed of each candidate's best repeated configuration, and the mean of its other seeds.

    How well the one ranks like the other says how reliable the truth is. Only candidates with repeats.
    """
    first: dict[str, float] = {}
    others: dict[str, float] = {}
    for name, runs in tried(pool).items():
        seeds = [pool.repeats[run.id] for run in runs if run.id in pool.repeats]
        if seeds:
            best = max(seeds, key=lambda scores: scores[0])
            first[name], others[name] = best[0], float(np.mean(best[1:]))
    return first, others


def weighted_tau(foreseen: Scores, true: Scores) -> float:
    """Weighted Kendall's tau (Vigna 2015), with additive hyperbolic weights: the top counts most.

    Over the candidates that both have; 0 if either is constant.

    Raises:
        ValueError: they share fewer than two.
    """
    names = shared(foreseen, true)
    if len(names) < 2:
        raise ValueError(f"a rank correlation needs two candidates, found {len(names)}.")
    a, b = ([scores[name] for name in names] for scores in (foreseen, true))
    tau = float(stats.weightedtau(a, b).statistic)
    return 0.0 if np.isnan(tau) else tau


def top_regret(foreseen: Scores, true: Scores) -> float:
    """(best - chosen) / (best - worst) of the true scores, of the candidate that is foreseen to be best.

    Over the candidates that both have; the mean over equals; 0 if all are as good.
    """
    names = shared(foreseen, true)
    values = np.array([true[name] for name in names])
    said = np.array([foreseen[name] for name in names])
    spread = float(np.ptp(values))
    chosen = float(values[said == said.max()].mean())
    return 0.0 if spread == 0 else (float(values.max()) - chosen) / spread


def shared(foreseen: Mapping[_Key, float], true: Mapping[_Key, float]) -> list[_Key]:
    """The keys of both, in the order of the second."""
    return [name for name in true if name in foreseen]


def _ours(without: frozenset[str] = frozenset(), *, head: bool = False) -> Callable[..., Scores]:
    def foresee(question: Question, rng: np.random.Generator) -> Scores:
        assert question.surrogate is not None
        searcher = Ours(question.surrogate, refit=0, without=without)
        means = searcher.finals(Environment(question.pool, budget=1)).mean
        found: dict[str, float] = {}
        for run, mean in zip(question.pool.runs, means.tolist(), strict=True):
            found[run.candidate] = max(mean, found.get(run.candidate, -np.inf))
        kept = _probed(question, "leep") if head else found
        return {name: score for name, score in found.items() if name in kept}

    return foresee


def _by_probe(name: str) -> Callable[..., Scores]:
    return lambda question, rng: _probed(question, name)


def _probed(question: Question, name: str) -> Scores:
    values = {candidate: getattr(row, name) for candidate, row in question.probes.items()}
    return {candidate: float(value) for candidate, value in values.items() if value is not None}


def _portfolio(question: Question, rng: np.random.Generator) -> Scores:
    """Candidates in the order of the portfolio's members; those that are not in it last, by mean rank."""
    members = portfolio.build(list(question.training.values()))
    order = list(dict.fromkeys(str(member[CANDIDATE]) for member in members))
    ranks = _mean_ranks(question, rng)
    return {
        name: float(len(order) - order.index(name)) if name in order else rank - 1.0
        for name, rank in ranks.items()
    }


def _mean_ranks(question: Question, rng: np.random.Generator) -> Scores:
    """Share of the other candidates that each was better than, mean over training tasks; 0 if in none."""
    shares: dict[str, list[float]] = {}
    for pool in question.training.values():
        known = truth(pool)
        places = stats.rankdata(list(known.values())) - 1
        for name, place in zip(known, places.tolist(), strict=True):
            shares.setdefault(name, []).append(place / max(len(known) - 1, 1))
    return {name: float(np.mean(shares.get(name, [0.0]))) for name in truth(question.pool)}


def _at_random(question: Question, rng: np.random.Generator) -> Scores:
    names = list(truth(question.pool))
    return dict(zip(names, rng.uniform(size=len(names)).tolist(), strict=True))


_ALL: Sequence[Row] = (
    Row("fms", "ours, best configuration of each candidate", _ours(), True, True),
    Row("fms-no-weights", "without weights", _ours(WITHOUT_WEIGHTS), True, True),
    Row("fms-no-probes", "without probes", _ours(frozenset({"probes"})), True, True),
    Row("metadata", "metadata and hyperparameters only", _ours(METADATA_ONLY), True, True),
    Row("fms-heads", "ours, candidates with a head of their own", _ours(head=True), True, True),
    Row("logme", "LogME", _by_probe("logme")),
    Row("leep", "LEEP, candidates with a head", _by_probe("leep"), rival="fms-heads"),
    Row("nce", "NCE, candidates with a head", _by_probe("nce"), rival="fms-heads"),
    Row("h-score", "H-score", _by_probe("h_score")),
    Row("knn", "k-NN on features", _by_probe("knn")),
    Row("linear-probe", "linear probe of all training images", _by_probe("validation_score")),
    Row("linear-sample", "linear probe of a sample", _by_probe("linear")),
    Row("portfolio", "static portfolio of the other groups", _portfolio),
    Row("mean-rank", "mean rank in the other groups", _mean_ranks),
    Row("random", "at random", _at_random, drawn=True),
)
ROWS: Mapping[str, Row] = {row.name: row for row in _ALL}
