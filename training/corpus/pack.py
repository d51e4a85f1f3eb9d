"""Write packs: `python -m training.corpus pack`; see `training.corpus.packed` for the format."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fms_hub.corpus.wholefile import write_whole
from fms_hub.errors import TaskError
from fms_hub.tasks.images import ArrayImages
from fms_hub.tasks.splits import SPLITS
from fms_hub.tasks.task import Split
from training.corpus.packed import VERSION, Pack, read_pack, sheet
from training.corpus.plan import PlannedRun
from training.corpus.tasks import IMAGE_SIZE, SPLIT_SEED, provenance, read_task

MOST_BYTES = 12 * 10**6
QUALITY = 80


def write_pack(
    data: Path,
    out: Path,
    hubs: Mapping[str, Sequence[str]],
    planned: Sequence[PlannedRun],
    quality: int = QUALITY,
) -> Pack:
    """Pack the splits that sweeps train on, at most `IMAGE_SIZE` pixels wide.

    Args:
        data: folder of the dataset files.
        out: the pack.
        hubs: names of the tasks of each hub.
        planned: the sweep of the timm-tiny hub, so that it can be done without ConfigSpace.
        quality: of WebP, 0 to 100.

    Raises:
        TaskError: a dataset cannot be read, or the pack would be larger than `MOST_BYTES`.
    """
    arrays: dict[str, NDArray[Any]] = {}
    tasks: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(name for names in hubs.values() for name in names):
        tasks[name] = _pack_task(data, name, quality, arrays)
    meta = {
        "version": VERSION,
        "tasks": tasks,
        "hubs": {hub: list(names) for hub, names in hubs.items()},
        "made": f"stratified splits of training.corpus.tasks with seed {SPLIT_SEED}, reduced to at most "
        f"{IMAGE_SIZE} pixels (bicubic, antialiased), in sheets of WebP of quality {quality}",
    }
    content = _npz(arrays, meta, planned)
    if len(content) > MOST_BYTES:
        raise TaskError(
            f"the pack would have {len(content) / 1e6:.1f} MB, expected at most {MOST_BYTES / 1e6:.0f}. "
            "Lower --quality, or pack fewer tasks."
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, content)
    return read_pack(out)


def _pack_task(data: Path, name: str, quality: int, arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
    task = read_task(data, name, None)
    parts = {split: _reduced(getattr(task, split)) for split in SPLITS}
    grey = all(images.ndim == 3 or _is_grey(images) for images in parts.values())
    for split, images in parts.items():
        chosen = images[..., 0] if grey and images.ndim == 4 else images
        arrays[f"{name}/{split}/sheet"] = _webp(sheet(chosen), quality)
        arrays[f"{name}/{split}/labels"] = getattr(task, split).labels.astype(np.int16)
    return {
        "classes": list(task.info.classes),
        "side": parts["train"].shape[1],
        "mode": "L" if grey else "RGB",
        "seed": SPLIT_SEED,
        "fingerprint": task.info.fingerprint,
        **asdict(provenance(data, name)),
    }


def _reduced(split: Split) -> NDArray[np.uint8]:
    """Images (n, s, s) or (n, s, s, 3), s at most `IMAGE_SIZE`; smaller ones stay as they are."""
    assert isinstance(split.images, ArrayImages)
    pixels = split.images.pixels
    height, width = pixels.shape[1:3]
    if height == width <= IMAGE_SIZE:
        return pixels
    size = (IMAGE_SIZE, IMAGE_SIZE)
    return np.stack([np.asarray(Image.fromarray(p).resize(size, Image.Resampling.BICUBIC)) for p in pixels])


def _is_grey(images: NDArray[np.uint8]) -> bool:
    return all(bool((images[..., 0] == images[..., channel]).all()) for channel in (1, 2))


def _webp(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=quality, method=4)
    return np.frombuffer(buffer.getvalue(), dtype=np.uint8)


def _npz(arrays: dict[str, NDArray[Any]], meta: dict[str, Any], planned: Sequence[PlannedRun]) -> bytes:
    plan = json.dumps([asdict(run) for run in planned]).encode()
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        allow_pickle=False,
        meta=np.array(json.dumps(meta)),
        plan=np.frombuffer(plan, np.uint8),
        **arrays,
    )
    return buffer.getvalue()
