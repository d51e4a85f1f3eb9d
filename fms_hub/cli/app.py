"""All commands together. Results on standard output, progress on standard error.

Exit codes: 0 done, 2 a mistake in what was asked, 1 anything else that failed, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import Annotated

import typer

import fms_hub
from fms_hub.cli import surrogate
from fms_hub.cli.contribute import contribute
from fms_hub.cli.featurize import featurize
from fms_hub.cli.import_runs import import_runs
from fms_hub.cli.importance import importance
from fms_hub.cli.plot import plot
from fms_hub.cli.recommend import recommend
from fms_hub.cli.select import demo, select
from fms_hub.errors import FMSHubError, UsageError

app = typer.Typer(
    name="fms-hub",
    help="Pick, fine-tune and hand back the best of many pretrained image models within a budget.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


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


app.command()(select)
app.command()(demo)
app.command()(featurize)
app.command()(contribute)
app.command()(recommend)
app.command("import")(import_runs)
app.command()(importance)
app.command()(plot)
app.add_typer(surrogate.app, name="surrogate")


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
