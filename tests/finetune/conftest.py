from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from fms_hub.tasks.task import Task, task_from_arrays


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def digits() -> Task:
    """scikit-learn's scans of digits: 1,000 to train, 200 to validate, 200 to test, 8 x 8 pixels."""
    scans = load_digits()
    images, labels = (scans.images / 16 * 255).astype(np.uint8)[:1400], scans.target[:1400]
    return task_from_arrays(
        "digits",
        [str(d) for d in range(10)],
        train=(images[:1000], labels[:1000]),
        validation=(images[1000:1200], labels[1000:1200]),
        test=(images[1200:], labels[1200:]),
    )


@pytest.fixture(scope="session")
def few_digits(digits: Task) -> Task:
    """A hundred digits to train on, and twenty each to validate and test."""
    parts = (digits.train, digits.validation, digits.test)
    train, validation, test = (
        (np.stack([np.asarray(part.images[i]) for i in range(n)]), part.labels[:n])
        for part, n in zip(parts, (101, 20, 20), strict=True)
    )
    return task_from_arrays("few", digits.info.classes, train=train, validation=validation, test=test)
