"""What a search is to achieve besides a high score: a second objective, and limits to keep."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

import torch

from fms_hub.errors import CandidateError, UsageError

Cost = Literal["latency", "parameters", "peak_memory"]
"""A property of a candidate with the task's head, known before training; lower is better.

    latency      milliseconds for one image, in evaluation mode on the device of the search
    parameters   how many
    peak_memory  megabytes of GPU memory for one image, weights included; CUDA only
"""
SCORE: Final = "score"
COLUMNS: Final[Mapping[Cost, str]] = {
    "latency": "latency_ms",
    "parameters": "parameters",
    "peak_memory": "peak_memory_mb",
}
"""What a leaderboard calls them, unit included."""

_NUMBER: Final = re.compile(r"([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)\s*([a-zµ]*)", re.IGNORECASE)
_MILLISECONDS: Final = {"": 1.0, "us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3}
_COUNTS: Final = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9}


@dataclass(frozen=True)
class Goals:
    """The objectives and limits of a search.

    Attributes:
        cost: the objective besides the score, or None.
        limits: most that a candidate may have of each cost, in the units of `Cost`.
    """

    cost: Cost | None = None
    limits: Mapping[Cost, float] = field(default_factory=dict)

    @classmethod
    def parse(
        cls,
        objectives: Sequence[str],
        max_latency: str | float | None = None,
        max_parameters: str | int | None = None,
    ) -> Goals:
        """Read what a user asks for.

        Args:
            objectives: ``"score"``, alone or with one `Cost`.
            max_latency: ``"5ms"``, ``"0.01s"``, or a number of milliseconds.
            max_parameters: ``"1M"``, ``"250k"``, or a number.

        Raises:
            UsageError: the objectives or a limit cannot be read.
        """
        limits: dict[Cost, float] = {}
        if max_latency is not None:
            limits["latency"] = _quantity("max_latency", max_latency, _MILLISECONDS, "'5ms' or '0.01s'")
        if max_parameters is not None:
            limits["parameters"] = _quantity("max_parameters", max_parameters, _COUNTS, "'1M' or '250k'")
        return cls(_second(objectives), limits)

    @property
    def costs(self) -> tuple[Cost, ...]:
        """What has to be found out of each candidate."""
        return tuple(cost for cost in get_args(Cost) if cost == self.cost or cost in self.limits)

    def identity(self, device: torch.device) -> dict[str, str]:
        """What must be the same for a search to be resumed; nothing for one without goals."""
        wanted = {} if self.cost is None else {"objectives": f"{SCORE}, {self.cost}"}
        limits = {f"max_{cost}": f"{limit:g}" for cost, limit in self.limits.items()}
        measured = {"device": device.type} if {"latency", "peak_memory"} & set(self.costs) else {}
        return {**wanted, **limits, **measured}

    def require_device(self, device: torch.device) -> None:
        """Whether all of it can be measured there.

        Raises:
            UsageError: memory is wanted of a device that does not count it.
        """
        if "peak_memory" in self.costs and device.type != "cuda":
            raise UsageError(
                f"peak_memory is measured on CUDA devices only, this search runs on {device.type!r}; "
                "take the objective 'latency' or 'parameters', or another device=."
            )

    def within(self, costs: Mapping[str, Mapping[Cost, float]]) -> tuple[str, ...]:
        """The candidates that keep all limits, in their order.

        Args:
            costs: by candidate.

        Raises:
            CandidateError: there is none; it names which limit empties the list, and the smallest values.
        """
        found = tuple(name for name, own in costs.items() if all(own[c] <= m for c, m in self.limits.items()))
        if found:
            return found
        raise CandidateError(
            f"none of {len(costs)} candidates keeps the limits: "
            f"{'; '.join(self._verdict(cost, costs) for cost in self.limits)}. "
            "Allow more, or name smaller candidates."
        )

    def _verdict(self, cost: Cost, costs: Mapping[str, Mapping[Cost, float]]) -> str:
        values = {name: own[cost] for name, own in costs.items()}
        keeping = [name for name, value in values.items() if value <= self.limits[cost]]
        least = min(values, key=lambda name: values[name])
        names = f" ({', '.join(keeping[:3])}{' ...' if len(keeping) > 3 else ''})" if keeping else ""
        return (
            f"max_{cost} of {in_units(cost, self.limits[cost])} is kept by {len(keeping) or 'none'}{names}, "
            f"the smallest is {in_units(cost, values[least])} ({least})"
        )


def in_units(cost: Cost, value: float) -> str:
    """A cost for people: ``"4.27 ms"``, ``"373,658"``, ``"81.5 MB"``."""
    match cost:
        case "latency":
            return f"{value:.3g} ms"
        case "parameters":
            return f"{value:,.0f}"
        case "peak_memory":
            return f"{value:.3g} MB"


def _second(objectives: Sequence[str]) -> Cost | None:
    asked = [objectives] if isinstance(objectives, str) else list(objectives)
    others = [cost for cost in get_args(Cost) if cost in asked]
    if SCORE not in asked or len(asked) != 1 + len(others) or len(others) > 1:
        raise UsageError(
            f"objectives are 'score', alone or with one of {', '.join(get_args(Cost))}; found {asked}."
        )
    return others[0] if others else None


def _quantity(name: str, value: str | float, units: Mapping[str, float], examples: str) -> float:
    match = _NUMBER.fullmatch(str(value).strip())
    found = float(match[1]) * units[match[2].lower()] if match and match[2].lower() in units else 0.0
    if not (math.isfinite(found) and found > 0):
        raise UsageError(f"{name} reads like {examples} and is above 0; found {value!r}.")
    return found
