"""scikit-learn's scans of digits as a dataset file: a small task that needs no download."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from fms_hub.tasks.dataset import digits

TRAIN, TEST = 300, 200
"""Images of each split, so that an epoch is whole and short."""


def write_digits(folder: Path) -> Path:
    """Write ``digits.npz``, in the layout of `training.data`; the folder is made if it is absent."""
    task = digits(seed=0)
    pixels = {
        name: np.stack([np.asarray(split.images[i].convert("L")) for i in range(size)])
        for name, split, size in (("train", task.train, TRAIN), ("test", task.test, TEST))
    }
    meta = {
        "repo": "https://github.com/scikit-learn/scikit-learn",
        "commit": "sklearn.datasets.load_digits",
        "licence": "CC BY 4.0 (UCI, Alpaydin and Kaynak 1998)",
        "format": "raw",
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "digits.npz"
    np.savez(
        path,
        x_train=pixels["train"],
        y_train=task.train.labels[:TRAIN].astype(np.int16),
        x_test=pixels["test"],
        y_test=task.test.labels[:TEST].astype(np.int16),
        class_names=np.array(task.info.classes),
        meta=json.dumps(meta),
    )
    return path
