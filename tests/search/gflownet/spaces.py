"""Random search spaces with conditions and forbidden clauses."""

import copy
from contextlib import suppress
from typing import Any

from ConfigSpace import (
    AndConjunction,
    Categorical,
    Configuration,
    ConfigurationSpace,
    Constant,
    EqualsCondition,
    Float,
    ForbiddenAndConjunction,
    ForbiddenEqualsClause,
    ForbiddenGreaterThanClause,
    ForbiddenGreaterThanEqualsClause,
    ForbiddenGreaterThanRelation,
    ForbiddenInClause,
    ForbiddenLessThanEqualsClause,
    ForbiddenLessThanRelation,
    ForbiddenOrConjunction,
    GreaterThanCondition,
    InCondition,
    Integer,
    LessThanCondition,
    NotEqualsCondition,
    OrConjunction,
    OrdinalHyperparameter,
)
from ConfigSpace.hyperparameters import CategoricalHyperparameter, IntegerHyperparameter
from ConfigSpace.hyperparameters.hyperparameter import Hyperparameter
from hypothesis import strategies as st

DISCRETE = ("categorical", "ordinal", "few", "constant")
ALL = (*DISCRETE, "many", "log-many", "float", "log-float")


def hyperparameter(kind: str, name: str) -> Hyperparameter:
    match kind:
        case "categorical":
            return Categorical(name, ["a", "b", "c"])
        case "ordinal":
            return OrdinalHyperparameter(name, [16, 32, 64])
        case "few":
            return Integer(name, (1, 3))
        case "constant":
            return Constant(name, 7)
        case "many":
            return Integer(name, (0, 40))
        case "log-many":
            return Integer(name, (1, 500), log=True)
        case "float":
            return Float(name, (0.0, 50.0))
        case _:
            return Float(name, (1e-4, 10.0), log=True)


def values(parameter: Hyperparameter) -> list[Any]:
    """Legal values to write rules about."""
    match parameter:
        case CategoricalHyperparameter():
            return list(parameter.choices)
        case OrdinalHyperparameter():
            return list(parameter.sequence)
        case Constant():
            return [parameter.value]
        case IntegerHyperparameter():
            return [parameter.lower, 2, 3, parameter.upper]
        case _:
            return [parameter.lower, 0.5, 2.0, parameter.upper]


@st.composite
def configspaces(draw: st.DrawFn, kinds: tuple[str, ...] = ALL) -> ConfigurationSpace:
    """Two to five hyperparameters, with conditions and clauses that leave the default valid."""
    space = ConfigurationSpace()
    drawn = draw(st.lists(st.sampled_from(kinds), min_size=2, max_size=5))
    # ConfigSpace 1.2 takes a conjunction for another of the other kind, or with a part twice, for the same.
    joined = draw(st.sampled_from([AndConjunction, OrConjunction]))
    space.add(*(hyperparameter(kind, f"h{i}") for i, kind in enumerate(drawn)))
    for i in range(1, len(drawn)):
        if draw(st.booleans()):
            space = extended(space, condition(draw, space, i, joined))
    for _ in range(draw(st.integers(0, 3))):
        space = extended(space, forbidden(draw, space))
    return space


def extended(space: ConfigurationSpace, rule: Any) -> ConfigurationSpace:
    """With a rule, or without where ConfigSpace refuses it."""
    if rule is None:
        return space
    wider = copy.deepcopy(space)
    with suppress(ValueError, KeyError, TypeError):
        wider.add(rule)
        wider.get_default_configuration()
        return wider
    return space


def condition(draw: st.DrawFn, space: ConfigurationSpace, child: int, joined: Any) -> Any:
    def one() -> Any:
        parent = space[f"h{draw(st.integers(0, child - 1))}"]
        value = draw(st.sampled_from(values(parent)))
        kind = draw(st.sampled_from([EqualsCondition, NotEqualsCondition, LessThanCondition,
                                     GreaterThanCondition, InCondition]))  # fmt: skip
        if kind in (LessThanCondition, GreaterThanCondition) and not parent.ORDERABLE:
            kind = EqualsCondition
        return kind(space[f"h{child}"], parent, [value] if kind is InCondition else value)

    first, second = one(), one()
    return first if first == second or draw(st.booleans()) else joined(first, second)


def forbidden(draw: st.DrawFn, space: ConfigurationSpace) -> Any:
    names = list(space)

    def clause() -> Any:
        parameter = space[draw(st.sampled_from(names))]
        value = draw(st.sampled_from(values(parameter)))
        kinds: list[Any] = [ForbiddenEqualsClause, ForbiddenInClause]
        if parameter.ORDERABLE:
            kinds += [
                ForbiddenGreaterThanClause,
                ForbiddenGreaterThanEqualsClause,
                ForbiddenLessThanEqualsClause,
            ]
        kind = draw(st.sampled_from(kinds))
        return kind(parameter, [value] if kind is ForbiddenInClause else value)

    numeric = [n for n in names if not isinstance(space[n].default_value, str)]
    if len(numeric) > 1 and draw(st.booleans()):
        left, right = draw(st.permutations(numeric))[:2]
        kind = draw(st.sampled_from([ForbiddenLessThanRelation, ForbiddenGreaterThanRelation]))
        relation = kind(space[left], space[right])
        return relation if draw(st.booleans()) else ForbiddenAndConjunction(relation, clause())
    joined = draw(st.sampled_from([None, ForbiddenAndConjunction, ForbiddenOrConjunction]))
    return clause() if joined is None else joined(clause(), clause())


def valid(space: ConfigurationSpace, configuration: Any) -> bool:
    """What ConfigSpace itself says of active values by name."""
    with suppress(ValueError):
        Configuration(space, values=dict(configuration))
        return True
    return False
