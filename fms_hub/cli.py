"""`fms-hub`: the command line. Results on standard output, progress on standard error.

Exit codes: 0 done, 2 a mistake in what was asked, 1 anything else that failed, 130 interrupted.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import fms_hub
from fms_hub import (
    cli_contribute,
    cli_featurize,
    cli_import,
    cli_importance,
    cli_plot,
    cli_recommend,
    cli_surrogate,
)
from fms_hub.errors import FMSHubError, UsageError

if TYPE_CHECKING:
    from fms_hub.search.selection import Selection

DEMO_BUDGET = "40 epochs"
INTERRUPTED = 130

app = typer.Typer(
    name="fms-hub",
    help="Pick, fine-tune and hand back the best of many pretrained image models within a budget.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")]
Seed = Annotated[int, typer.Option(help="Of splits, heads, data order and proposals.")]


def _print_version(asked: bool) -> None:
    if asked:
        print(f"fms-hub {fms_hub.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Pick, fine-tune and hand back the best of many pretrained image models within a budget."""


@app.command()
def select(
    data: Annotated[str, typer.Argument(help="Folder of class folders, Hub dataset id, or 'digits'.")],
    candidates: Annotated[
        list[str] | None,
        typer.Option(
            "--candidates",
            "-c",
            help="timm or Hugging Face ids, patterns, local-dir:PATH, scratch:ARCHITECTURE; "
            "repeat it or separate by commas. Default: the bundled checkpoints.",
        ),
    ] = None,
    budget: Annotated[str | None, typer.Option(help="'40 epochs', '20m', '1.5h'. Default: derived.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the search; run again to resume.")] = None,
    warm_start: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of an earlier log over the same data, searched or imported; repeatable."),
    ] = None,
    seed: Seed = 0,
    max_epochs: Annotated[int, typer.Option(help="Epochs of a full run.")] = 12,
    metric: Annotated[str, typer.Option(help="accuracy, balanced_accuracy or macro_f1.")] = "accuracy",
    surrogate: Annotated[
        str | None,
        typer.Option(
            help="bundled, scratch, ORGANISATION/NAME[@REVISION] on the Hub, a folder or a file. "
            "Default: bundled if one comes with this release, else scratch."
        ),
    ] = None,
    acquisition: Annotated[
        str, typer.Option(help="ei, ei-per-second, random-horizon, at-fidelity or running-max.")
    ] = "ei",
    proposals: Annotated[
        str, typer.Option(help="Where new runs come from besides uniform draws: local or gflownet.")
    ] = "local",
    probe: Annotated[
        bool, typer.Option("--probe", help="Look at every candidate's features of some images first.")
    ] = False,
    forking: Annotated[
        bool,
        typer.Option(
            "--forking", help="Runs may go on from the best checkpoints with other hyperparameters."
        ),
    ] = False,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 ... Default: a GPU if any.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Pixels. Default: each candidate's own.")] = None,
    image_column: Annotated[str | None, typer.Option(help="Of a datasets table.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Of a datasets table.")] = None,
    revision: Annotated[str | None, typer.Option(help="Of a Hub dataset.")] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out unreadable images.")] = False,
    keep_checkpoints: Annotated[
        int | None, typer.Option(help="Most checkpoints kept besides the best.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that prepare images.")] = None,
    parallel: Annotated[
        int, typer.Option(help="Epochs to train at once, in processes of their own, on all GPUs in turn.")
    ] = 1,
    max_download: Annotated[
        str | None, typer.Option(help="Most weights to fetch from the Hub, e.g. 500MB.")
    ] = None,
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
    names = [name for item in candidates or [] for name in item.split(",") if name]
    _select(
        data,
        names or None,
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


@app.command()
def demo(
    out: Annotated[Path | None, typer.Option(help="Folder of the search; run again to resume.")] = None,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fine-tune the bundled checkpoints on 1,797 scanned digits: offline, a few minutes on a CPU."""
    _select("digits", None, budget=DEMO_BUDGET, out=out, seed=seed, progress=not quiet, as_json=as_json)


app.command()(cli_featurize.featurize)
app.command()(cli_contribute.contribute)
app.command()(cli_recommend.recommend)
app.command("import")(cli_import.import_runs)
app.command()(cli_importance.importance)
app.command()(cli_plot.plot)
app.add_typer(cli_surrogate.app, name="surrogate")


def _select(data: str, candidates: list[str] | None, *, as_json: bool, **settings: Any) -> None:
    """Run a search and show what came out; an interrupted one says how to go on."""
    try:
        selection = fms_hub.select(data, candidates, **settings)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on where it stopped.", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    _show(selection, as_json)


def _show(selection: Selection, as_json: bool) -> None:
    if as_json:
        print(json.dumps(selection.to_json()))
        return
    best = selection.best
    print(_table(selection))
    settings = ", ".join(f"{name}={_short(value)}" for name, value in best.hyperparameters.items())
    if len(selection.front) > 1:
        print(_front(selection))
    print(f"\nbest       {best.candidate} after {best.epochs} epochs")
    print(f"settings   {settings}")
    print(
        f"score      {best.score:.4f} validation {selection.metric}, {best.test_score:.4f} on the test split"
    )
    print(f"spent      {selection.spent.epochs} epochs, {selection.spent.seconds:.0f} s")
    print(f"surrogate  {selection.surrogate}")
    print(f"out        {selection.out}")


def _table(selection: Selection, rows: int = 12) -> str:
    """The leaderboard as text, with the settings that matter most."""
    board = selection.leaderboard()
    lines = [
        f"{'run':>4}  {'score':>6}  {'epochs':>6}  {'candidate':<40}  {'learning rate':>13}  {'status':<8}  "
        "licence"
    ]
    for run, row in board.head(rows).iterrows():
        score = "-" if row["score"] is None or row["score"] != row["score"] else f"{row['score']:.4f}"
        rate = _short(row["hyperparameters"].get("learning_rate", "-"))
        licence = f"{(row['licence'] or '-')[:24]}{' (gated)' if row['gated'] else ''}"
        lines.append(
            f"{run:>4}  {score:>6}  {row['epochs']:>6}  {row['candidate']:<40}  {rate:>13}  "
            f"{row['status']:<8}  {licence}"
        )
    if len(board) > rows:
        lines.append(f"      ... and {len(board) - rows} more runs")
    return "\n".join(lines)


def _front(selection: Selection) -> str:
    """The Pareto front as text, best score first."""
    lines = ["", "front:"]
    for point in selection.front:
        costs = ", ".join(f"{cost} {_short(value)}" for cost, value in point.costs.items())
        lines.append(
            f"{point.run:>4}  {point.score:>6.4f}  {point.epochs:>6}  {point.candidate:<40}  {costs}"
        )
    return "\n".join(lines)


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _warn_in_one_line(message: Warning | str, *_: object) -> None:
    print(f"warning: {message}", file=sys.stderr)


def main() -> None:
    """Run the command line; errors of ours become one line and an exit code."""
    warnings.showwarning = _warn_in_one_line  # type: ignore[assignment]
    # What the Hub's client would warn of stands in our own errors; whoever sets the variable sees it, too.
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    try:
        app()
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except FMSHubError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
