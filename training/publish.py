"""Publish a surrogate: a folder with its card, and on request a tagged repository of the Hub.

    python -m training.publish --surrogate FILE --out FOLDER [--results JSON ...] [--pictures SVG ...]
        [--card MARKDOWN] [--licence apache-2.0] [--repo ORGANISATION/NAME [--tag v1] [--yes]]

FILE is what `training.meta_train` wrote; the JSON beside it is told in the card. ``--results`` are what
benchmarks printed with ``--json``; the rows of ``fms`` go to the card's model-index, all of them to its text.
``--pictures`` are files that they drew; one that is called like a benchmark stands with its results.
The text comes from ``--card``, or from ``model_cards/surrogate-NAME.md`` where that is there. Nothing is sent
without ``--yes``. Printed is one JSON object, with what `fms_hub.surrogate.pins.KNOWN` needs.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, get_args

import yaml  # type: ignore[import-untyped]

from fms_hub.errors import CheckpointError, FMSHubError, OutputError, UsageError
from fms_hub.hub import publishing
from fms_hub.surrogate import card, pretrained, storage
from fms_hub.surrogate.surrogate import Surrogate
from training.benchmarks.cached.folds import Split
from training.benchmarks.cached.regrets import OURS
from training.benchmarks.cached.report import Report, TableRow, Target

CARDS: Final = Path(__file__).parents[1] / "model_cards"
_USE: Final = """\
## Use

```
pip install fms_hub
fms-hub recommend path/to/images --surrogate {repo}
```

The name stands for the same file from its first use on; `fms-hub surrogate pull {repo}` moves it.
"""


_USE_FOLDER: Final = """\
## Use

`fms-hub recommend path/to/images --surrogate FOLDER`, with the folder of this file. What comes with the
package is called `bundled` and needs no name.
"""
_NUMBERS: Final = {
    "group left out": ("covered_before_widening", "foresight_error"),
    "how much of a run is seen": ("widening", "lean"),
}
"""Tables of numbers, by what their rows are: their columns, by their keys in the JSON."""
_TABLES: Final = {
    "corpus": ("shards of", "sha256 over the sha256 of their files"),
    "data": ("images of the tasks", "licence"),
    "pretraining": ("images that candidates were pretrained on", "licence"),
}
"""Tables of what it was trained on, by their key in the JSON, with their heads."""


@dataclass(frozen=True)
class Told:
    """What a card is made of.

    Attributes:
        name: of the surrogate.
        licence: as the Hub names it.
        training: what `training.meta_train` wrote beside the file; empty where there is nothing.
        results: of benchmarks.
        pictures: files for the folder, of different names.
        text: what people wrote about it, Markdown.
    """

    name: str
    licence: str
    training: Mapping[str, Any] = field(default_factory=dict)
    results: Sequence[Report] = ()
    pictures: Sequence[Path] = ()
    text: str = ""


@dataclass(frozen=True)
class Outcome:
    """What was, or would be, published."""

    folder: str
    sha256: str
    bytes: int
    repo: str | None
    tag: str | None
    sent: bool
    commit: str | None = None
    address: str | None = None


def write_folder(surrogate: Path, out: Path, told: Told, repo: str | None) -> Path:
    """Write what a repository gets: the very file, its header as config.json, the card.

    Args:
        surrogate: the file.
        out: the folder, new or written before.
        told: in the card.
        repo: it is meant for; None where it stays a folder.

    Raises:
        CheckpointError: the file is damaged.
        UsageError: it is not meta-trained, or has seen a search.
        OutputError: the folder has other files, or cannot be written.
    """
    loaded = Surrogate.load(surrogate)
    if loaded.learned is None or loaded.data is not None:
        raise UsageError(
            f"{surrogate} is not fit for others: expected a meta-trained surrogate that has seen no search. "
            "Give one of `python -m training.meta_train`."
        )
    names = {pretrained.FILE_NAME, card.CONFIG, card.FILE, *(path.name for path in told.pictures)}
    try:
        out.mkdir(parents=True, exist_ok=True)
        strange = sorted({path.name for path in out.iterdir()} - names)
        if strange:
            raise OutputError(f"{out} has other files ({', '.join(strange[:3])}); name a new folder.")
        shutil.copyfile(surrogate, out / pretrained.FILE_NAME)
        for path in told.pictures:
            shutil.copyfile(path, out / path.name)
        (out / card.CONFIG).write_text(card.config(storage.header(surrogate)), encoding="utf-8")
        (out / card.FILE).write_text(render(told, repo), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write {out}: {error}. Choose another folder.") from error
    return out


def render(told: Told, repo: str | None) -> str:
    """The card: metadata with model-index in YAML, then text and tables."""
    head: dict[str, Any] = {
        "library_name": "fms_hub",
        "license": told.licence,
        "tags": [pretrained.TAG, "gaussian-process", "hyperparameter-optimization"],
    }
    entries = [entry for report in told.results for entry in _entries(report)]
    if entries:
        head["model-index"] = [{"name": told.name, "results": entries}]
    parts = [
        f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---",
        told.text.strip() or f"# {told.name}\n\nA surrogate of fms_hub, meta-trained on logged runs.",
        (_USE_FOLDER if repo is None else _USE.format(repo=repo)).strip(),
    ]
    if told.training:
        parts.append("## Training\n\n" + _training(told.training))
    pictures = {path.stem: f"![{path.stem}]({path.name})" for path in told.pictures}
    for report in told.results:
        heading = ", ".join(filter(None, (report.benchmark, _split(report))))
        parts.append(f"## Results: {heading}\n\n{report.markdown()}")
        parts += [pictures.pop(report.benchmark)] if report.benchmark in pictures else []
    parts += pictures.values()
    return "\n\n".join(parts) + "\n"


def _is_ours(row: TableRow) -> bool:
    return row.method.partition(":")[0] == OURS


def _split(report: Report) -> Split | None:
    """The split of the corpus that the setting names."""
    return next((split for split in get_args(Split) if split in report.setting), None)


def _entries(report: Report) -> Iterator[dict[str, Any]]:
    """Our rows as model-index has them, an entry for each hub; intervals stand in the metrics' arguments."""
    ours = [row for row in report.rows if _is_ours(row)]
    split = _split(report)
    for hub in dict.fromkeys(row.hub for row in ours):
        metrics = [
            {
                "type": row.metric,
                "name": f"{row.metric}, {row.at}",
                "value": round(row.mean, 4),
                "args": {"low": round(row.low, 4), "high": round(row.high, 4), "searches": row.n},
            }
            for row in ours
            if row.hub == hub
        ]
        yield {
            "task": {"type": "model-selection", "name": report.benchmark},
            "dataset": {"type": hub, "name": f"runs of the hub {hub}"} | ({"split": split} if split else {}),
            "metrics": metrics,
        }


def _training(training: Mapping[str, Any]) -> str:
    """What was trained on, and tables of what is told by groups, stages of runs, shards and data."""
    lines = [
        f"Meta-trained on {training['runs']} runs of the hub {training['hub']}, tasks "
        f"{', '.join(training['tasks'])} ({training['seconds']:.0f} s)."
    ]
    for first, names in _NUMBERS.items():
        columns = {name: training[name] for name in names if name in training}
        heads = [first, *(name.replace("_", " ") for name in columns)]
        rows = [heads, ["---"] * len(heads)]
        keys = dict.fromkeys(key for column in columns.values() for key in column)
        rows += [[k, *(f"{c[k]:.3f}" if k in c else "" for c in columns.values())] for k in keys]
        lines += ["", *("| " + " | ".join(row) + " |" for row in rows)]
    for name, (what, told) in _TABLES.items():
        if training.get(name):
            lines += ["", f"| {what} | {told} |", "| --- | --- |"]
            lines += [f"| {key} | {value} |" for key, value in sorted(training[name].items())]
    return "\n".join(lines)


def read_results(path: Path) -> Report:
    """A benchmark's result, as it printed it with ``--json``.

    Raises:
        CheckpointError: it is something else.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        rows = [TableRow(**row) for row in raw["rows"]]
        return Report(raw["benchmark"], raw["setting"], rows, [Target(**item) for item in raw["targets"]])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is no result of a benchmark's --json ({error}).") from error


def _pictures(paths: Sequence[Path]) -> Sequence[Path]:
    """Those paths.

    Raises:
        UsageError: one is no file of a picture, or two have one name.
    """
    for path in paths:
        if path.suffix not in (".svg", ".png") or not path.is_file():
            raise UsageError(f"{path} is no picture: expected an .svg or .png file that is there.")
    if len({path.name for path in paths}) < len(paths):
        raise UsageError("pictures must have different names, as they come into one folder.")
    return paths


def main() -> None:
    """Parse the command line, write the folder, and publish it if that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m training.publish")
    parser.add_argument("--surrogate", type=Path, required=True, help="file of a meta-trained surrogate")
    parser.add_argument("--out", type=Path, required=True, help="folder that the repository gets")
    parser.add_argument("--results", type=Path, nargs="*", default=[], help="JSON of benchmarks")
    parser.add_argument("--pictures", type=Path, nargs="*", default=[], help="SVG or PNG for the card")
    parser.add_argument(
        "--card", type=Path, help="Markdown; default: model_cards/surrogate-NAME.md, if it is there"
    )
    parser.add_argument("--licence", default="apache-2.0", help="as the Hub names it")
    parser.add_argument("--repo", help="ORGANISATION/NAME")
    parser.add_argument("--tag", help="name of this version, e.g. v1")
    parser.add_argument("--yes", action="store_true", help="send it; without it nothing is sent")
    arguments = parser.parse_args()
    try:
        print(json.dumps(asdict(_publish(arguments))))
    except FMSHubError as error:
        parser.exit(1, f"{error}\n")


def _publish(arguments: argparse.Namespace) -> Outcome:
    if arguments.yes and arguments.repo is None:
        raise UsageError("--yes needs --repo ORGANISATION/NAME, where it is to go.")
    told = _told(arguments)
    out = write_folder(arguments.surrogate, arguments.out, told, arguments.repo)
    sha256 = pretrained.locate(out).source.sha256
    files = sorted(out.iterdir())
    size = sum(path.stat().st_size for path in files)
    outcome = Outcome(str(out), sha256, size, arguments.repo, arguments.tag, sent=False)
    print((out / card.FILE).read_text(encoding="utf-8"), file=sys.stderr)
    for path in files:
        print(f"{path.stat().st_size:>12,}  {path.name}", file=sys.stderr)
    if not arguments.yes:
        print("nothing was sent; --repo ORGANISATION/NAME --yes sends these files", file=sys.stderr)
        return outcome
    done = publishing.publish(arguments.repo, out, message=f"Surrogate {told.name}", tag=arguments.tag)
    return Outcome(**{**asdict(outcome), "sent": True, "commit": done.commit, "address": done.address})


def _told(arguments: argparse.Namespace) -> Told:
    name = str(storage.header(arguments.surrogate)["name"])
    path = arguments.card or CARDS / f"surrogate-{name}.md"
    if arguments.card is not None and not path.is_file():
        raise UsageError(f"there is no card {path}.")
    beside = arguments.surrogate.with_suffix(".json")
    return Told(
        name,
        arguments.licence,
        training=json.loads(beside.read_text(encoding="utf-8")) if beside.is_file() else {},
        results=[read_results(found) for found in arguments.results],
        pictures=_pictures(arguments.pictures),
        text=path.read_text(encoding="utf-8") if path.is_file() else "",
    )


if __name__ == "__main__":
    main()
