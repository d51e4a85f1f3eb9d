"""Records: budgets are read as people write them, observations hold only what can be."""

from typing import Any

import pytest

from fms_hub.errors import BudgetError
from fms_hub.records import Budget, Observation


@pytest.mark.parametrize(
    ("text", "epochs", "seconds"),
    [
        ("40 epochs", 40, None),
        ("1 epoch", 1, None),
        ("20m", None, 1200.0),
        ("1.5h", None, 5400.0),
        (" 90 s ", None, 90.0),
        ("2 Days", None, 172800.0),
        (".5m", None, 30.0),
    ],
)
def test_budgets_are_read_as_people_write_them(text: str, epochs: int | None, seconds: float | None) -> None:
    budget = Budget.parse(text)
    assert (budget.epochs, budget.seconds) == (epochs, seconds)
    assert Budget.parse(budget) is budget


@pytest.mark.parametrize(
    "text", ["", "40", "epochs", "-1 epochs", "0 epochs", "0s", "2.5 epochs", "1e3s", "3 weeks"]
)
def test_other_budgets_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(BudgetError, match="epochs"):
        Budget.parse(text)


@pytest.mark.parametrize("limits", [{}, {"epochs": 0}, {"seconds": float("nan")}, {"seconds": float("inf")}])
def test_budgets_need_a_positive_limit(limits: dict[str, Any]) -> None:
    with pytest.raises(BudgetError):
        Budget(**limits)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"score": 1.5}, "lies in"),
        ({"score": -0.1}, "lies in"),
        ({"score": float("nan")}, "lies in"),
        ({"score": None}, "belongs to"),
        ({"status": "failed", "reason": "diverged"}, "belongs to"),
        ({"seconds": -1.0}, "seconds"),
        ({"overhead": float("inf")}, "overhead"),
    ],
)
def test_observations_that_cannot_be_are_refused(changes: dict[str, Any], why: str) -> None:
    fields: dict[str, Any] = {
        "run": 0,
        "candidate": "a",
        "hyperparameters": {},
        "epoch": 1,
        "horizon": 4,
        "score": 0.5,
    }
    Observation(**fields)
    with pytest.raises(ValueError, match=why):
        Observation(**{**fields, **changes})
