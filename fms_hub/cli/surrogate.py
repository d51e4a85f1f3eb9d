"""`fms-hub surrogate`: which surrogates are known here, what they are, and getting others."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fms_hub.errors import UsageError

if TYPE_CHECKING:
    from fms_hub.surrogate.pretrained import Located
    from fms_hub.surrogate.surrogate import Surrogate

app = typer.Typer(help="List, describe, verify and pull surrogates.", no_args_is_help=True)

Name = Annotated[
    str, typer.Argument(help="bundled, ORGANISATION/NAME[@REVISION] on the Hub, a folder or a file.")
]
Sha256 = Annotated[str | None, typer.Option(help="That the file must have.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


@app.command("list")
def list_known(
    hub: Annotated[bool, typer.Option("--hub", help="Also those that the Hub has.")] = False,
    as_json: Json = False,
) -> None:
    """List the bundled surrogate and those that are pinned; --hub asks for what else there is."""
    from fms_hub.hub import client
    from fms_hub.surrogate import pins, pretrained

    rows: list[dict[str, Any]] = []
    if pretrained.has_bundled():
        sha256 = pretrained.locate(pretrained.BUNDLED).source.sha256
        rows.append({"name": pretrained.BUNDLED, "commit": None, "sha256": sha256, "here": True})
    for name, pin in sorted(pins.all_pins().items()):
        here = client.is_kept(name.partition("@")[0], pin.commit, pretrained.FILE_NAME)
        rows.append({"name": name, "commit": pin.commit, "sha256": pin.sha256, "here": here})
    there = client.tagged(pretrained.TAG) if hub else ()
    known = {row["name"] for row in rows}
    rows += [{"name": n, "commit": None, "sha256": None, "here": False} for n in there if n not in known]
    print(json.dumps(rows) if as_json else _table(rows))


@app.command()
def info(
    name: Name,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit.")] = None,
    as_json: Json = False,
) -> None:
    """Describe a surrogate; one of the Hub is fetched, and not pinned."""
    from fms_hub.surrogate import pretrained

    found = pretrained.locate(name, revision=revision)
    told = describe(found, _load(found))
    print(json.dumps(told) if as_json else _lines(told))


@app.command()
def verify(name: Name, sha256: Sha256 = None, as_json: Json = False) -> None:
    """Compare a surrogate's file with its pin, or with --sha256, and read all of it."""
    from fms_hub.surrogate import pins, pretrained

    found = pretrained.locate(name, sha256=sha256)
    pinned = found.name is not None and pins.pin_of(found.name) is not None
    if found.source.repo is not None and not pinned and sha256 is None:
        raise UsageError(
            f"{name} was never used here, so there is nothing to compare it with; give --sha256, or pin what "
            f"the Hub has with `fms-hub surrogate pull {name}`."
        )
    _load(found)
    compared = [what for what, done in (("pin", pinned), ("--sha256", sha256 is not None)) if done]
    told = {"name": name, **_source(found), "compared_with": compared}
    print(
        json.dumps(told) if as_json else f"sound: {found.source} ({' and '.join(compared) or 'read whole'})"
    )


@app.command()
def pull(
    name: Annotated[str, typer.Argument(help="ORGANISATION/NAME[@REVISION] on the Hub.")],
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit.")] = None,
    sha256: Sha256 = None,
    as_json: Json = False,
) -> None:
    """Fetch what the Hub has under NAME now, and let NAME stand for it from then on."""
    from fms_hub.surrogate import pins, pretrained

    found = pretrained.locate(name, revision=revision, sha256=sha256, update=True)
    if found.name is None:
        raise UsageError(f"{name} is on this disk already; pull takes ORGANISATION/NAME of the Hub.")
    before = pins.pin_of(found.name)
    _load(found)
    found.pin()
    told = {"name": found.name, **_source(found), "before": None if before is None else before.commit}
    news = "pinned" if before is None else f"moved from {before.commit}"
    if before is not None and before.commit == found.source.commit:
        news = "as before"
    print(json.dumps(told) if as_json else f"{found.source} ({news})")


def describe(found: Located, surrogate: Surrogate) -> dict[str, Any]:
    """What a surrogate is, as JSON values."""
    from fms_hub.surrogate import storage

    learned = surrogate.learned
    return {
        "name": surrogate.name,
        **_source(found),
        "path": str(found.path),
        "bytes": found.path.stat().st_size,
        "format_version": storage.FORMAT_VERSION,
        "meta_trained": learned is not None,
        "hyperparameters": [] if learned is None else list(learned.hyperparameters),
        "inputs": [] if learned is None else list(learned.widths),
        "observations": 0 if surrogate.data is None else len(surrogate.data.y),
    }


def _load(found: Located) -> Surrogate:
    from fms_hub.surrogate.surrogate import Surrogate

    return Surrogate.load(found.path)


def _source(found: Located) -> dict[str, Any]:
    source = found.source
    return {"repo": source.repo, "commit": source.commit, "sha256": source.sha256}


def _lines(told: dict[str, Any]) -> str:
    values = {k: ", ".join(v) if isinstance(v, list) else v for k, v in told.items()}
    return "\n".join(f"{key:<16}{'-' if value in (None, '') else value}" for key, value in values.items())


def _table(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "none is known here; `fms-hub surrogate list --hub` asks the Hub."
    width = max(len(row["name"]) for row in rows)
    lines = [f"{'name':<{width}}  {'commit':<12}  {'sha256':<12}  here"]
    for row in rows:
        commit, sha256 = (row["commit"] or "-")[:12], (row["sha256"] or "-")[:12]
        lines.append(f"{row['name']:<{width}}  {commit:<12}  {sha256:<12}  {'yes' if row['here'] else 'no'}")
    return "\n".join(lines)
