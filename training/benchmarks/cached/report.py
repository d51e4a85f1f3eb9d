"""What every benchmark prints: rows and targets, as JSON or Markdown; and the log of looks at meta-test."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

from fms_hub.corpus.wholefile import write_whole

LOG = Path(__file__).parents[2] / "LOG.md"


@dataclass(frozen=True)
class TableRow:
    """One number of a table.

    Attributes:
        method: name, or name and note.
        hub: of the runs.
        at: how much of the budget was spent, in words.
        metric: what the number is.
        mean, low, high: with its 95 % interval.
        n: how many searches it is the mean of.
    """

    method: str
    hub: str
    at: str
    metric: str
    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Target:
    """What must be reached; nothing measured is not met."""

    target: str
    required: float
    measured: float | None
    met: bool


@dataclass(frozen=True)
class Report:
    """The result of a benchmark.

    Attributes:
        benchmark: its name.
        setting: in words: hub, split, seeds, budget, rules.
        rows, targets: see there.
    """

    benchmark: str
    setting: str
    rows: Sequence[TableRow]
    targets: Sequence[Target]

    def json(self) -> str:
        """One line: ``{"benchmark", "setting", "rows", "targets"}``."""
        return json.dumps(asdict(self), allow_nan=False)

    def markdown(self) -> str:
        """A table for each metric and hub, methods down and points of the budget across; then the targets."""
        parts = [self.setting]
        several = len({row.hub for row in self.rows}) > 1
        for metric, hub in dict.fromkeys((row.metric, row.hub) for row in self.rows):
            rows = [row for row in self.rows if (row.metric, row.hub) == (metric, hub)]
            parts.append(_table(f"{metric}, {hub}" if several else metric, rows))
        for target in self.targets:
            measured = "not measured" if target.measured is None else f"{target.measured:.3f}"
            parts.append(
                f"{'met' if target.met else 'NOT MET'}: {target.target}: {measured}, "
                f"required {target.required:g}"
            )
        return "\n\n".join(parts)


def _table(title: str, rows: Sequence[TableRow]) -> str:
    points = list(dict.fromkeys(row.at for row in rows))
    cells = {(row.method, row.at): f"{row.mean:.3f} ({row.low:.3f}, {row.high:.3f})" for row in rows}
    counts = {
        method: _count([row.n for row in rows if row.method == method])
        for method in dict.fromkeys(row.method for row in rows)
    }
    lines = [[title, *points, "n"], ["---"] * (len(points) + 2)]
    lines += [[m, *(cells.get((m, at), "") for at in points), n] for m, n in counts.items()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _count(found: Sequence[int]) -> str:
    least, most = min(found), max(found)
    return str(most) if least == most else f"{least} to {most}"


def append_log(report: Report, arguments: Sequence[str], path: Path = LOG, day: date | None = None) -> None:
    """Write date, command and result of a look at meta-test to the end of the log.

    Args:
        report: what came out.
        arguments: of the command, without the program; of absolute paths only the last part is written.
        path: of the log; made if absent.
        day: today by default.
    """
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    command = f"python -m training.benchmarks.{report.benchmark} {_shown(arguments)}".strip()
    entry = (
        f"## {day or date.today()}: {report.benchmark} on meta-test\n\n`{command}`\n\n{report.markdown()}\n"
    )
    gap = "" if not before or before.endswith("\n\n") else "\n" if before.endswith("\n") else "\n\n"
    write_whole(path, (before + gap + entry).encode())


def _shown(arguments: Sequence[str]) -> str:
    shown = []
    for argument in arguments:
        option, equals, value = argument.partition("=")
        if equals and Path(value).is_absolute():
            argument = f"{option}={Path(value).name}"
        shown.append(Path(argument).name if Path(argument).is_absolute() else argument)
    return shlex.join(shown)
