"""Checkpoints' weights in eight bits an entry: what shards carry of them where size counts.

A safetensors file has one tensor of bytes for each checkpoint, ``RUN/EPOCH@LAYOUT``: a step (float32) for
each of its tensors, then their entries (int8) in multiples of it, one tensor after the other. The header's
``LAYOUT`` lists the tensors' names and shapes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from fms_hub.corpus.schema import Fault

Half = NDArray[np.float16]
Layout = list[tuple[str, tuple[int, ...]]]

_MOST: Final = 127


def pack(tensors: Mapping[str, Half]) -> bytes:
    """The file's content; an entry is off by at most 1/254 of its tensor's largest, infinities aside.

    Args:
        tensors: by ``RUN/EPOCH/NAME``.
    """
    layouts: dict[str, str] = {}
    blobs = {}
    for checkpoint, owned in _by_checkpoint(tensors).items():
        text = json.dumps([(name, value.shape) for name, value in owned.items()])
        layout = layouts.setdefault(text, str(len(layouts)))
        blobs[f"{checkpoint}@{layout}"] = _blob(list(owned.values()))
    return save(blobs, {layout: text for text, layout in layouts.items()})


def unpack(path: Path) -> dict[str, Half]:
    """The tensors of a file, by ``RUN/EPOCH/NAME``.

    Raises:
        Fault: it is damaged.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            layouts = {key: json.loads(text) for key, text in (file.metadata() or {}).items()}
            return {
                f"{checkpoint}/{name}": value
                for key in file.keys()  # noqa: SIM118  (it is no mapping)
                for checkpoint, _, layout in [key.partition("@")]
                for name, value in _tensors(file.get_tensor(key), layouts[layout])
            }
    except (SafetensorError, ValueError, TypeError, KeyError) as error:
        raise Fault(f"{path.name} is damaged ({error})") from error


def _by_checkpoint(tensors: Mapping[str, Half]) -> dict[str, dict[str, Half]]:
    found: dict[str, dict[str, Half]] = {}
    for key, value in tensors.items():
        run, epoch, name = key.split("/", 2)
        found.setdefault(f"{run}/{epoch}", {})[name] = value
    return found


def _blob(values: list[Half]) -> NDArray[np.uint8]:
    steps, codes = [], []
    for value in values:
        near = np.nan_to_num(value.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
        steps.append(np.abs(near).max(initial=0) / _MOST)
        codes.append(np.rint(near / (steps[-1] or 1)).astype(np.int8).ravel())
    content = np.array(steps, "<f4").tobytes() + np.concatenate(codes).tobytes()
    return np.frombuffer(content, np.uint8)


def _tensors(blob: NDArray[np.uint8], layout: Layout) -> Iterator[tuple[str, Half]]:
    steps = blob[: 4 * len(layout)].view("<f4")
    codes = blob[4 * len(layout) :].view(np.int8)
    sizes = [math.prod(shape) for _, shape in layout]
    if sum(sizes) != len(codes):
        raise ValueError(f"{len(codes)} entries, expected {sum(sizes)}")
    parts = np.split(codes, np.cumsum(sizes)[:-1])
    for (name, shape), step, part in zip(layout, steps, parts, strict=True):
        yield name, (part.astype(np.float32) * step).astype(np.float16).reshape(shape)
