"""Who trains what is proposed: this process, one epoch at a time, or several processes at once."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import torch

from fms_hub.errors import SearchError, UsageError
from fms_hub.finetune.trainer import Trainer
from fms_hub.records import Candidate, Proposal
from fms_hub.search.bench import Bench, Trained
from fms_hub.weights.graph import WeightGraph

Begin = Callable[[Proposal], "Future[Trained]"]
MakeTrainer = Callable[..., Trainer]
"""Called with ``device=``, gives a trainer there, of the same task and settings as the bench's own."""
_LOOK_EVERY = 1.0
"""Seconds between two looks of a process at whether the search that it works for still lives."""


@contextmanager
def crew(bench: Bench, make: MakeTrainer, size: int) -> Iterator[Begin]:
    """What begins to train a proposal: here and to its end if `size` is 1, else in one of so many processes.

    Args:
        bench: of this process.
        make: a trainer of another process; must be picklable.
        size: processes, >= 1. Those on a GPU that was not named by its number take all GPUs in turn.

    Raises:
        UsageError: dataset or candidates cannot be handed to another process.
        SearchError: a process has ended without an answer.
    """
    if size == 1:
        yield lambda proposal: _done(bench.train(proposal))
        return
    context, others = get_context("spawn"), set(active_children())
    devices, threads = seats(bench.trainer.device, size), max(1, torch.get_num_threads() // size)
    given = (bench.candidates, bench.graphs, bench.folder)
    begun = (context.Value("i", 0), os.getpid(), threads, devices, make, given)
    with ProcessPoolExecutor(size, context, _sit_down, begun) as pool:

        def begin(proposal: Proposal) -> Future[Trained]:
            try:
                return pool.submit(_train, proposal)
            except (pickle.PicklingError, AttributeError, TypeError) as error:
                raise UsageError(
                    f"training in several processes needs candidates and images that can be handed to them, "
                    f"but: {error}. Define modules at the top of an importable file, or leave parallel at 1."
                ) from error

        try:
            yield begin
        except BrokenProcessPool as error:
            raise SearchError(
                "a process that trained has ended without an answer; standard error may say why (too little "
                "memory, often; or a script that does not call select below if __name__ == '__main__'). "
                "All that was logged is kept: run it again, perhaps with fewer at once."
            ) from error
        except BaseException:
            for child in set(active_children()) - others:  # nobody waits for what they are at
                child.terminate()
            raise


def seats(device: torch.device, size: int) -> list[str]:
    """The device of each of so many processes: all GPUs in turn where none was named by its number."""
    if str(device) == "cuda":
        return [f"cuda:{number % torch.cuda.device_count()}" for number in range(size)]
    return [str(device)] * size


def _done(trained: Trained) -> Future[Trained]:
    future: Future[Trained] = Future()
    future.set_result(trained)
    return future


# --- in the other processes, each of which keeps its bench, with the images in memory, from epoch to epoch

_bench: list[Bench] = []


def _sit_down(
    taken: Synchronized[int],
    search: int,
    threads: int,
    devices: list[str],
    make: MakeTrainer,
    given: tuple[Mapping[str, Candidate], Mapping[str, WeightGraph], Path],
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the search is interrupted, and ends its processes
    threading.Thread(target=_leave_with, args=(search,), daemon=True).start()
    with taken.get_lock():
        number = taken.value
        taken.value += 1
    torch.set_num_threads(threads)
    _bench.append(Bench(make(device=devices[number]), *given))


def _train(proposal: Proposal) -> Trained:
    return _bench[0].train(proposal)


def _leave_with(search: int) -> None:
    """End this process when the search is killed: nothing is written behind the back of the next one."""
    while os.getppid() == search:
        time.sleep(_LOOK_EVERY)
    os._exit(1)
