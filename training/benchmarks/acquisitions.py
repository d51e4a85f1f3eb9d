"""Which acquisition rule finds the best network: live searches over the bundled candidates.

    python -m training.benchmarks.acquisitions --data DIR [--tasks gtsrb,flowers5] [--seeds 2] [--json]

Every rule gets the same task, seed and number of epochs. Validation scores decide; the winner's test
score is shown beside them. Resumable: finished searches in the output folder are read back.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import get_args

import torch

from fms_hub.records import Budget
from fms_hub.search.acquisition import Rule
from fms_hub.search.select import select
from training.data import read_npz

IMAGES = 600
IMAGE_SIZE = 32


def search(data: Path, task: str, rule: Rule, seed: int, settings: argparse.Namespace) -> dict[str, object]:
    """One search: best validation score half way and at the end, test score, epochs spent on first epochs."""
    found = select(
        read_npz(data / f"{task}.npz", limit=IMAGES, seed=seed),
        budget=Budget(epochs=settings.epochs),
        max_epochs=settings.max_epochs,
        image_size=IMAGE_SIZE,
        acquisition=rule,
        seed=seed,
        out=settings.out / f"{task}-{seed}-{rule}",
    )
    scores = [o.score or 0.0 for o in found.history]
    return {
        "task": task,
        "seed": seed,
        "rule": rule,
        "half": max(scores[: settings.epochs // 2]),
        "validation": found.best.score,
        "test": found.best.test_score,
        "runs": len({o.run for o in found.history}),
    }


def main() -> None:
    """Search, print the table or JSON."""
    parser = argparse.ArgumentParser(prog="python -m training.benchmarks.acquisitions")
    parser.add_argument("--data", type=Path, required=True, help="folder of the dataset .npz files")
    parser.add_argument("--tasks", default="gtsrb,hymenoptera,flowers5")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=32)
    parser.add_argument("--max-epochs", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("runs/acquisitions"))
    parser.add_argument("--json", action="store_true")
    settings = parser.parse_args()

    torch.set_num_threads(1)
    rows = [
        search(settings.data, task, rule, seed, settings)
        for seed in range(settings.seeds)
        for task in settings.tasks.split(",")
        for rule in get_args(Rule)
    ]
    if settings.json:
        print(json.dumps({"benchmark": "acquisitions", "rows": rows}))
        return
    columns = ("task", "seed", "rule", "half", "validation", "test", "runs")
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
    for row in rows:
        cells = (f"{row[c]:.3f}" if isinstance(row[c], float) else str(row[c]) for c in columns)
        print("| " + " | ".join(cells) + " |")
    for rule in get_args(Rule):
        means = [
            statistics.mean(float(str(row[c])) for row in rows if row["rule"] == rule)
            for c in ("half", "validation", "test")
        ]
        print(f"| all | | {rule} | " + " | ".join(f"{mean:.3f}" for mean in means) + " | |")


if __name__ == "__main__":
    main()
