"""Contributions over HTTP: prepared, sent, found again, fetched, judged and taken in."""

import json
from pathlib import Path

import pytest
from loopback_client import LoopbackHub

from fms_hub.corpus.shards import read_corpus
from fms_hub.hub.about import About, AboutCandidate, write_about
from fms_hub.hub.logbook import Logbook
from fms_hub.records import Observation
from fms_hub.tasks.dataset import digits

FIRST = "a" * 40
CARD = {"README.md": b"---\nlicense: cdla-permissive-2.0\n---\n"}
SECRETS = (b"alice-at-home", b"alice@acme.example", b"/home/alice", b"gpu-box-17", b"okapi")

PRELUDE = """
import json, os, shutil, sys
from pathlib import Path
from fms_hub.corpus.contribute import contribute, flush
from fms_hub.errors import FMSHubError
from fms_hub.hub import refusals
refusals.FIRST_WAIT = 0.01

def show(call, *arguments, **named):
    try:
        found = call(*arguments, **named)
        print(found.sent, found.pull_request, found.why)
    except FMSHubError as error:
        print(f"{type(error).__name__}: {error}")

def posts():
    print(sum(path.read_bytes().startswith(b"POST") for path in (ROOT / "received").iterdir()))

def settle(**settings):
    (ROOT / "datasets/org/corpus/settings.json").write_text(json.dumps(settings))

def forget():
    shutil.rmtree(Path(os.environ["FMS_HUB_CACHE"]) / "outbox")
"""


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The folder of a search over candidates that are public, gated, private and local."""
    names = ["org/open", "org/gated", "org/mine", "local-dir:/home/alice/okapi"]
    candidates = tuple(
        AboutCandidate(name, "timm" if i < 3 else "folder", "test_vit", f"{i}" * 40, "vision_transformer",
                       name if i < 3 else None, 300_000)
        for i, name in enumerate(names)
    )  # fmt: skip
    info = digits().info
    about = About(
        info.fingerprint, 10, dict(info.sizes), dict(info.features), "accuracy", 32, "cpu", candidates
    )  # fmt: skip
    folder = tmp_path / "alice-at-home"
    with Logbook(folder, {"seed": "0", "owner": "alice@acme.example"}) as log:
        for run, name in enumerate(names):
            for epoch in (1, 2):
                log.append(
                    Observation(run, name, {"learning_rate": 0.001, "host": "gpu-box-17"}, epoch, 2,
                                0.5 + run / 10 + epoch / 100, 1.0 / epoch, 2.5)
                )  # fmt: skip
    write_about(folder, about)
    return folder


@pytest.fixture
def corpus_hub(hub: LoopbackHub) -> LoopbackHub:
    hub.users(alice="write", reader="read", org="write")
    hub.add("org/corpus", CARD, FIRST, kind="datasets")
    hub.add("org/open", {"config.json": b"{}"}, FIRST)
    hub.add("org/gated", {"config.json": b"{}"}, FIRST, gated=True)
    hub.add("org/mine", {"config.json": b"{}"}, FIRST, private=True)
    return hub


def script(hub: LoopbackHub, out: Path, *lines: str) -> str:
    """One process for several calls: starting one takes longer than all that it does."""
    known = f"from pathlib import Path\nROOT, OUT = Path({str(hub.root)!r}), Path({str(out)!r})"
    return "\n".join([known, PRELUDE, *lines])


def page(hub: LoopbackHub) -> str:
    return f"{hub.address}/datasets/org/corpus/discussions/1"


def test_a_search_goes_to_the_hub_and_into_the_corpus(
    corpus_hub: LoopbackHub, out: Path, tmp_path: Path
) -> None:
    hub, corpus = corpus_hub, tmp_path / "corpus"
    lines = (
        "show(contribute, OUT, 'org/corpus')",
        "posts()",
        "show(contribute, OUT, 'org/corpus', yes=True)",
        "posts()",
        "show(contribute, OUT, 'org/corpus', yes=True)",
        "posts()",
    )
    told = hub.run(script(hub, out, *lines), token="hf_alice")
    dry, none, first, some, second, same = told
    assert (dry, none) == ("False None None", "0")
    assert first == second == f"True {page(hub)} None" and some == same and int(some) > 0
    sent = b"".join(hub.received())
    assert not [secret for secret in SECRETS if secret in sent]
    accepted, again, rows = hub.run(
        f"""
from pathlib import Path
import datasets
from training.corpus.accept import accept, review
corpus = Path({str(corpus)!r})
print(accept("org/corpus#1", corpus).to_json())
print(review("org/corpus@refs/pr/1", corpus).to_json())
print(len(datasets.load_dataset("org/corpus", revision="refs/pr/1", split="train",
          data_files="contributions/*/shard-????????????.parquet")))
"""
    )
    verdict = json.loads(accepted)
    assert verdict["accepted"] is True and verdict["rows"] == 8 and verdict["notes"] == []
    assert json.loads(again)["faults"] == ["the corpus has all of its runs already"]
    assert rows == "8"
    taken = read_corpus(corpus).rows
    assert set(taken.candidate[~taken.candidate.str.startswith("private-")]) == {"org/open"}
    assert taken.candidate.nunique() == 4 and taken.validation_score.tolist()[:2] == [0.51, 0.52]
    assert json.loads((corpus / "verdicts" / f"{verdict['contribution']}.json").read_text()) == verdict


def test_what_cannot_be_sent_now_waits_and_is_sent_once(corpus_hub: LoopbackHub, out: Path) -> None:
    hub = corpus_hub
    flushed = "for sent in flush(): print(sent.rows, sent.pull_request, sent.why)"
    lines = (
        "settle(busy=True)",
        "show(contribute, OUT, 'org/corpus', yes=True)",
        flushed,
        "settle()",
        flushed,
        "print(flush())",
        "forget()",
        "show(contribute, OUT, 'org/corpus', yes=True)",
        "os.environ['HF_TOKEN'] = 'hf_reader'",
        "show(contribute, OUT, 'org/other', yes=True)",
        "os.environ['HF_TOKEN'] = 'hf_alice'",
        "show(contribute, OUT, 'org/absent', yes=True)",
        "show(contribute, OUT, 'org/open', yes=True)",
        "del os.environ['HF_TOKEN']",
        "show(contribute, OUT, 'org/other', yes=True)",
        "print(flush())",
    )
    told = hub.run(script(hub, out, *lines), token="hf_alice")
    assert told[0].startswith("False None the Hub is busy or failing")
    assert told[1].startswith("8 None the Hub is busy or failing")
    assert told[2:5] == [f"8 {page(hub)} None", "()", f"True {page(hub)} None"]
    assert len(json.loads((hub.root / "datasets/org/corpus/discussions.json").read_text())) == 1
    refusals = (
        "may only read",
        "no dataset repository 'org/absent'",
        "is a model repository",
        "needs a login",
    )
    for answer, why in zip(told[5:9], refusals, strict=True):
        assert answer.startswith("HubError: ") and why in answer
    assert told[9:] == ["()"]


def test_the_command_line_prints_what_was_sent(corpus_hub: LoopbackHub, out: Path) -> None:
    hub = corpus_hub
    lines = (
        "from fms_hub import cli",
        "def run(*arguments):",
        "    sys.argv = ['fms-hub', 'contribute', '--json', *arguments]",
        "    try:",
        "        cli.main()",
        "    except SystemExit as end:",
        "        print(end.code)",
        "give = (str(OUT), '--repo', 'org/corpus')",
        "run(*give)",
        "run(*give, '--yes')",
        "forget()",
        "settle(busy=True)",
        "run(*give, '--yes')",
        "settle()",
        "run('--flush')",
    )
    told = hub.run(script(hub, out, *lines), token="hf_alice")
    assert told[1::2] == ["0", "0", "1", "0"]
    dry, sent, waiting, flushed = map(json.loads, told[::2])
    assert set(dry) == {"rows", "bytes", "licence", "destination", "sent", "pull_request"}
    assert (dry["rows"], dry["destination"], dry["sent"], dry["pull_request"]) == (
        8,
        "org/corpus",
        False,
        None,
    )
    assert sent == {**dry, "sent": True, "pull_request": page(hub)}
    assert waiting == dry and flushed == [sent]


def test_a_pull_request_that_adds_something_else_is_refused(corpus_hub: LoopbackHub, tmp_path: Path) -> None:
    hub = corpus_hub
    (answer,) = hub.run(
        """
from huggingface_hub import CommitOperationAdd, HfApi
from training.corpus.accept import review
HfApi().create_commit("org/corpus", [CommitOperationAdd("evil.py", b"x")], commit_message="Contribution 1",
                      repo_type="dataset", create_pr=True)
print(review("org/corpus#1").faults)
""",
        token="hf_alice",
    )
    assert answer == "('the pull request adds something else than one folder below contributions',)"
