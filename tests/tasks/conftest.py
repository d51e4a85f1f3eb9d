"""Real images for the tests: scikit-learn's scans of digits, written as files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

WriteTree = Callable[[Mapping[str, int]], Path]


@pytest.fixture(scope="session")
def scans() -> NDArray[np.uint8]:
    """All 1,797 scans, uint8, shape (1797, 8, 8)."""
    return np.rint(load_digits().images * (255 / 16)).astype(np.uint8)


@pytest.fixture
def write_tree(tmp_path: Path, scans: NDArray[np.uint8]) -> WriteTree:
    """Write so many scans into each folder, all different, PNG and JPEG in turn; give the root."""

    def write(folders: Mapping[str, int]) -> Path:
        root = tmp_path / "scans"
        next_scan = 0
        for name, count in folders.items():
            (root / name).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                suffix = "png" if i % 2 else "jpg"
                Image.fromarray(scans[next_scan]).save(root / name / f"{i}.{suffix}")
                next_scan += 1
        return root

    return write
