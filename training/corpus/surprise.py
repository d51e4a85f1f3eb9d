"""How far the scores of a contribution are from what a surrogate expects of them.

Three questions are asked about runs, each answered in units of the believed deviation:

- ``alone``: how a run ends, when nothing of the task is known;
- ``across``: how a run ends, when the other half of the runs is known;
- ``along``: the next epoch of a run, when its curve so far is known.

Honest tasks may be harder or easier than any before them, so that not a score is looked at but the median
over all runs. It cannot be told from the numbers alone who is right; whoever is refused in this way is looked
at by a person.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fms_hub.corpus.schema import TaskRow
from fms_hub.errors import UsageError
from fms_hub.records import Observation
from fms_hub.search.encoding import Problem, Query, Sketches, Vector, answered, encode
from fms_hub.search.space import Space
from fms_hub.surrogate.inputs import evenly
from fms_hub.surrogate.surrogate import Surrogate
from training.corpus.gate import Admitted
from training.corpus.problem import latest, problem_of_task
from training.corpus.review import Doubts, Surprise

Curves = Sequence[tuple[Observation, ...]]
MOST: Final = 6.0
"""Median error for which a contribution is refused, in deviations: see training/LOG.md."""
FEWEST: Final = 4
"""Runs, or answers; of fewer a median says little."""
_CONTEXT: Final = 128
"""Most observed rows that the other half is predicted from; what is more costs its number cubed."""
_MEANING: Final = {
    "alone": "final scores, nothing of the task known",
    "across": "final scores, other runs known",
    "along": "next epochs, the curve so far known",
}


def surprise_of(surrogate: Surrogate) -> Surprise:
    """What is suspicious about a contribution, by a meta-trained surrogate; its errors are always noted.

    Raises:
        UsageError: it is not meta-trained, or for other hyperparameters than fine-tuning has.
    """
    _require_judge(surrogate)

    def surprise(found: Admitted) -> Doubts:
        medians = [_medians(errors(surrogate, *_searched(found, task))) for task in found.tasks]
        return Doubts(
            tuple(
                f"{_MEANING[name]}: half of them are {median:.1f} deviations or more from what the surrogate "
                f"{surrogate.name!r} expects, less than {MOST:g} are allowed"
                for item in medians
                for name, median in item.items()
                if median >= MOST
            ),
            tuple(
                f"median errors by the surrogate {surrogate.name!r}, in deviations: "
                + ", ".join(f"{name} {median:.2f}" for name, median in item.items())
                for item in medians
                if item
            ),
        )

    return surprise


def errors(
    surrogate: Surrogate, problem: Problem, curves: Curves, sketches: Sketches
) -> dict[str, NDArray[np.float64]]:
    """Errors of the three questions in deviations, each (n,); empty where a question cannot be asked.

    Args:
        surrogate: meta-trained.
        problem: of the task.
        curves: of runs with at least one epoch that went well; what failed is left out.
        sketches: pooled weight graphs by (run, epoch).
    """
    whole = [curve for curve in (_well(curve) for curve in curves) if curve]
    halves = (whole[::2], whole[1::2])
    ends = [_ends(problem, half, sketches) for half in halves]
    across = [
        _apart(_taught(surrogate, problem, halves[1 - side], sketches), problem, *ends[side])
        for side in (0, 1)
        if len(whole) >= FEWEST
    ]
    return {
        "alone": np.concatenate([_apart(surrogate, problem, *part) for part in ends]),
        "across": np.concatenate(across or [np.empty(0)]),
        "along": _apart(surrogate, problem, *_steps(problem, whole, sketches)),
    }


def _medians(found: dict[str, NDArray[np.float64]]) -> dict[str, float]:
    """Of the absolute errors, where there are enough."""
    return {name: float(np.median(np.abs(z))) for name, z in found.items() if len(z) >= FEWEST}


def _searched(found: Admitted, task: TaskRow) -> tuple[Problem, Curves, dict[tuple[int, int], Vector]]:
    """A task of a contribution as a search would have seen it."""
    frame = found.frame[found.frame.task == task.name]
    runs = {run: number for number, run in enumerate(frame.run.unique())}
    curves: dict[int, list[Observation]] = {number: [] for number in runs.values()}
    sketches: dict[tuple[int, int], Vector] = {}
    for row in frame[frame.epoch > 0].to_dict("records"):
        observation = _observation(runs[row["run"]], row)
        curves[observation.run].append(observation)
        if isinstance(row["sketch"], str):
            sketches[observation.run, observation.epoch] = found.graphs[row["sketch"]].pooled()
    problem = problem_of_task(task, frame.candidate, Space(), int(frame.horizon.max()))
    return problem, [tuple(curve) for curve in curves.values()], sketches


def _observation(run: int, row: Mapping[Hashable, Any]) -> Observation:
    failed = row["status"] == "failed"
    loss = None if failed or pd.isna(row["train_loss"]) else float(row["train_loss"])
    return Observation(
        run,
        row["candidate"],
        json.loads(row["hyperparameters"]),
        int(row["epoch"]),
        int(row["horizon"]),
        None if failed else float(row["validation_score"]),
        train_loss=loss,
        status="failed" if failed else "ok",
        reason=row["reason"] if failed else None,
    )


def _well(curve: tuple[Observation, ...]) -> tuple[Observation, ...]:
    return tuple(observation for observation in curve if observation.score is not None)


def _ends(problem: Problem, curves: Curves, sketches: Sketches) -> tuple[list[Query], list[float]]:
    """How each run ends, asked before its first epoch."""
    return _asked(problem, [(curve, 0, len(curve)) for curve in curves], sketches)


def _steps(problem: Problem, curves: Curves, sketches: Sketches) -> tuple[list[Query], list[float]]:
    """Each epoch from the second on, asked after the one before."""
    places = [(curve, seen, seen + 1) for curve in curves for seen in range(1, len(curve))]
    return _asked(problem, places, sketches)


def _asked(
    problem: Problem, places: Sequence[tuple[tuple[Observation, ...], int, int]], sketches: Sketches
) -> tuple[list[Query], list[float]]:
    queries, scores = [], []
    for curve, seen, epoch in places:
        last = curve[epoch - 1]
        start = sketches.get((last.run, 0), problem.start.get(last.candidate))
        weights = latest(sketches.get((last.run, before)) for before in range(seen, -1, -1))
        queries.append(
            Query(last.candidate, last.hyperparameters, last.horizon, epoch, curve[:seen], weights, start)
        )
        scores.append(problem.above_chance(float(last.score or 0.0)))
    return queries, scores


def _taught(surrogate: Surrogate, problem: Problem, curves: Curves, sketches: Sketches) -> Surrogate:
    """Conditioned on runs; of too many rows an even part."""
    known = answered(problem, [observation for curve in curves for observation in curve], sketches)
    chosen = evenly(len(known.scores), _CONTEXT)
    queries = [known.queries[number] for number in chosen]
    return surrogate.condition(encode(problem, queries), known.scores[chosen])


def _apart(
    surrogate: Surrogate, problem: Problem, queries: list[Query], scores: list[float]
) -> NDArray[np.float64]:
    if not queries:
        return np.empty(0)
    believed = surrogate.posterior(encode(problem, queries))
    return (np.array(scores) - believed.mean) / believed.std


def _require_judge(surrogate: Surrogate) -> None:
    known = () if surrogate.learned is None else surrogate.learned.hyperparameters
    if known != Space().columns:
        raise UsageError(
            f"the surrogate {surrogate.name!r} cannot judge contributions: expected one that is meta-trained "
            f"on fine-tuning runs, found {'other hyperparameters' if known else 'no meta-training'}."
        )
