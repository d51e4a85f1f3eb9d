from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from fms_hub.seeding import derived_seed, seeded, seeded_on_cpu


def draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_the_same_seed_draws_the_same_and_another_does_not():
    with seeded(2**62 + 1):
        first = draws()
    with seeded(2**62 + 1):
        again = draws()
    with seeded(2**62 + 2):
        other = draws()
    assert first == again
    assert all(a != b for a, b in zip(first, other, strict=True))


def test_what_never_draws_on_a_gpu_draws_the_same_without_it():
    with seeded(5):
        expected = draws()
        with seeded_on_cpu(5):
            assert draws() == expected
        beyond = draws()
    with seeded_on_cpu(5):
        assert [draws(), draws()] == [expected, beyond]


def test_the_users_state_goes_on_as_if_nothing_had_happened():
    with seeded(3):
        expected = [draws(), draws()]
    with seeded(3):
        found = [draws()]
        with seeded(4):
            draws()
        found.append(draws())
    assert found == expected


def test_the_users_state_is_restored_after_an_error():
    with seeded(3):
        expected = [draws(), draws()]
    with seeded(3):
        found = [draws()]
        with pytest.raises(KeyError), seeded(4):
            draws()
            raise KeyError
        found.append(draws())
    assert found == expected


def test_derived_seeds_depend_on_every_part_and_fit_every_generator():
    seeds = {derived_seed(s, run, epoch) for s in range(3) for run in range(5) for epoch in range(5)}
    assert len(seeds) == 75
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derived_seed(1, 23) != derived_seed(12, 3)
    assert derived_seed(0, 1, 2) == 8703209590962626244
