"""Forests that were fitted before: surrogates that are held out from one group each share most of theirs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from fms_hub.surrogate.forest import Forest

_ARRAYS = tuple(field.name for field in fields(Forest) if field.name != "columns")


@dataclass(frozen=True)
class Shelf:
    """A folder of forests, by what they were fitted to.

    Several processes may share it: one that wants what another is fitting waits for it.

    Attributes:
        folder: made when it is needed.
    """

    folder: Path

    def forest(
        self,
        fit: Callable[[], Forest],
        x: NDArray[np.float64],
        y: NDArray[np.float64],
        without: NDArray[np.int64],
        settings: str,
    ) -> Forest:
        """What ``fit`` gives, or gave before.

        Args:
            fit: fits the forest.
            x, y, without, settings: all that it depends on: rows (n, D), gains (n,), columns that a part of
                it goes without, and the rest as text.
        """
        key = hashlib.sha256(settings.encode())
        for array in (x, y, without):
            key.update(np.ascontiguousarray(array).tobytes())
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{key.hexdigest()}.safetensors"
        with FileLock(path.with_suffix(".lock")):
            if path.exists():
                return Forest(**load_file(path), columns=x.shape[1])
            forest = fit()
            partial = path.with_suffix(".partial")
            save_file({name: getattr(forest, name) for name in _ARRAYS}, partial)
            partial.replace(path)
        return forest
