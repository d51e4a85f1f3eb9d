"""What a corpus holds, as tables of runs: the reading side of `describe`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fms_hub.corpus import manifest
from fms_hub.corpus.schema import CandidateRow, ProbeRow, TaskRow
from fms_hub.corpus.shards import RAW, Corpus, Refused, read_corpus
from fms_hub.corpus.tables import read_table
from training.corpus.claims import CLAIMS
from training.worth.scores import tau_within

DATA = Path(__file__).parent / "data"
"""Where the corpus lies: a folder of shards for each hub."""
MEGABYTE = 10**6


@dataclass(frozen=True)
class Holdings:
    """Everything of a corpus that can be counted.

    Attributes:
        runs: one row a run: ``run, hub, task, candidate, hyperparameters, horizon, seed, status``, the number
            of ``epochs``, ``final`` (validation score after the last epoch or NaN), ``test`` (score or NaN),
            ``sketched`` (frozenset of epochs).
        observations: rows of the logs.
        tasks, candidates, probes: rows of the tables.
        raw: number of checkpoints whose weights were kept, by run.
        refused: shards that do not count.
        size: bytes of all files.
    """

    runs: pd.DataFrame
    observations: int
    tasks: Sequence[TaskRow]
    candidates: Mapping[str, CandidateRow]
    probes: Mapping[tuple[str, str], ProbeRow]
    raw: Mapping[str, int]
    refused: Sequence[Refused]
    size: int

    def hub(self, name: str) -> pd.DataFrame:
        """The runs of one hub."""
        return self.runs[self.runs.hub == name]


def folders(root: Path) -> list[Path]:
    """The folders of shards of a corpus: itself, or those directly below."""
    if (root / manifest.MANIFEST).exists():
        return [root]
    return sorted(path.parent for path in root.glob(f"*/{manifest.MANIFEST}"))


def read_holdings(root: Path, beside: Iterable[Path] = ()) -> Holdings:
    """Read a corpus.

    Args:
        root: a folder of shards, or of such folders.
        beside: further folders whose files count towards the size.

    Raises:
        Fault: a table is damaged.
    """
    corpora = [read_corpus(folder) for folder in folders(root)]
    rows = pd.concat([corpus.rows for corpus in corpora], ignore_index=True) if corpora else pd.DataFrame()
    candidates = [row for corpus in corpora for row in read_table(corpus.folder, CandidateRow)]
    probes = [row for corpus in corpora for row in read_table(corpus.folder, ProbeRow)]
    return Holdings(
        runs=runs_of(rows),
        observations=len(rows),
        tasks=[row for corpus in corpora for row in read_table(corpus.folder, TaskRow)],
        candidates={row.name: row for row in candidates},
        probes={(row.task, row.candidate): row for row in probes},
        raw=dict(sum((_raw(corpus) for corpus in corpora), Counter())),
        refused=[refused for corpus in corpora for refused in corpus.refused],
        size=sum(_size(folder) for folder in (root, *beside)),
    )


_RUN = ["run", "hub", "task", "candidate", "hyperparameters", "horizon", "seed"]


def runs_of(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a run, columns as in `Holdings.runs`."""
    if rows.empty:
        return pd.DataFrame(columns=[*_RUN, "status", "epochs", "final", "test", "sketched"])
    last = rows.groupby("run", sort=False).tail(1).set_index("run", drop=False)
    sketched = rows[rows.sketch.notna()].groupby("run").epoch.agg(frozenset)
    runs = last[[*_RUN, "status"]].copy()
    runs["epochs"] = last.epoch
    runs["final"] = last.validation_score.where(last.epoch == last.horizon)
    runs["test"] = last.test_score
    runs["sketched"] = [sketched.get(run, frozenset()) for run in runs.run]
    return runs.reset_index(drop=True)


def configurations(runs: pd.DataFrame) -> pd.Series:
    """For each run the key of what it shares with its repeats: all but the seed."""
    return runs[["hub", "task", "candidate", "hyperparameters", "horizon"]].astype(str).agg("\n".join, axis=1)


@dataclass(frozen=True)
class Noise:
    """How much of a final score is chance.

    Attributes:
        repeated: share of configurations that were run with more than one seed.
        deviation: standard deviation of final validation scores between seeds, pooled; None without repeats.
        tau: Kendall's tau between the orders of two seeds, mean over tasks with at least 5 repeats: no
            prediction can expect more. Configurations of three seeds are left out, because those were chosen
            for being the best. None without such tasks.
    """

    repeated: float
    deviation: float | None
    tau: float | None


def noise(runs: pd.DataFrame) -> Noise:
    """Compare runs that differ in nothing but the seed; runs of one hub."""
    if runs.empty:
        return Noise(0.0, None, None)
    keyed = runs.assign(key=configurations(runs))
    seeds = keyed.groupby("key").seed.nunique()
    groups = keyed[keyed.final.notna()].groupby("key").final
    spread, counts = groups.var(), groups.count()
    several = counts > 1
    degrees = (counts - 1)[several]
    pooled = float(np.sqrt((spread[several] * degrees).sum() / degrees.sum())) if several.any() else None
    return Noise(float((seeds > 1).mean()), pooled, _tau_of_two(keyed[keyed.final.notna()]))


def _tau_of_two(keyed: pd.DataFrame) -> float | None:
    pairs = keyed.groupby("key").filter(lambda group: len(group) == 2).sort_values(["key", "seed"])
    first, second = pairs.iloc[::2], pairs.iloc[1::2]
    enough = first.groupby("task").task.transform("size").ge(5).to_numpy()
    if not enough.any():
        return None
    task = pd.factorize(first.task[enough])[0].astype(np.int64)
    scores = [part.final.to_numpy(np.float64)[enough] for part in (first, second)]
    return tau_within(task, scores[0], scores[1])


def beats_linear_probe(runs: pd.DataFrame, probes: Mapping[tuple[str, str], ProbeRow]) -> float | None:
    """Share of runs with a better test score than the linear probe of their candidate on their task.

    Failed runs do not beat it; runs without a probe do not count. None if no run has one.
    """
    keys = list(zip(runs.task, runs.candidate, strict=True))
    probed = [(test, probes[key]) for key, test in zip(keys, runs.test, strict=True) if key in probes]
    beaten = [test > probe.test_score for test, probe in probed]
    return float(np.mean(beaten)) if beaten else None


def _raw(corpus: Corpus) -> Counter[str]:
    return Counter(checkpoint.split("/")[0] for checkpoint in corpus.checkpoints(RAW))


def _size(folder: Path) -> int:
    return sum(
        path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file() and CLAIMS not in path.parts and "__pycache__" not in path.parts
    )
