"""The corpus' commands that train no runs of their own.

python -m training.corpus describe: what is there, and what is missing.
python -m training.corpus collect: the runs of several folders in few large shards.
python -m training.corpus verify: a random sample of runs, trained again and compared.
python -m training.corpus probe: linear probes of the candidates, which runs are compared with, and others.
python -m training.corpus review, accept: contributions, judged as hostile input and taken in.
python -m training.corpus digits: a dataset file without a download.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fms_hub.records import Budget
from training.corpus.accept import accept, review
from training.corpus.collect import Kept, collect
from training.corpus.describe import describe, write_picture
from training.corpus.digits import write_digits
from training.corpus.holdings import DATA
from training.corpus.review import Surprise
from training.corpus.targets import TINY
from training.corpus.verify import verify


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add these commands to the parser of `python -m training.corpus`."""
    described = commands.add_parser("describe", help="count what is there and name what is missing")
    described.add_argument("folder", type=Path, nargs="?", default=DATA)
    described.add_argument("--json", action="store_true")
    described.add_argument("--picture", type=Path, help="an .svg of the score distributions")
    described.set_defaults(command=_describe)
    collected = commands.add_parser("collect", help="gather folders of shards into few large shards")
    collected.add_argument("folders", type=Path, nargs="+")
    collected.add_argument("--out", type=Path, required=True)
    collected.add_argument("--data", type=Path, help="dataset files, for shards of schema version 1")
    collected.add_argument(
        "--raw-every", type=int, default=1, help="keep the weights of one run in this many"
    )
    collected.add_argument("--raw-epochs", help="keep weights only after these epochs and the last, e.g. 1,4")
    collected.add_argument("--no-plain", action="store_true", help="leave plain statistics out")
    collected.add_argument(
        "--compact",
        action="store_true",
        help="sketches and weights in fewer bits: how the corpus is published",
    )
    collected.set_defaults(command=_collect)
    verified = commands.add_parser("verify", help="train a random sample of runs again and compare")
    verified.add_argument("folder", type=Path)
    verified.add_argument("--data", type=Path, required=True, help="folder of the dataset .npz files")
    verified.add_argument("--runs", type=int, default=3)
    verified.add_argument("--seed", type=int, default=0, help="of the sample")
    verified.set_defaults(command=_verify)
    probed = commands.add_parser(
        "probe", help="probe the candidates of the runs as they are before fine-tuning"
    )
    probed.add_argument("folder", type=Path, nargs="?", default=DATA / TINY)
    probed.add_argument("--data", type=Path, required=True, help="folder of the dataset .npz files")
    probed.add_argument("--time-limit", default="30m")
    probed.set_defaults(command=_probe)
    for name, what in (("review", "judge a contribution"), ("accept", "judge a contribution and take it in")):
        judged = commands.add_parser(name, help=what)
        judged.add_argument("source", help="a folder, or ORGANISATION/NAME#NUMBER of a pull request")
        judged.add_argument("--corpus", type=Path, required=name == "accept", help="folder of shards")
        judged.add_argument(
            "--surrogate",
            help="meta-trained; refuses scores far from what it expects: a name, folder or file",
        )
        judged.set_defaults(command=_review if name == "review" else _accept)
    digits = commands.add_parser("digits", help="write scikit-learn's digits as a dataset file")
    digits.add_argument("--data", type=Path, required=True, help="folder that digits.npz goes to")
    digits.set_defaults(command=_digits)


def _describe(arguments: argparse.Namespace) -> int:
    found = describe(arguments.folder)
    print(found.as_json() if arguments.json else found.as_text())
    if arguments.picture is not None:
        write_picture(found.holdings, arguments.picture)
    return 0


def _collect(arguments: argparse.Namespace) -> int:
    epochs = None if arguments.raw_epochs is None else frozenset(map(int, arguments.raw_epochs.split(",")))
    kept = Kept(arguments.raw_every, epochs, not arguments.no_plain, arguments.compact)
    runs = collect(arguments.folders, arguments.out, kept, arguments.data)
    print(f"{runs} runs in {arguments.out}")
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    agree = True
    for found in verify(arguments.folder, arguments.data, arguments.runs, arguments.seed):
        verdict = "agrees" if found.agrees else "DIFFERS"
        print(
            f"{found.run} {found.task} {found.candidate}: {found.scores} scores, largest difference "
            f"{found.largest:.4f}, allowed {found.allowed:.4f}: {verdict}",
            flush=True,
        )
        agree = agree and found.agrees
    return 0 if agree else 1


def _probe(arguments: argparse.Namespace) -> int:
    from training.corpus.probe import probe_all  # needs huggingface_hub, which sweeps do without

    done = probe_all(arguments.folder, arguments.data, Budget.parse(arguments.time_limit).seconds or 0.0)
    print(f"{done} candidates probed into {arguments.folder}")
    return 0


def _review(arguments: argparse.Namespace) -> int:
    verdict = review(arguments.source, arguments.corpus, _surprise(arguments))
    print(verdict.to_json())
    return 0 if verdict.accepted else 1


def _accept(arguments: argparse.Namespace) -> int:
    verdict = accept(arguments.source, arguments.corpus, _surprise(arguments))
    print(verdict.to_json())
    return 0 if verdict.accepted else 1


def _surprise(arguments: argparse.Namespace) -> Surprise | None:
    if arguments.surrogate is None:
        return None
    from fms_hub.surrogate.surrogate import Surrogate
    from training.corpus.surprise import surprise_of

    return surprise_of(Surrogate.from_pretrained(arguments.surrogate))


def _digits(arguments: argparse.Namespace) -> int:
    print(write_digits(arguments.data))
    return 0
