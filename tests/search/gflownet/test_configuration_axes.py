"""Bins of ranges: in the hyperparameter's own scale, and values from within them."""

import itertools

import numpy as np
import pytest
from ConfigSpace import (
    ConfigurationSpace,
    Constant,
    EqualsCondition,
    Float,
    ForbiddenGreaterThanClause,
    GreaterThanCondition,
    Integer,
    OrdinalHyperparameter,
)

from fms_hub.errors import SpaceError
from fms_hub.search.gflownet.axes import Axis, axes


def of(space: ConfigurationSpace, name: str, bins: int = 4) -> Axis:
    return next(axis for axis in axes(space, bins) if axis.name == name)


def values(axis: Axis) -> list[float]:
    return [float(v) for v in axis.hyperparameter.to_value(axis.middles())]


def test_bins_of_a_logarithmic_range_are_equal_on_that_scale() -> None:
    space = ConfigurationSpace()
    space.add(Float("rate", (1e-4, 1e-0), log=True), Float("dropout", (0.0, 0.4)))
    np.testing.assert_allclose(values(of(space, "rate")), [10**-3.5, 10**-2.5, 10**-1.5, 10**-0.5], rtol=1e-6)
    np.testing.assert_allclose(values(of(space, "dropout")), [0.05, 0.15, 0.25, 0.35])


def test_values_are_drawn_from_within_their_bin() -> None:
    space = ConfigurationSpace()
    space.add(Float("rate", (1e-4, 1e-0), log=True), Integer("layers", (1, 100)))
    rng = np.random.default_rng(0)
    for name in ("rate", "layers"):
        axis = of(space, name)
        actions = rng.integers(len(axis), size=400)
        drawn = axis.hyperparameter.to_value(axis.jittered(actions, rng))
        spread = {int(a): np.ptp(drawn[actions == a]) for a in range(len(axis))}
        assert min(spread.values()) > 0
        limits = [(drawn[actions == a].min(), drawn[actions == a].max()) for a in range(len(axis))]
        assert all(high < low for (_, high), (low, _) in itertools.pairwise(limits))
    assert set(range(1, 26)) == {
        int(v) for v in axis.hyperparameter.to_value(axis.jittered(np.zeros(2000, dtype=np.int64), rng))
    }


def test_choices_and_few_whole_numbers_are_themselves() -> None:
    space = ConfigurationSpace()
    space.add(OrdinalHyperparameter("batch_size", [16, 32, 64]), Integer("few", (1, 3)), Constant("one", 5))
    assert [len(axis) for axis in axes(space)] == [3, 3, 1]
    assert all(axis.exact for axis in axes(space))
    assert values(of(space, "few")) == [1, 2, 3]


def test_values_that_rules_name_end_a_bin() -> None:
    space = ConfigurationSpace()
    rate, layers = Float("rate", (0.0, 1.0)), Integer("layers", (1, 100))
    child, other = Float("child", (0.0, 1.0)), Float("other", (0.0, 1.0))
    space.add(rate, layers, child, other)
    space.add(GreaterThanCondition(child, rate, 0.9), EqualsCondition(other, layers, 7))
    space.add(ForbiddenGreaterThanClause(rate, 0.95))
    assert of(space, "rate").lows.tolist() == [0.0, 0.25, 0.5, 0.75, 0.9, 0.95]
    layered = of(space, "layers")
    assert (7.0, 7.0) in set(zip(layered.lows.tolist(), layered.highs.tolist(), strict=True))
    assert layered.lows[0] == 1 and layered.highs[-1] == 100
    assert (layered.lows[1:] == layered.highs[:-1] + 1).all()


def test_no_bins_are_refused() -> None:
    space = ConfigurationSpace()
    space.add(Float("rate", (0.0, 1.0)))
    with pytest.raises(SpaceError, match="at least one bin, found 0"):
        axes(space, bins=0)
