"""What candidates cost to use on this device, measured once and kept in the search's folder.

A latency is never measured twice alike; a search that is resumed must go on from what it has seen before.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from fms_hub.corpus.wholefile import write_whole
from fms_hub.errors import CheckpointError, StorageError
from fms_hub.finetune.failures import failures
from fms_hub.finetune.trainer import Trainer
from fms_hub.models.model import evaluating
from fms_hub.models.zoo import build
from fms_hub.records import Candidate
from fms_hub.search.objectives import Cost
from fms_hub.search.progress import counting_bar

FILE_NAME: Final = "costs.json"
FORMAT_VERSION: Final = 1
WARM_UP, FORWARDS = 3, 11
"""Forward passes before the clock counts, and those whose median is taken."""

Costs = Mapping[Cost, float]


@dataclass(frozen=True)
class KeptCosts:
    """Costs of candidates as a file keeps them.

    Attributes:
        setting: what they hold for: device, image size, number of classes.
        fingerprints: of the candidates, by name.
        costs: by candidate.
    """

    setting: Mapping[str, str]
    fingerprints: Mapping[str, str]
    costs: Mapping[str, Costs]

    def of(self, candidate: Candidate, wanted: Sequence[Cost]) -> Costs | None:
        """What is known of a candidate, None unless it is all that is wanted."""
        known = self.costs.get(candidate.name, {})
        if self.fingerprints.get(candidate.name) != candidate.fingerprint or not set(wanted) <= set(known):
            return None
        return {cost: known[cost] for cost in wanted}


def costs_of(
    candidates: Sequence[Candidate],
    trainer: Trainer,
    wanted: Sequence[Cost],
    folder: Path,
    *,
    progress: bool,
) -> KeptCosts:
    """Read the costs of candidates from a search's folder, and measure what is not there.

    Pretrained weights are neither needed nor fetched, but those of transformers and of Hub folders.

    Args:
        candidates: of the search.
        trainer: of the search; its device and image size are those of the measurement.
        wanted: what is to be found out; nothing is measured where it is empty.
        folder: of the search; nothing is written.
        progress: draw a bar on standard error.

    Raises:
        CandidateError, HubError: a candidate cannot be built.
        CheckpointError: the file there is damaged.
        TrainingFailure: the device has not enough memory for a candidate.
    """
    setting = {
        "device": trainer.device.type,
        "image_size": str(trainer.image_size or "own"),
        "classes": str(len(trainer.task.info.classes)),
    }
    if not wanted:
        return KeptCosts(setting, {}, {candidate.name: {} for candidate in candidates})
    before = read_costs(folder)
    known = KeptCosts(setting, {}, {}) if before is None or before.setting != setting else before
    bar = counting_bar("measuring candidates", shown=progress)
    found: dict[str, Costs] = {}
    for number, candidate in enumerate(candidates, start=1):
        found[candidate.name] = known.of(candidate, wanted) or measure(candidate, trainer, wanted)
        bar(number, len(candidates))
    return KeptCosts(setting, {c.name: c.fingerprint for c in candidates}, found)


def write_costs(folder: Path, kept: KeptCosts) -> None:
    """Write the file, whole or not at all.

    Raises:
        StorageError: the folder cannot be written.
    """
    content = {
        "format_version": FORMAT_VERSION,
        "setting": dict(kept.setting),
        "fingerprints": dict(kept.fingerprints),
        "costs": {name: dict(costs) for name, costs in kept.costs.items()},
    }
    try:
        write_whole(folder / FILE_NAME, json.dumps(content, indent=2, sort_keys=True).encode())
    except OSError as error:
        raise StorageError(f"cannot write {folder / FILE_NAME}: {error}. Make room and run again.") from error


def read_costs(folder: Path) -> KeptCosts | None:
    """Read what `write_costs` wrote; None where there is no such file.

    Raises:
        CheckpointError: it is damaged or of another format version.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        return None
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if raw["format_version"] != FORMAT_VERSION:
            raise ValueError(f"another format version than {FORMAT_VERSION}")
        costs = {name: {cost: _positive(v) for cost, v in own.items()} for name, own in raw["costs"].items()}
        return KeptCosts(dict(raw["setting"]), dict(raw["fingerprints"]), costs)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is damaged ({error}). Remove it, and the candidates are measured anew."
        ) from error


def latency(module: nn.Module, image: Tensor) -> float:
    """Milliseconds of one forward pass, the median of several; the module's mode stays as it was.

    Args:
        module: on the image's device.
        image: a batch of one, (1, 3, size, size).
    """
    taken = []
    with evaluating(module):
        for _ in range(WARM_UP + FORWARDS):
            started = time.perf_counter()
            module(image)
            if image.device.type == "cuda":
                torch.cuda.synchronize(image.device)
            taken.append(time.perf_counter() - started)
    return 1e3 * statistics.median(taken[WARM_UP:])


def peak_memory(module: nn.Module, image: Tensor) -> float:
    """Megabytes of GPU memory that weights, image and one forward pass take at most together.

    Args:
        module: on the image's device, which is a CUDA device.
        image: a batch of one, (1, 3, size, size).
    """
    own = sum(t.nbytes for t in [image, *module.parameters(), *module.buffers()])
    with evaluating(module):
        module(image)
        torch.cuda.synchronize(image.device)
        torch.cuda.reset_peak_memory_stats(image.device)
        before = torch.cuda.memory_allocated(image.device)
        module(image)
        torch.cuda.synchronize(image.device)
    return (own + torch.cuda.max_memory_allocated(image.device) - before) / 1e6


def measure(candidate: Candidate, trainer: Trainer, wanted: Sequence[Cost]) -> Costs:
    """The costs of a candidate's network with the task's head, on the trainer's device at its image size."""
    model = build(
        candidate,
        classes=len(trainer.task.info.classes),
        image_size=trainer.image_size,
        seed=trainer.seed,
        weights=False,
    )
    found: dict[Cost, float] = {}
    with failures(f"measuring {candidate.name}"):
        module = model.module.to(trainer.device)
        image = torch.zeros(1, 3, model.input.size, model.input.size, device=trainer.device)
        if "latency" in wanted:
            found["latency"] = latency(module, image)
        if "parameters" in wanted:
            found["parameters"] = float(sum(p.numel() for p in module.parameters()))
        if "peak_memory" in wanted:
            found["peak_memory"] = peak_memory(module, image)
    return found


def _positive(value: Any) -> float:
    if not (type(value) is float and math.isfinite(value) and value > 0):
        raise ValueError(f"a cost of {value!r}")
    return value
