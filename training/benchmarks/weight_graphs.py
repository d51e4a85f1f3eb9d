"""Coverage, invariance and speed of weight graphs.

    python -m training.benchmarks.weight_graphs [--part coverage|invariance|speed|gpu] [--out FILE] [--quick]

Prints tables and writes JSON. Coverage takes about a quarter of an hour on one core; speed needs an idle
machine with two cores; gpu needs a CUDA device. Without --part: coverage, invariance and speed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from training.benchmarks import coverage, invariance, sketch_speed

_LIMITS = {"output": 1e-9, "nodes": 1e-10, "pooled": 1e-10, "l2": 1e-10}
_QUICK_STEP = 200


@dataclass(frozen=True)
class Part:
    """Rows of one part as JSON, and its table as Markdown."""

    rows: list[dict[str, Any]]
    table: str


def measure_coverage(quick: bool) -> Part:
    """Structures of all architectures; every 200th timm one and three of transformers if quick."""
    names = {"timm": coverage.timm_names(), "transformers": coverage.transformers_names()}
    if quick:
        names = {"timm": names["timm"][::_QUICK_STEP], "transformers": ["vit", "resnet", "swin"]}
    rows: list[dict[str, Any]] = []
    lines: list[Sequence[object]] = []
    for library, chosen in names.items():
        traced = list(coverage.trace_all(library, chosen))
        found = coverage.summary(library, traced)
        reasons = {one.name: one.reason for one in traced if one.reason}
        rows.append(asdict(found) | {"reasons": reasons})
        lines.append(
            [
                library,
                f"{found.ok} of {found.architectures}",
                f"{found.reached:.5f}",
                f"{found.edges_per_node:.2f}",
                f"{found.median_seconds:.2f}",
                ", ".join((*found.failed, *found.incomplete)) or "none",
            ]
        )
    head = (
        "library",
        "followed",
        "parameters reached",
        "edges per node",
        "median seconds",
        "not, or < 99.9 %",
    )
    return Part(rows, markdown(head, lines))


def measure_invariance(quick: bool) -> Part:
    """Renumbering real networks; three of them if quick."""
    members = invariance.MEMBERS[: 3 if quick else None]
    found = [invariance.measure(member) for member in members]
    head = ("family", "classes", "both axes", "one axis", *_LIMITS, "one tensor: output", "one tensor: l2")
    lines = [
        [
            one.family,
            one.classes,
            f"{one.both_axes:.3f}",
            f"{one.one_axis:.4f}",
            *(f"{value:.0e}" for value in (one.output, one.nodes, one.pooled, one.l2)),
            f"{one.wrong_output:.0e}",
            f"{one.wrong_l2:.0e}",
        ]
        for one in found
    ]
    worst = {name: max(getattr(one, name) for one in found) for name in _LIMITS}
    least = min(one.wrong_output for one in found), min(one.wrong_l2 for one in found)
    lines.append(["worst", "", "", "", *(f"{v:.0e}" for v in worst.values()), *(f"{v:.0e}" for v in least)])
    return Part([asdict(one) for one in found], markdown(head, lines))


def measure_speed(quick: bool) -> Part:
    """L1 and L2 against forwards on two cores."""
    torch.set_num_threads(2)
    names = ("test_resnet", "test_vit") if quick else sketch_speed.CPU_MODELS
    found = [sketch_speed.on_cpu(name, 1 if quick else 7) for name in names]
    head = ("network", "forward of 8, s", "L1, s", "L2, s", "L1 / forward of 8", "L1 + L2 / forward of 16")
    return Part([asdict(one) for one in found], markdown(head, [_numbers(asdict(one)) for one in found]))


def measure_gpu(quick: bool) -> Part:
    """L1 of weights on a GPU against the device's copy bandwidth."""
    names = sketch_speed.GPU_MODELS[: 1 if quick else None]
    found = [sketch_speed.on_gpu(name, 3 if quick else 20) for name in names]
    head = ("network", "GB", "seconds", "GB/s", "copy GB/s", "share")
    return Part([asdict(one) for one in found], markdown(head, [_numbers(asdict(one)) for one in found]))


PARTS: dict[str, Callable[[bool], Part]] = {
    "coverage": measure_coverage,
    "invariance": measure_invariance,
    "speed": measure_speed,
    "gpu": measure_gpu,
}


def markdown(head: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    """A table."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows)


def _numbers(row: dict[str, Any]) -> list[object]:
    return [f"{value:.3g}" if isinstance(value, float) else value for value in row.values()]


def main() -> None:
    """Parse the command line, measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m training.benchmarks.weight_graphs")
    parser.add_argument("--part", choices=PARTS, default=None)
    parser.add_argument("--out", type=Path, default=Path("runs/weight_graphs.json"))
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    names = [arguments.part] if arguments.part else ["coverage", "invariance", "speed"]
    report: dict[str, Any] = {"benchmark": "weight_graphs", "quick": arguments.quick}
    for name in names:
        part = PARTS[name](arguments.quick)
        report[name] = part.rows
        print(f"{name}\n\n{part.table}\n", flush=True)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
