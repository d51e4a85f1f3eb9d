"""Episodes: what a search on a task might have seen so far, and what it would like to know."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fms_hub.search.encoding import lookbacks
from training.meta.table import NONE, Table

Rows = NDArray[np.int64]
CONTEXT, QUERIES = 128, 48
"""Most rows of each in a training episode."""
LONGEST = 200
"""Epochs of the longest search; short ones are as frequent as long ones."""
EMPTY = 0.1
"""Share of the episodes that ask before anything was trained."""


@dataclass(frozen=True)
class Episode:
    """Rows of a table: those whose scores are known, and those that are asked about."""

    context: Rows
    queries: Rows


def episode(table: Table, rng: np.random.Generator) -> Episode:
    """Draw one: a search of any length up to `LONGEST`, then questions about later epochs of any runs.

    A search that leaves nothing to ask, as of a task with few runs, is drawn again.
    """
    while True:
        found = _drawn(table, rng)
        if len(found.queries):
            return found


def _drawn(table: Table, rng: np.random.Generator) -> Episode:
    length = 0 if rng.random() < EMPTY else int(np.exp(rng.uniform(0.0, np.log(LONGEST))))
    reached = spend(table, length, rng)
    context = seen_rows(table, reached)
    if len(context) > CONTEXT:
        context = rng.choice(context, CONTEXT, replace=False)
    return Episode(context, _questions(table, reached, rng))


def spend(table: Table, epochs: int, rng: np.random.Generator) -> Rows:
    """Epochs of each run, (R,), after a random search of so many, more or less ready to start new runs."""
    reached = np.zeros(len(table.epochs), dtype=np.int64)
    start = rng.uniform(0.15, 0.85)
    for _ in range(epochs):
        going = np.flatnonzero((reached > 0) & (reached < table.epochs))
        fresh = np.flatnonzero(reached == 0)
        if len(going) + len(fresh) == 0:
            break
        chosen = fresh if len(going) == 0 or (len(fresh) and rng.random() < start) else going
        reached[rng.choice(chosen)] += 1
    return reached


def seen_rows(table: Table, reached: Rows) -> Rows:
    """The questions that so much training answered, as a search learns from them."""
    rows = [
        table.row[run, seen, epoch]
        for run in np.flatnonzero(reached)
        for epoch in range(1, reached[run] + 1)
        for seen in lookbacks(epoch)
    ]
    return np.array(rows, dtype=np.int64)


def final_rows(table: Table, reached: Rows) -> Rows:
    """The question how each of `Table.finished` ends, seen from where the search is with it."""
    runs = table.finished
    seen = np.minimum(reached[runs], table.horizons[runs] - 1)
    return table.row[runs, seen, table.horizons[runs]]


def _questions(table: Table, reached: Rows, rng: np.random.Generator) -> Rows:
    """How runs go on: half of them where the search has started them, most about the horizon."""
    rows = []
    started = np.flatnonzero(reached)
    for _ in range(QUERIES):
        known = len(started) > 0 and rng.random() < 0.5
        run = int(rng.choice(started)) if known else int(rng.integers(len(table.epochs)))
        seen = int(reached[run])
        if seen == 0 and rng.random() < 0.3:  # a run that a longer search would have begun
            seen = int(rng.integers(0, table.epochs[run]))
        open_rows = table.row[run, seen, seen + 1 :] if seen < table.row.shape[1] else np.array([NONE])
        there = open_rows[open_rows != NONE]
        if len(there):
            rows.append(int(there[-1] if rng.random() < 0.7 else rng.choice(there)))
    return np.array(rows, dtype=np.int64)
