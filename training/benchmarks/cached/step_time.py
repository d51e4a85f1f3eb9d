"""Measure the time of one optimiser step of every architecture: the clock of the searches over cached runs.

    python -m training.benchmarks.cached.step_time --out FILE [--steps 20]

One thread of the CPU, images as the hubs train them, AdamW, median of the steps. On a machine with other
work the times are too long, though not out of proportion.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from datetime import date
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from fms_hub.corpus.wholefile import write_whole
from fms_hub.models.zoo import build
from training.benchmarks.cached.costs import BATCHES
from training.corpus.candidates import ARCHITECTURES, resolve
from training.corpus.small_net import PIXELS, SmallCNN
from training.corpus.tasks import IMAGE_SIZE

CLASSES = 10


def measure(net: nn.Module, size: tuple[int, int, int], steps: int) -> tuple[float, ...]:
    """Median seconds of a step at each of `BATCHES`, after three steps to get warm."""
    found = []
    optimiser = torch.optim.AdamW(net.parameters(), 1e-3)
    for batch in BATCHES:
        images, labels = torch.randn(batch, *size), torch.arange(batch) % CLASSES
        taken = []
        for _ in range(steps + 3):
            began = time.perf_counter()
            loss = F.cross_entropy(net(images), labels)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            taken.append(time.perf_counter() - began)
        found.append(statistics.median(taken[3:]))
    return tuple(found)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(prog="python -m training.benchmarks.cached.step_time")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=20)
    settings = parser.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(0)
    seconds = {"SmallCNN": measure(SmallCNN(CLASSES), (1, PIXELS, PIXELS), settings.steps)}
    for name in ARCHITECTURES:
        model = build(resolve(f"scratch:{name}"), classes=CLASSES, image_size=IMAGE_SIZE)
        seconds[name] = measure(model.module, (3, IMAGE_SIZE, IMAGE_SIZE), settings.steps)
        print(name, *(f"{value * 1e3:.1f} ms" for value in seconds[name]))
    source = (
        f"median of {settings.steps} AdamW steps at batches of {BATCHES[0]} and {BATCHES[1]}, "
        f"one CPU thread, {date.today()}"
    )
    write_whole(settings.out, json.dumps({"source": source, "seconds": seconds}, indent=1).encode())


if __name__ == "__main__":
    main()
