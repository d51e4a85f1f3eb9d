"""`fms-hub select` and `fms-hub demo`: search, and show what came out."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from fms_hub.cli.leaderboard import told
from fms_hub.cli.options import (
    Column,
    Data,
    DataRevision,
    Device,
    ImageSize,
    Json,
    MaxDownload,
    MaxEpochs,
    Metric,
    Names,
    Probe,
    Quiet,
    SkipBad,
    split_names,
)

DEMO_BUDGET = "40 epochs"
INTERRUPTED = 130
"""Exit code of a search that was interrupted."""

Out = Annotated[Path | None, typer.Option(help="Folder of the search; run again to resume.")]
Seed = Annotated[int, typer.Option(help="Of splits, heads, data order and proposals.")]


def select(
    data: Data,
    candidates: Names = None,
    budget: Annotated[str | None, typer.Option(help="'40 epochs', '20m', '1.5h'. Default: derived.")] = None,
    out: Out = None,
    warm_start: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of an earlier log over the same data, searched or imported; repeatable."),
    ] = None,
    seed: Seed = 0,
    max_epochs: MaxEpochs = 12,
    metric: Metric = "accuracy",
    surrogate: Annotated[
        str | None,
        typer.Option(
            help="bundled, scratch, ORGANISATION/NAME[@REVISION] on the Hub, a folder or a file. "
            "Default: bundled if one comes with this release, else scratch."
        ),
    ] = None,
    acquisition: Annotated[
        str,
        typer.Option(help="ei-per-epoch, ei, ei-per-second, random-horizon, at-fidelity or running-max."),
    ] = "ei-per-epoch",
    proposals: Annotated[
        str, typer.Option(help="Where new runs come from besides uniform draws: local or gflownet.")
    ] = "local",
    probe: Probe = False,
    forking: Annotated[
        bool,
        typer.Option(
            "--forking", help="Runs may go on from the best checkpoints with other hyperparameters."
        ),
    ] = False,
    device: Device = None,
    image_size: ImageSize = None,
    image_column: Column = None,
    label_column: Column = None,
    revision: DataRevision = None,
    skip_bad: SkipBad = False,
    keep_checkpoints: Annotated[
        int | None, typer.Option(help="Most checkpoints kept besides the best.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that prepare images.")] = None,
    parallel: Annotated[
        int, typer.Option(help="Epochs to train at once, in processes of their own, on all GPUs in turn.")
    ] = 1,
    max_download: MaxDownload = None,
    objective: Annotated[
        str | None,
        typer.Option(help="Weigh the score against latency, parameters or peak_memory: a Pareto front."),
    ] = None,
    max_latency: Annotated[
        str | None, typer.Option(help="Only candidates that are as fast for an image here, e.g. 5ms.")
    ] = None,
    max_parameters: Annotated[
        str | None, typer.Option(help="Only candidates that are as small, e.g. 1M.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find the candidate and hyperparameters that fine-tune best on DATA."""
    _select(
        data,
        split_names(candidates),
        budget=budget,
        out=out,
        warm_start=warm_start or (),
        seed=seed,
        max_epochs=max_epochs,
        metric=metric,
        surrogate=surrogate,
        acquisition=acquisition,
        proposals=proposals,
        probe=probe,
        forking=forking,
        device=device,
        image_size=image_size,
        image_column=image_column,
        label_column=label_column,
        revision=revision,
        skip_bad=skip_bad,
        keep_checkpoints=keep_checkpoints,
        workers=workers,
        parallel=parallel,
        max_download=max_download,
        objectives=("score",) if objective in (None, "score") else ("score", objective),
        max_latency=max_latency,
        max_parameters=max_parameters,
        progress=not quiet,
        as_json=as_json,
    )


def demo(
    out: Out = None,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fine-tune the bundled checkpoints on 1,797 scanned digits: offline, a few minutes on a CPU."""
    _select("digits", None, budget=DEMO_BUDGET, out=out, seed=seed, progress=not quiet, as_json=as_json)


def _select(data: str, candidates: list[str] | None, *, as_json: bool, **settings: Any) -> None:
    """Run a search and show what came out; an interrupted one says how to go on."""
    import fms_hub

    try:
        selection = fms_hub.select(data, candidates, **settings)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on where it stopped.", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    print(json.dumps(selection.to_json()) if as_json else told(selection))
