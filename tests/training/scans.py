"""scikit-learn's digits as one of the corpus' datasets."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits


def digits(folder: Path, name: str = "digits") -> None:
    """Write them to ``folder/name.npz``."""
    scans = load_digits()
    pixels: NDArray[np.uint8] = (scans.images * 15).astype(np.uint8)
    meta = json.dumps({"format": "raw", "repo": "scikit-learn", "commit": "0", "licence": "BSD-3-Clause"})
    np.savez(
        folder / f"{name}.npz", meta=np.array(meta), class_names=np.array([str(n) for n in range(10)]),
        x_train=pixels[:1200], y_train=scans.target[:1200].astype(np.int16),
        x_test=pixels[1200:], y_test=scans.target[1200:].astype(np.int16),
    )  # fmt: skip
