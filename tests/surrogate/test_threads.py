"""How many threads PyTorch takes for a while."""

import pytest
import torch

from fms_hub.surrogate.threads import using


def test_afterwards_there_are_as_many_as_before() -> None:
    before = torch.get_num_threads()
    with using(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    with pytest.raises(ValueError), using(before + 1):
        raise ValueError
    assert torch.get_num_threads() == before
