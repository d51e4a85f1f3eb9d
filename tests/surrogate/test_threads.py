"""How many threads a process takes."""

import pytest
import torch

from fms_hub.surrogate.threads import ALONE_UP_TO, threads_for


def test_few_rows_take_one_thread_and_leave_as_many_as_before() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with threads_for(ALONE_UP_TO):
            assert torch.get_num_threads() == 1
        with threads_for(ALONE_UP_TO + 1):
            assert torch.get_num_threads() == 2
        with pytest.raises(ValueError), threads_for(1):
            raise ValueError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
