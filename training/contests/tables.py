"""Tables of searches over small nets and over the bundled candidates, of whichever arms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from fms_hub.corpus.wholefile import write_whole
from training.benchmarks.cached.report import TableRow
from training.contests.arms import Arm
from training.contests.bundled import Contest
from training.contests.nets import NetContest
from training.contests.outcomes import Outcome, best_so_far, rows
from training.gflownet.feed_forward import read_pixels
from training.pictures.panels import Panel, panels

NET_IMAGES, NET_EPOCHS, NET_HORIZON = 2500, 40, 8
LIVE_IMAGES, LIVE_EPOCHS, LIVE_HORIZON = 600, 32, 8
QUICK_IMAGES, QUICK_EPOCHS = 400, 6


def net_rows(
    data: Path, task: str, arms: Sequence[Arm], seeds: Sequence[int], out: Path, *, quick: bool
) -> list[TableRow]:
    """Searches over feed-forward nets on one dataset file.

    Args:
        data: folder of the dataset .npz files.
        task: name of one of ten classes.
        arms: the first is what the others are compared with.
        seeds: at least 2, for the intervals.
        out: folder of what is finished, which is read back.
        quick: fewer images and epochs, to try it out.
    """
    images, epochs = (QUICK_IMAGES, QUICK_EPOCHS) if quick else (NET_IMAGES, NET_EPOCHS)
    contest = NetContest(read_pixels(data / f"{task}.npz", images), task, epochs, NET_HORIZON, out / "nets")
    return rows(contest.outcomes(arms, seeds), f"feed-forward nets, {task}", epochs)


def live_rows(
    data: Path,
    tasks: Sequence[str],
    arms: Sequence[Arm],
    seeds: Sequence[int],
    out: Path,
    surrogates: Mapping[str, str],
    *,
    quick: bool,
) -> list[TableRow]:
    """Searches over the bundled candidates, on each dataset file; of the first alone where it is quick.

    A picture of them goes to `out`. Arguments as in `net_rows` and `Contest`.
    """
    images, epochs, folder = (
        (QUICK_IMAGES, QUICK_EPOCHS, "live-quick") if quick else (LIVE_IMAGES, LIVE_EPOCHS, "live")
    )
    contest = Contest(data, images, epochs, LIVE_HORIZON, out / folder, surrogates)
    found, drawn = list[TableRow](), list[Panel]()
    for task in tasks[:1] if quick else tasks:
        searches = contest.searches(task, arms, seeds)
        ended = {arm: [Outcome.of(s.history, s.best.test_score) for s in of] for arm, of in searches.items()}
        found += rows(ended, task, epochs)
        curves = {arm: [best_so_far(s.history) for s in of] for arm, of in searches.items()}
        drawn.append(Panel(task, curves, "epochs"))
    picture = panels("best validation accuracy so far, a line each seed", drawn)
    write_whole(out / f"{folder}.svg", picture.encode())
    return found
