"""The demo's search against random search at equal budget, over seeds.

    python -m training.benchmarks.against_random [--seeds 5] [--out DIR] [--json]

Random search draws a bundled candidate and a configuration from the same space and trains it to the
horizon, until the epochs are spent. Both choose by validation score; the test score is that of the
chosen checkpoint. One seed fixes split, heads, data order and proposals of both. Resumable: finished
searches in DIR are read back.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import stats

from fms_hub.cli.select import DEMO_BUDGET
from fms_hub.errors import TrainingFailure
from fms_hub.finetune.trainer import Trainer
from fms_hub.models.catalog import bundled
from fms_hub.records import Budget
from fms_hub.search.select import select
from fms_hub.search.space import Space
from fms_hub.tasks.dataset import load_task

HORIZON = 12
METHODS = ("fms_hub", "random")


def ours(seed: int, epochs: int, out: Path) -> dict[str, float]:
    """Best validation and test score of the demo's search."""
    found = select("digits", budget=Budget(epochs=epochs), max_epochs=HORIZON, seed=seed, out=out)
    return {"validation": found.best.score, "test": found.best.test_score}


def random_search(seed: int, epochs: int, out: Path) -> dict[str, float]:
    """Best validation and test score of random search on the same trainer."""
    trainer = Trainer(load_task("digits", seed=seed), seed=seed)
    candidates, space = bundled(), Space()
    rng = np.random.default_rng(seed)
    best = {"validation": 0.0, "test": 0.0}
    for run, length in enumerate(lengths(epochs)):
        candidate = candidates[int(rng.integers(len(candidates)))]
        values = space.sample(1, int(rng.integers(2**31)))[0]
        for epoch in range(1, length + 1):
            previous = None if epoch == 1 else out / f"r{run}-e{epoch - 1}"
            target = out / f"r{run}-e{epoch}"
            try:
                result = trainer.epoch(
                    candidate, values, run=run, epoch=epoch, horizon=HORIZON, previous=previous, target=target
                )
            except TrainingFailure:
                break
            if result.score > best["validation"]:
                best = {"validation": result.score, "test": trainer.test(candidate, values, target)}
    shutil.rmtree(out, ignore_errors=True)
    return best


def lengths(epochs: int) -> Iterator[int]:
    """Epochs of one run after the other: full ones, and what is left."""
    while epochs > 0:
        yield min(HORIZON, epochs)
        epochs -= HORIZON


def interval(values: list[float]) -> tuple[float, float, float]:
    """Mean and its 95 % interval by Student's t."""
    mean = statistics.mean(values)
    half = float(stats.t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
    return mean, mean - half, mean + half


def main() -> None:
    """Run or read back every search, print the table or JSON."""
    parser = argparse.ArgumentParser(prog="python -m training.benchmarks.against_random")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/against_random"))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()

    epochs = Budget.parse(DEMO_BUDGET).epochs or 0
    found: dict[str, list[dict[str, float]]] = {method: [] for method in METHODS}
    for seed in range(arguments.seeds):
        for method in METHODS:
            folder = arguments.out / f"{method}-{seed}"
            stored = arguments.out / f"{method}-{seed}.json"
            if not stored.exists():
                search = ours if method == "fms_hub" else random_search
                arguments.out.mkdir(parents=True, exist_ok=True)
                stored.write_text(json.dumps(search(seed, epochs, folder)))
            found[method].append(json.loads(stored.read_text()))
    report(found, epochs, as_json=arguments.json)


def report(found: dict[str, list[dict[str, float]]], epochs: int, *, as_json: bool) -> None:
    """Print each method's scores and the paired difference."""
    n = len(found["fms_hub"])
    rows = []
    for split in ("validation", "test"):
        columns = {method: [row[split] for row in found[method]] for method in METHODS}
        columns["difference"] = [a - b for a, b in zip(*columns.values(), strict=True)]
        for method, values in columns.items():
            mean, low, high = interval(values)
            rows.append(
                {
                    "method": method,
                    "metric": f"{split} accuracy",
                    "mean": mean,
                    "low": low,
                    "high": high,
                    "n": n,
                }
            )
    if as_json:
        print(
            json.dumps({"benchmark": "against_random", "setting": f"digits, {epochs} epochs", "rows": rows})
        )
        return
    print(f"digits, bundled candidates, {epochs} epochs, {n} seeds\n")
    print("| accuracy | method | mean | 95 % interval |\n|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['metric']} | {row['method']} | {row['mean']:.4f} "
            f"| {row['low']:.4f} to {row['high']:.4f} |"
        )


if __name__ == "__main__":
    main()
