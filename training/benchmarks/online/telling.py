"""Rows and pictures of the benchmark of self-tuning."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

from training.benchmarks.against_random import interval
from training.benchmarks.online.problem import Problem
from training.benchmarks.online.training import Point, Run, values_of
from training.pictures.panels import Panel, panels

METRICS = {"validation": "validation loss", "test": "test loss", "test_accuracy": "test accuracy"}


def best_so_far(runs: Iterable[Run]) -> list[Point]:
    """The points that had the lowest validation loss when they came, in the order of the clock."""
    best: list[Point] = []
    for point in sorted((point for run in runs for point in run.points), key=lambda point: point.seconds):
        if not best or point.validation < best[-1].validation:
            best.append(point)
    return best


def rows_of(found: Mapping[str, Sequence[Sequence[Point]]]) -> list[dict[str, object]]:
    """Mean and interval over seeds of what each method chose in the end; without an interval for one seed."""
    rows: list[dict[str, object]] = []
    for method, curves in found.items():
        for key, metric in METRICS.items():
            rows.append(_row(method, metric, [float(getattr(curve[-1], key)) for curve in curves]))
    return rows


def less(found: Mapping[str, Sequence[Sequence[Point]]], first: str) -> list[dict[str, object]]:
    """What the first method chose in the end less what each other one did, seed by seed."""
    rows: list[dict[str, object]] = []
    for method in (name for name in found if name != first):
        for key, metric in METRICS.items():
            pairs = zip(found[first], found[method], strict=True)
            values = [float(getattr(one[-1], key)) - float(getattr(other[-1], key)) for one, other in pairs]
            rows.append(_row(f"{first} less {method}", metric, values))
    return rows


def apart(problem: Problem, started: Sequence[Mapping[str, Run]]) -> list[dict[str, object]]:
    """How far apart the starts are before the last epoch, over how far they were before the first.

    Unconstrained values count; 0 where all runs of a seed came to the same one, 1 where they kept apart.
    """

    def width(runs: Mapping[str, Run], epoch: int, index: int) -> float:
        values = [run.schedule[epoch][index] for run in runs.values()]
        return max(values) - min(values)

    return [
        _row(tunable.name, "starts apart", [width(of, -1, i) / width(of, 0, i) for of in started])
        for i, tunable in enumerate(problem.tunables)
    ]


def _row(method: str, metric: str, values: list[float]) -> dict[str, object]:
    mean, low, high = interval(values) if len(values) > 1 else (values[0],) * 3
    return {"method": method, "metric": metric, "mean": mean, "low": low, "high": high, "n": len(values)}


def losses(problem: Problem, found: Mapping[str, Sequence[Sequence[Point]]]) -> str:
    """Losses of the best so far against seconds, one line a seed."""
    end = max(curve[-1].seconds for curves in found.values() for curve in curves)
    drawn = [
        Panel(
            METRICS[key],
            {
                name: [_steps([(p.seconds, float(getattr(p, key))) for p in curve], end) for curve in curves]
                for name, curves in found.items()
            },
            "s",
        )
        for key in METRICS
    ]
    return panels(f"{problem.name}: best so far by validation loss, processor seconds", drawn)


def schedules(problem: Problem, starts: Mapping[str, Run]) -> str:
    """Each hyperparameter against epochs from each start."""
    values = {
        start: [values_of(problem.tunables, at) for at in run.schedule] for start, run in starts.items()
    }
    drawn = [
        Panel(
            tunable.name,
            {
                start: [[(float(epoch), at[tunable.name]) for epoch, at in enumerate(path)]]
                for start, path in values.items()
            },
            "epochs",
        )
        for tunable in problem.tunables
    ]
    return panels(f"{problem.name}: hyperparameters of self-tuning runs, by where they start", drawn)


def _steps(curve: Sequence[tuple[float, float]], end: float) -> list[tuple[float, float]]:
    """A staircase: each value holds until the next, the last one until the end."""
    corners = [(later[0], earlier[1]) for earlier, later in itertools.pairwise(curve)]
    return [point for pair in zip(curve, [*corners, (end, curve[-1][1])], strict=True) for point in pair]


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """The rows as Markdown."""
    lines = [
        "| problem | kind | method | metric | mean | 95 % interval | n |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['problem']} | {row['kind']} | {row['method']} | {row['metric']} | {row['mean']:.4f} "
        f"| {row['low']:.4f} to {row['high']:.4f} | {row['n']} |"
        for row in rows
    ]
    return "\n".join(lines)
