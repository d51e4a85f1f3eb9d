"""What the corpus holds and what it lacks: `python -m training.corpus describe`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from training.corpus.candidates import SOURCES_ROOT
from training.corpus.holdings import (
    DATA,
    MEGABYTE,
    Holdings,
    Noise,
    beats_linear_probe,
    noise,
    read_holdings,
)
from training.corpus.targets import TINY, missing
from training.pictures.strips import strips


@dataclass(frozen=True)
class Description:
    """A corpus in numbers.

    Attributes:
        holdings: what was counted.
        noise: by hub.
        architectures, checkpoints: different ones among the candidates of the timm-tiny runs.
        beats_linear_probe: share of the timm-tiny runs, or None; see `beats_linear_probe`.
        missing: targets not met yet, in words.
    """

    holdings: Holdings
    noise: dict[str, Noise]
    architectures: int
    checkpoints: int
    beats_linear_probe: float | None
    missing: list[str]

    def as_json(self) -> str:
        """One JSON object in one line."""
        runs = self.holdings.runs
        return json.dumps(
            {
                "runs": {hub: len(self.holdings.hub(hub)) for hub in self.noise},
                "observations": self.holdings.observations,
                "tasks": {hub: int(self.holdings.hub(hub).task.nunique()) for hub in self.noise},
                "architectures": self.architectures,
                "checkpoints": self.checkpoints,
                "status": {str(status): int(count) for status, count in runs.status.value_counts().items()},
                "repeated": {hub: found.repeated for hub, found in self.noise.items()},
                "noise": {
                    hub: {"deviation": found.deviation, "tau": found.tau} for hub, found in self.noise.items()
                },
                "beats_linear_probe": self.beats_linear_probe,
                "megabytes": round(self.holdings.size / MEGABYTE, 2),
                "missing": self.missing,
            }
        )

    def as_text(self) -> str:
        """Tables in Markdown: hubs, then tasks, then what is missing."""
        hubs = [_hub_row(self.holdings, hub, found) for hub, found in self.noise.items()]
        beaten = "" if self.beats_linear_probe is None else f"{self.beats_linear_probe:.1%} of the timm-tiny "
        lines = [
            _table(["hub", "runs", "failed", "tasks", "candidates", "repeated", "noise", "tau"], hubs),
            f"{self.holdings.observations:,} observations, {self.holdings.size / MEGABYTE:.1f} MB, "
            f"{self.architectures} architectures and {self.checkpoints} checkpoints in {TINY}",
            f"{beaten}runs beat a linear probe of the same candidate" if beaten else "no linear probes",
            _table(["hub", "task", "runs", "median", "best", "best probe"], _task_rows(self.holdings)),
            "\n".join(["missing:", *(f"- {line}" for line in self.missing)]) if self.missing else "complete",
        ]
        return "\n\n".join(lines)


def describe(root: Path = DATA) -> Description:
    """Count a corpus.

    Args:
        root: a folder of shards, or one of such folders; the source checkpoints count towards the
            size of the corpus at `DATA`.

    Raises:
        Fault: a table is damaged.
    """
    beside = [SOURCES_ROOT] if root.resolve() == DATA else []
    holdings = read_holdings(root, beside)
    tiny = holdings.hub(TINY)
    rows = [holdings.candidates[name] for name in tiny.candidate.unique() if name in holdings.candidates]
    return Description(
        holdings=holdings,
        noise={hub: noise(holdings.hub(hub)) for hub in sorted(holdings.runs.hub.unique())},
        architectures=len({row.architecture for row in rows}),
        checkpoints=int(tiny.candidate.nunique()),
        beats_linear_probe=beats_linear_probe(tiny, holdings.probes),
        missing=missing(holdings),
    )


def write_picture(holdings: Holdings, path: Path) -> None:
    """Draw the final scores of all tasks as an SVG."""
    finished = holdings.runs[holdings.runs.final.notna()]
    rows = {
        f"{hub} {task}": part.final.tolist()
        for (hub, task), part in finished.groupby(["hub", "task"], sort=True)
    }
    marks = {f"{TINY} {task}": _best_probe(holdings, task) for task, _ in holdings.probes}
    path.write_text(strips(rows, marks, "validation score after the last epoch"), encoding="utf-8")


def _best_probe(holdings: Holdings, task: str) -> float:
    return max(probe.validation_score for (name, _), probe in holdings.probes.items() if name == task)


def _hub_row(holdings: Holdings, hub: str, found: Noise) -> list[str]:
    runs = holdings.hub(hub)
    return [
        hub,
        f"{len(runs):,}",
        f"{(runs.status == 'failed').mean():.1%}",
        str(runs.task.nunique()),
        str(runs.candidate.nunique()),
        f"{found.repeated:.1%}",
        "" if found.deviation is None else f"{found.deviation:.4f}",
        "" if found.tau is None else f"{found.tau:.3f}",
    ]


def _task_rows(holdings: Holdings) -> Iterable[list[str]]:
    probed = {task for task, _ in holdings.probes}
    for (hub, task), part in holdings.runs.groupby(["hub", "task"], sort=True):
        probe = f"{_best_probe(holdings, str(task)):.3f}" if hub == TINY and task in probed else ""
        yield [
            str(hub),
            str(task),
            str(len(part)),
            f"{part.final.median():.3f}",
            f"{part.final.max():.3f}",
            probe,
        ]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
