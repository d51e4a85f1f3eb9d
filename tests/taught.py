"""Pools of cached runs whose curves follow a rule that all tasks share."""

from functools import cache

import numpy as np

from fms_hub.corpus.schema import META_FEATURES, CandidateRow, TaskRow
from fms_hub.surrogate.surrogate import Surrogate
from fms_hub.weights.pooling import POOLED
from training.benchmarks.cached.pool import CachedRun, Pool
from training.corpus.splits import read_splits
from training.meta.fitting import fit
from training.meta.train import Settings

CANDIDATES = ("scratch:test_resnet", "bundled/test_vit.mnist")
TASKS = ("usps", "flowers5", "smiles", "gtsrb")


def candidate(name: str) -> CandidateRow:
    source = "mnist" if name.endswith("mnist") else "random"
    architecture = "test_vit" if "vit" in name else "test_resnet"
    family = {"test_vit": "vision_transformer", "test_resnet": "resnet"}[architecture]
    return CandidateRow(name, architecture, family, source, 1, None, 1000, "MIT", False)


def task(name: str, level: float) -> TaskRow:
    features = dict.fromkeys(META_FEATURES, level)
    return TaskRow(
        "timm-tiny", name, "g", 4, None, 800, 200, 200, 32, "accuracy", None, features, "MIT", "here"
    )


def pool(name: str, seed: int, runs: int = 40) -> Pool:
    """The final score rises with the learning rate and with the first weight; tasks differ in level."""
    rng = np.random.default_rng(seed)
    level = rng.uniform(0.3, 0.5)
    made, sketches = [], {}
    for number in range(runs):
        rate = float(10 ** rng.uniform(-5, -1))
        who = CANDIDATES[number % 2]
        quality = rng.normal()
        final = level + 0.08 * (np.log10(rate) + 5) + 0.03 * quality
        scores = tuple(float(final * (1 - np.exp(-(epoch + 1) / 2))) for epoch in range(6))
        failed = number == 7
        made.append(
            CachedRun(
                f"{number:016x}",
                who,
                {"learning_rate": rate},
                6,
                0,
                scores[:2] if failed else scores,
                tuple(2.0 - s for s in (scores[:2] if failed else scores)),
                reason="diverged" if failed else None,
            )
        )
        for epoch in (0, 1, 4):
            sketches[f"{number:016x}", epoch] = np.array(
                [quality, epoch, *[20.0 * (number % 2)] * (len(POOLED) - 2)]
            )
    return Pool(
        "timm-tiny", task(name, level), {c: candidate(c) for c in CANDIDATES}, tuple(made), sketches=sketches,
        start={c: np.zeros(len(POOLED)) for c in CANDIDATES},
    )  # fmt: skip


@cache
def surrogate() -> Surrogate:
    """Meta-trained a little on two of these tasks, whose scores rise with the learning rate."""
    pools = [pool(name, seed, runs=16) for seed, name in enumerate(TASKS[:2])]
    return fit("taught", pools, read_splits(), Settings(steps=60, trees=60)).surrogate
