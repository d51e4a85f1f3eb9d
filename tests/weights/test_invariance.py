"""Renumbering the neurons of real networks changes neither their function nor their features."""

from __future__ import annotations

import pytest

from training.benchmarks.invariance import MEMBERS, Member, measure

QUICK = [member for member in MEMBERS if not member.slow]


@pytest.mark.parametrize("member", QUICK, ids=lambda member: member.family)
def test_features_follow_the_function_not_the_numbering(member: Member) -> None:
    found = measure(member)
    assert found.output <= 1e-9, "a renumbering that changes the function proves nothing"
    assert found.nodes <= 1e-10
    assert found.pooled <= 1e-10
    assert found.l2 <= 1e-10
    assert found.wrong_output >= 1e-6
    assert found.wrong_l2 >= 1e-5
    assert found.classes >= 5
    assert found.one_axis >= 0.999
    assert found.both_axes >= 0.7


def test_there_are_twenty_families() -> None:
    assert len({member.family for member in QUICK}) >= 20
