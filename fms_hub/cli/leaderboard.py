"""What came out of a search, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fms_hub.cli.options import short

if TYPE_CHECKING:
    from fms_hub.search.selection import Selection

BEYOND = "* beyond the architectures that the surrogate was trained on, so that it is less sure of them"
"""Below a table whose candidates are marked."""


def told(selection: Selection) -> str:
    """The leaderboard, the front where there is one, and the winner."""
    best = selection.best
    settings = ", ".join(f"{name}={short(value)}" for name, value in best.hyperparameters.items())
    test = f"{best.test_score:.4f} on the test split"
    lines = [
        _table(selection),
        *(["", BEYOND] if any(far > 0 for far in selection.outside.values()) else []),
        *([_front(selection)] if len(selection.front) > 1 else []),
        "",
        f"best       {best.candidate} after {best.epochs} epochs",
        f"settings   {settings}",
        f"score      {best.score:.4f} validation {selection.metric}, {test}",
        f"spent      {selection.spent.epochs} epochs, {selection.spent.seconds:.0f} s",
        f"surrogate  {selection.surrogate}",
        f"out        {selection.out}",
    ]
    return "\n".join(lines)


def _table(selection: Selection, rows: int = 12) -> str:
    """The leaderboard as text, with the settings that matter most."""
    board = selection.leaderboard()
    lines = [
        f"{'run':>4}  {'score':>6}  {'epochs':>6}  {'candidate':<40}  {'learning rate':>13}  {'status':<8}  "
        "licence"
    ]
    for run, row in board.head(rows).iterrows():
        score = "-" if row["score"] is None or row["score"] != row["score"] else f"{row['score']:.4f}"
        candidate = f"{row['candidate']}{' *' if row['outside'] > 0 else ''}"
        rate = short(row["hyperparameters"].get("learning_rate", "-"))
        licence = f"{(row['licence'] or '-')[:24]}{' (gated)' if row['gated'] else ''}"
        lines.append(
            f"{run:>4}  {score:>6}  {row['epochs']:>6}  {candidate:<40}  {rate:>13}  "
            f"{row['status']:<8}  {licence}"
        )
    if len(board) > rows:
        lines.append(f"      ... and {len(board) - rows} more runs")
    return "\n".join(lines)


def _front(selection: Selection) -> str:
    """The Pareto front as text, best score first."""
    lines = ["", "front:"]
    for point in selection.front:
        costs = ", ".join(f"{cost} {short(value)}" for cost, value in point.costs.items())
        lines.append(
            f"{point.run:>4}  {point.score:>6.4f}  {point.epochs:>6}  {point.candidate:<40}  {costs}"
        )
    return "\n".join(lines)
