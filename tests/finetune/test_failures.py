from __future__ import annotations

import weakref

import pytest
import torch

from fms_hub.errors import TrainingFailure
from fms_hub.finetune.failures import failures


def test_a_real_allocation_that_is_too_large_is_out_of_memory():
    with (
        pytest.raises(TrainingFailure, match=r"epoch 3: out of memory.*smaller batch_size") as failure,
        failures("epoch 3"),
    ):
        torch.empty(2**60, dtype=torch.uint8)
    assert failure.value.reason == "out-of-memory"
    assert failure.value.seconds > 0


def test_what_the_failed_epoch_held_is_let_go():
    def hold() -> None:
        tensor = torch.zeros(10)
        held.append(weakref.ref(tensor))
        torch.empty(2**60, dtype=torch.uint8)

    held: list[weakref.ref[torch.Tensor]] = []
    with pytest.raises(TrainingFailure) as failure, failures("epoch 3"):
        hold()
    assert failure.value.__cause__ is not None
    assert held[0]() is None


def test_divergence_says_where():
    with (
        pytest.raises(TrainingFailure, match=r"epoch 1: the loss is not finite\.") as failure,
        failures("epoch 1"),
    ):
        raise FloatingPointError("the loss is not finite")
    assert failure.value.reason == "diverged"


@pytest.mark.parametrize("error", [RuntimeError("shapes do not fit"), ValueError("wrong")])
def test_every_other_error_passes_as_it_is(error):
    with pytest.raises(type(error), match=str(error)), failures("epoch 1"):
        raise error
