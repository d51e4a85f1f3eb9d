"""What giving back and pulling cost: a contribution of 10,000 epochs, and a surrogate that is cached.

    python -m training.benchmarks.hub --surrogate FILE [--rows 10000] [--repeats 5]

Run it with nothing else on the machine. Nothing is sent and nobody is asked: caches are temporary folders,
and the surrogate is put where a download would have left it. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from fms_hub.corpus.contribute import contribute
from fms_hub.corpus.schema import META_FEATURES
from fms_hub.hub.about import About, AboutCandidate, write_about
from fms_hub.hub.logbook import FILE_NAME as LOG
from fms_hub.models import catalog, zoo
from fms_hub.records import Observation, Value
from fms_hub.surrogate import pins
from fms_hub.surrogate.pretrained import FILE_NAME
from fms_hub.weights import cache
from fms_hub.weights.describe import describe
from training.benchmarks.overhead import Target

HORIZON: Final = 12
CANDIDATE: Final = "scratch:test_resnet"
REPO, COMMIT = "organisation/surrogate", "a" * 40
_TIMED: Final = """
import sys, time
from pathlib import Path
from fms_hub.surrogate.surrogate import Surrogate
read = Surrogate.load if sys.argv[1] == "load" else Surrogate.from_pretrained
name = Path(sys.argv[2]) if sys.argv[1] == "load" else sys.argv[2]
for _ in range(2):
    start = time.perf_counter()
    read(name)
    print(time.perf_counter() - start)
"""
"""Prints the seconds of a first and a second reading in a fresh process."""


def write_search(folder: Path, rows: int) -> None:
    """The folder of a search with so many epochs, each with a sketch of a real network."""
    (candidate,) = catalog.resolve(CANDIDATE)
    graph = describe(zoo.build(candidate, classes=10, image_size=32, seed=0).module, (3, 32, 32))
    first = folder / "sketches" / "r0000-e001.safetensors"
    first.parent.mkdir(parents=True)
    graph.save(first)
    content = first.read_bytes()
    lines = [json.dumps({"format_version": 1, "identity": {"seed": "0"}})]
    for number in range(rows):
        run, epoch = number // HORIZON, number % HORIZON + 1
        name = f"sketches/r{run:04d}-e{epoch:03d}.safetensors"
        (folder / name).write_bytes(content)
        lines.append(json.dumps(dataclasses.asdict(_observation(run, epoch, name))))
    (folder / LOG).write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_about(folder, _about(graph.structure.parameters))


def measure_contribution(rows: int) -> float:
    """Seconds to prepare a contribution of so many epochs, nothing sent."""
    with tempfile.TemporaryDirectory() as scratch, _cache(Path(scratch) / "cache"):
        write_search(Path(scratch) / "search", rows)
        with contextlib.redirect_stderr(io.StringIO()):
            start = time.perf_counter()
            found = contribute(Path(scratch) / "search", "organisation/corpus")
            seconds = time.perf_counter() - start
        if found.rows != rows:
            raise AssertionError(f"expected {rows} rows in the contribution, found {found.rows}")
        return seconds


def measure_pull(surrogate: Path, repeats: int) -> tuple[list[float], list[float]]:
    """Medians over fresh processes of a first and second reading: of the file, and by its name on the Hub."""
    with tempfile.TemporaryDirectory() as scratch, _cache(Path(scratch) / "cache"):
        content = surrogate.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        _put(Path(scratch) / "hf", content, digest)
        pins.keep(REPO, pins.Pin(COMMIT, digest))
        environment = {**os.environ, "HF_HOME": str(Path(scratch) / "hf"), "HF_HUB_OFFLINE": "1"}
        times: dict[str, list[list[float]]] = {"load": [], "pull": []}
        for _ in range(repeats):
            for kind, name in (("load", str(surrogate)), ("pull", REPO)):
                times[kind].append(_read_apart(kind, name, environment))
    load, pull = (
        [statistics.median(column) for column in zip(*found, strict=True)] for found in times.values()
    )
    return load, pull


def _read_apart(kind: str, name: str, environment: dict[str, str]) -> list[float]:
    done = subprocess.run(
        [sys.executable, "-c", _TIMED, kind, name],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return [float(line) for line in done.stdout.split()]


def _put(home: Path, content: bytes, digest: str) -> None:
    """As huggingface_hub keeps a downloaded file."""
    repo = home / "hub" / f"models--{REPO.replace('/', '--')}"
    blob, snapshot = repo / "blobs" / digest, repo / "snapshots" / COMMIT
    blob.parent.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    blob.write_bytes(content)
    (snapshot / FILE_NAME).symlink_to(blob)


@contextlib.contextmanager
def _cache(folder: Path) -> Iterator[None]:
    """Another folder for what this package keeps, while it lasts."""
    before = os.environ.get(cache.VARIABLE)
    os.environ[cache.VARIABLE] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ[cache.VARIABLE]
        else:
            os.environ[cache.VARIABLE] = before


def _observation(run: int, epoch: int, sketch: str) -> Observation:
    values: dict[str, Value] = {"learning_rate": 0.00123456789, "optimizer": "sgd", "batch_size": 32}
    score = 0.5 + epoch / 1000 + run / 10**5
    return Observation(
        run, CANDIDATE, values, epoch, HORIZON, score, 1.23456789, 1.23456, 0.1, 1234, sketch=sketch
    )


def _about(parameters: int) -> About:
    sizes = {"train": 1234, "validation": 345, "test": 56}
    features = dict.fromkeys(META_FEATURES, 0.5) | {"log_images": 5.4321}
    candidate = AboutCandidate(CANDIDATE, "scratch", "test_resnet", "scratch", "resnet", None, parameters)
    return About("5eed" * 16, 10, sizes, features, "accuracy", 32, "cpu", (candidate,))


def main() -> None:
    """Parse the command line, measure, and print the outcome."""
    parser = argparse.ArgumentParser(prog="python -m training.benchmarks.hub")
    parser.add_argument("--rows", type=int, default=10_000, help="epochs of the contribution")
    parser.add_argument("--repeats", type=int, default=5, help="processes that read the surrogate, each way")
    parser.add_argument("--surrogate", type=Path, required=True, help="file")
    arguments = parser.parse_args()
    seconds = measure_contribution(arguments.rows)
    load, pull = measure_pull(arguments.surrogate, arguments.repeats)
    targets = [
        Target(f"seconds to prepare a contribution of {arguments.rows} rows", 5.0, seconds),
        Target(
            "seconds of the first pull of a cached surrogate over loading its file", 0.3, pull[0] - load[0]
        ),
        Target("the same in a process that has pulled before", 0.3, pull[1] - load[1]),
    ]
    told = [{**dataclasses.asdict(target), "met": target.met} for target in targets]
    print(json.dumps({"load": load, "pull": pull, "targets": told}))


if __name__ == "__main__":
    main()
