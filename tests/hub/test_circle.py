"""The whole circle over HTTP: pull, select, contribute, review, accept, meta-train, publish, pull again."""

import json
from pathlib import Path

import pytest
from loopback_client import LoopbackHub

from fms_hub.corpus.schema import CandidateRow, Row, TaskRow
from fms_hub.corpus.shards import write_shard
from fms_hub.corpus.tables import add_rows
from fms_hub.models import catalog, zoo
from fms_hub.weights.describe import describe
from tests import taught
from training.corpus.small_net import PIXELS, SmallCNN

FIRST = "a" * 40
CARD = {"README.md": b"---\nlicense: cdla-permissive-2.0\n---\n"}

SCRIPT = """
import contextlib, io, json, os, sys
from pathlib import Path
import numpy as np
import torch
from sklearn.datasets import load_digits
import fms_hub
from fms_hub import cli
from fms_hub.surrogate.surrogate import Surrogate
from fms_hub.tasks.task import task_from_arrays
from training import meta_train, publish
from training.corpus.accept import accept, review
from training.corpus.surprise import surprise_of
torch.set_num_threads(1)
ROOT = Path(HERE)

def run(main, *arguments):
    sys.argv = ["command", *map(str, arguments)]
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        try:
            main()
        except SystemExit as end:
            assert not end.code, end.code
    return told.getvalue().strip()

scans = load_digits()
pixels = np.clip(scans.images[:200] * 16, 0, 255).astype(np.uint8)
digits = task_from_arrays("okapi", [f"zebra-{c}" for c in range(10)], train=(pixels, scans.target[:200]))

# Somebody searches with the surrogate of the Hub, among others a candidate of the Hub, and gives back.
selection = fms_hub.select(
    digits, ["org/net", "scratch:test_resnet"], surrogate="org/surrogate", budget="4 epochs", max_epochs=1,
    image_size=32, max_download="5MB", out=ROOT / "search", progress=False,
)
given = fms_hub.contribute(selection, "org/corpus", yes=True)
board = selection.leaderboard().set_index("candidate").loc["org/net"]
licences = board.licence if isinstance(board.licence, str) else board.licence.iloc[0]
print(json.dumps([selection.surrogate, licences, given.pull_request]))

# Its maintainers look at it, take it in, meta-train once more and publish.
os.environ["HF_TOKEN"] = "hf_org"
looked = review("org/corpus#1", surprise=surprise_of(Surrogate.from_pretrained("org/surrogate")))
taken = accept("org/corpus#1", ROOT / "contributed")
hubs = ("--hub", ROOT / "corpus", ROOT / "contributed")
run(meta_train.main, *hubs, "--out", ROOT / "made", "--steps", 20)
published = run(
    publish.main, "--surrogate", ROOT / "made/all.safetensors", "--out", ROOT / "folder",
    "--repo", "org/surrogate", "--tag", "v2", "--yes",
)
print(json.dumps([looked.notes, taken.accepted, taken.rows, json.loads(published)]))

# Whoever used it keeps what was pinned, until it is pulled.
del os.environ["HF_TOKEN"]
before = Surrogate.from_pretrained("org/surrogate")
pulled = json.loads(run(cli.main, "surrogate", "pull", "org/surrogate", "--json"))
after = Surrogate.from_pretrained("org/surrogate")
tagged = Surrogate.from_pretrained("org/surrogate@v2")
print(json.dumps([before.label, pulled, after.label, tagged.label]))
"""


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Runs of two tasks, as a corpus has them."""
    folder = tmp_path / "corpus"
    graph = describe(SmallCNN(10), (1, PIXELS, PIXELS))
    for seed, name in enumerate(taught.TASKS[:2]):
        pool = taught.pool(name, seed, runs=8)
        rows = [
            Row(
                run=f"{seed}{run.id[1:]}", hub=pool.hub, task=name, candidate=run.candidate,
                hyperparameters=json.dumps(run.hyperparameters), epoch=epoch, horizon=run.horizon, seed=0,
                train_loss=run.losses[epoch - 1], validation_score=score, test_score=None, seconds=None,
                device="cpu", status="ok", reason=None,
                sketch=f"{seed}{run.id[1:]}/1" if epoch == 1 else None,
            )
            for run in pool.runs if run.reason is None
            for epoch, score in enumerate(run.scores, start=1)
        ]  # fmt: skip
        write_shard(folder, rows, {row.sketch: graph for row in rows if row.sketch is not None})
        add_rows(folder, TaskRow, [pool.task])
        add_rows(folder, CandidateRow, list(pool.candidates.values()))
    return folder


@pytest.fixture
def candidate(tmp_path: Path) -> dict[str, bytes]:
    """The files of a checkpoint as timm publishes them."""
    (found,) = catalog.resolve("scratch:test_vit")
    model = zoo.build(found, classes=4, image_size=32, seed=4)
    zoo.export(model, found, tuple("abcd"), tmp_path / "net")
    return {file.name: file.read_bytes() for file in (tmp_path / "net").iterdir()}


def test_what_one_search_learned_is_in_the_surrogate_that_the_next_one_pulls(
    hub: LoopbackHub, corpus: Path, candidate: dict[str, bytes], tmp_path: Path
) -> None:
    hub.users(alice="write", org="write")
    folder = taught.surrogate().save_pretrained(tmp_path / "first")
    hub.add("org/surrogate", {path.name: path.read_bytes() for path in folder.iterdir()}, FIRST)
    hub.add("org/net", candidate, FIRST, tags=["license:mit"])
    hub.add("org/corpus", CARD, FIRST, kind="datasets")
    script = SCRIPT.replace("HERE", repr(str(tmp_path)), 1)
    searched, taken, pulled = map(json.loads, hub.run(script, token="hf_alice", seconds=300))
    surrogate, licence, address = searched
    assert surrogate.startswith(f"taught org/surrogate@{FIRST} sha256:") and licence == "mit"
    assert address == f"{hub.address}/datasets/org/corpus/discussions/1"
    notes, accepted, rows, published = taken
    assert accepted and rows == 4 and "median errors by the surrogate 'taught'" in notes[-1]
    assert published["sent"] and published["tag"] == "v2" and published["commit"] != FIRST
    made = json.loads((tmp_path / "made" / "all.json").read_text())
    assert {name: len(digest) for name, digest in made["corpus"].items()} == {"corpus": 64, "contributed": 64}
    assert len(set(made["corpus"].values())) == 2
    assert {"usps", "flowers5"} <= set(made["data"]) and "MIT" in made["pretraining"].values()
    report = json.loads((tmp_path / "made" / "all.json").read_text())
    assert (
        report["hub"] == "contributed, timm-tiny" and len(report["tasks"]) == 3 and report["runs"] == 14 + 4
    )
    before, moved, after, tagged = pulled
    assert before == surrogate  # the pin holds
    assert (moved["before"], moved["commit"]) == (FIRST, published["commit"])
    assert after == tagged == f"all org/surrogate@{published['commit']} sha256:{published['sha256']}"
    sent = b"".join(hub.received())
    assert b"okapi" not in sent and b"zebra" not in sent and str(tmp_path / "search").encode() not in sent
