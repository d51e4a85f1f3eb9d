"""`fms-hub featurize`: what the weight graphs of candidates look like."""

from __future__ import annotations

import fnmatch
import json
import statistics
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Annotated, TypeVar

import typer

from fms_hub.cli.options import MaxDownload, Quiet
from fms_hub.errors import CandidateError, UsageError

T = TypeVar("T")


@dataclass(frozen=True)
class Row:
    """One described candidate.

    Attributes:
        candidate: its name.
        rung: how its structure was found: ``"meta"``, ``"real"`` or ``"modules"``.
        nodes, edges: of its graph.
        parameters: elements of all parameters.
        covered: share of them that nodes own, in [0, 1].
        seconds: what describing it took; next to nothing where it is in the cache.
    """

    candidate: str
    rung: str
    nodes: int
    edges: int
    parameters: int
    covered: float
    seconds: float


@dataclass(frozen=True)
class Census:
    """How many of timm's architectures can be described.

    Attributes:
        architectures: how many were tried.
        ok: how many a forward on the meta device described.
        failed: the others: ``{"architecture", "why"}``.
        covered: share of all their parameters that nodes own, in [0, 1].
        median_seconds: of building one without weights and tracing it.
    """

    architectures: int
    ok: int
    failed: list[dict[str, str]]
    covered: float
    median_seconds: float


def featurize(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            help="timm or Hugging Face ids, patterns, local-dir:PATH, scratch:ARCHITECTURE, bundled/NAME; "
            "with --all-timm patterns of architectures.",
            show_default=False,
        ),
    ] = None,
    structure_only: Annotated[bool, typer.Option("--structure-only", help="Read no weights.")] = False,
    stream: Annotated[
        bool, typer.Option("--stream", help="Read weights from the Hub without keeping them on disk.")
    ] = False,
    all_timm: Annotated[
        bool, typer.Option("--all-timm", help="Trace all of timm's architectures; needs --structure-only.")
    ] = False,
    max_download: MaxDownload = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 ... Default: cpu.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON: a list with one object a model; one with --all-timm.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Describe MODELs by their operations and weights; graphs are kept in the cache (FMS_HUB_CACHE)."""
    if all_timm:
        if not structure_only or stream:
            raise UsageError("--all-timm goes with --structure-only and without --stream.")
        census = take_census(models or ["*"], shown=not quiet)
        print(json.dumps(asdict(census)) if as_json else _report(census))
        return
    if not models:
        raise UsageError("expected at least one MODEL, found none. Try 'bundled/*'.")
    rows = describe_models(models, device, structure_only, stream, max_download, shown=not quiet)
    print(json.dumps([asdict(row) for row in rows]) if as_json else _table(rows))


def describe_models(
    models: Iterable[str],
    device: str | None,
    structure_only: bool,
    stream: bool,
    max_download: str | None = None,
    *,
    shown: bool,
) -> list[Row]:
    """One row for each candidate that the names stand for.

    Raises:
        CandidateError, HubError, StorageError: as in `fms_hub.weights.featurize.featurize`.
        UsageError: weights of more than `max_download` bytes would have to be read from the Hub.
    """
    from fms_hub.models import catalog, downloads
    from fms_hub.weights.featurize import featurize, is_kept

    candidates = catalog.resolve(models)
    if not structure_only:
        due = downloads.terms_of(item for item in candidates if not is_kept(item))
        downloads.require_within(due, max_download, shown=shown)
    rows = []
    for candidate in _progress(candidates, "describing", shown):
        started = time.perf_counter()
        graph = featurize(candidate, device=device, structure_only=structure_only, stream=stream)
        seconds = time.perf_counter() - started
        found = graph.structure
        rows.append(
            Row(
                candidate.name,
                found.rung,
                len(found.nodes),
                len(found.edges),
                found.parameters,
                found.covered / found.parameters,
                round(seconds, 4),
            )
        )
    return rows


def take_census(patterns: Iterable[str], *, shown: bool) -> Census:
    """Trace all architectures of the installed timm whose name matches a pattern; the cache is not asked.

    Raises:
        CandidateError: none matches.
    """
    from fms_hub.models import catalog, from_timm
    from fms_hub.weights.featurize import trace_candidate

    everything = from_timm.architectures()
    chosen = sorted({name for pattern in patterns for name in fnmatch.filter(everything, pattern)})
    if not chosen:
        raise CandidateError("no architecture of timm matches these patterns. Try 'resnet*'.")
    structures, seconds, failed = [], [], []
    for name in _progress(chosen, "tracing", shown):
        (candidate,) = catalog.resolve(f"scratch:{name}")
        started = time.perf_counter()
        try:
            structure = trace_candidate(candidate)
        except CandidateError as error:
            failed.append({"architecture": name, "why": str(error)})
            continue
        seconds.append(time.perf_counter() - started)
        structures.append(structure)
        if structure.rung != "meta":
            failed.append({"architecture": name, "why": structure.reason})
    total = sum(structure.parameters for structure in structures)
    covered = sum(structure.covered for structure in structures)
    return Census(
        len(chosen),
        len(chosen) - len(failed),
        failed,
        covered / max(total, 1),
        round(statistics.median(seconds), 4) if seconds else 0.0,
    )


def _progress(items: Iterable[T], what: str, shown: bool) -> Iterable[T]:
    from tqdm import tqdm

    bar: Iterable[T] = tqdm(items, desc=what, file=sys.stderr, disable=not shown, leave=False)
    return bar


def _table(rows: list[Row]) -> str:
    lines = [
        f"{'candidate':<44}  {'rung':<7}  {'nodes':>6}  {'edges':>6}  {'parameters':>13}  "
        f"{'covered':>8}  {'seconds':>7}"
    ]
    lines += [
        f"{r.candidate:<44}  {r.rung:<7}  {r.nodes:>6}  {r.edges:>6}  {r.parameters:>13,}  "
        f"{r.covered:>8.2%}  {r.seconds:>7.2f}"
        for r in rows
    ]
    return "\n".join(lines)


def _report(census: Census) -> str:
    lines = [f"{item['architecture']}: {item['why']}" for item in census.failed]
    lines.append(
        f"{census.ok} of {census.architectures} architectures traced without weights, "
        f"{census.covered:.4%} of their parameters covered, {census.median_seconds:.3f} s each (median)"
    )
    return "\n".join(lines)
