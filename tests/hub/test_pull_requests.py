"""Giving back to the Hub, against a Hub of our own: the real huggingface_hub and datasets talk to it."""

import json
from pathlib import Path

import pytest
from loopback_client import LoopbackHub

FIRST = "a" * 40
FILES = {"README.md": b"---\nlicense: mit\n---\n", "old.parquet": b"before"}

PRELUDE = """
from pathlib import Path
from fms_hub.errors import FMSHubError
from fms_hub.hub import pull_requests, refusals
refusals.FIRST_WAIT = 0.01

def show(call, *arguments, **named):
    try:
        print(call(*arguments, **named))
    except FMSHubError as error:
        print(f"{type(error).__name__}: {error}")
"""


@pytest.fixture
def given(tmp_path: Path) -> Path:
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "rows.parquet").write_bytes(b"rows" * 100)
    (tmp_path / "given" / "card.md").write_bytes(b"a card")
    return tmp_path / "given"


def propose(given: Path, repo: str = "org/corpus", title: str = "Contribution 1") -> str:
    return f"""{PRELUDE}
files = {{f"contributions/1/{{path.name}}": path for path in Path({str(given)!r}).iterdir()}}
show(pull_requests.propose, {repo!r}, files, title={title!r}, description="what it is")
"""


def test_a_pull_request_is_opened_once_and_read_back(hub: LoopbackHub, given: Path, tmp_path: Path) -> None:
    hub.users(alice="write")
    hub.add("org/corpus", FILES, FIRST, kind="datasets")
    page = f"{hub.address}/datasets/org/corpus/discussions/1"
    assert hub.run(propose(given), token="hf_alice") == [page]
    assert hub.run(propose(given), token="hf_alice") == [page]
    refs = json.loads((hub.root / "datasets/org/corpus/refs.json").read_text())
    assert refs["main"] == FIRST and set(refs) == {"main", "refs/pr/1"}
    fetched = hub.run(f"""{PRELUDE}
target = Path({str(tmp_path / "back")!r})
commit = pull_requests.fetch_proposal(
    "org/corpus", "refs/pr/1", "contributions", target, most_files=2, most_bytes=1000)
print(commit, sorted(path.relative_to(target).as_posix() for path in target.rglob("*.*")))
print((target / "contributions/1/rows.parquet").read_bytes() == b"rows" * 100)
show(pull_requests.proposed, "org/corpus", "Contribution 1")
show(pull_requests.proposed, "org/corpus", "Contribution 2")
show(pull_requests.fetch_proposal, "org/corpus", "refs/pr/1", "contributions", target,
     most_files=1, most_bytes=1000)
show(pull_requests.fetch_proposal, "org/corpus", "refs/pr/1", "contributions", target,
     most_files=2, most_bytes=100)
""")
    assert fetched[0] == f"{refs['refs/pr/1']} ['contributions/1/card.md', 'contributions/1/rows.parquet']"
    assert fetched[1:4] == ["True", page, "None"]
    assert all("has more below 'contributions' than" in line for line in fetched[4:])


@pytest.mark.parametrize(
    ("token", "repo", "why"),
    [
        (None, "org/corpus", "writing to org/corpus needs a login, and there is none"),
        ("hf_stranger", "org/corpus", "Log in with `hf auth login`"),
        ("hf_reader", "org/corpus", "your token of the Hub may only read"),
        ("hf_alice", "org/nothing", "the Hub has no dataset repository 'org/nothing'"),
        ("hf_alice", "org/model", "org/model is a model repository; name a dataset repository"),
    ],
)
def test_who_may_not_write_is_told_before_anything_is_uploaded(
    hub: LoopbackHub, given: Path, token: str | None, repo: str, why: str
) -> None:
    hub.users(alice="write", reader="read")
    hub.add("org/corpus", FILES, FIRST, kind="datasets")
    hub.add("org/model", FILES, FIRST)
    (answer,) = hub.run(propose(given, repo), token=token)
    assert answer.startswith("HubError: ") and why in answer
    assert not any(b"rows" * 100 in request for request in hub.received())


def test_what_passes_is_tried_again_and_nothing_is_done_twice(hub: LoopbackHub, given: Path) -> None:
    hub.users(alice="write")
    failing = {"commit": [429], "discussions": [500]}
    hub.add("org/corpus", FILES, FIRST, kind="datasets", failing=failing, lost={"commit": 1})
    (answer,) = hub.run(propose(given), token="hf_alice")
    assert answer == f"{hub.address}/datasets/org/corpus/discussions/1"
    commits = [
        request for request in hub.received() if request.startswith(b"POST /api/datasets/org/corpus/commit")
    ]
    assert len(commits) == 2
    assert len(json.loads((hub.root / "datasets/org/corpus/discussions.json").read_text())) == 1


def test_a_hub_that_goes_on_failing_is_given_up(hub: LoopbackHub, given: Path) -> None:
    hub.users(alice="write")
    hub.add("org/corpus", FILES, FIRST, kind="datasets", failing={"commit": [503] * 99})
    (answer,) = hub.run(propose(given), token="hf_alice")
    assert answer.startswith("Unreachable: the Hub is busy or failing")
    assert len([r for r in hub.received() if r.startswith(b"POST /api/datasets/org/corpus/commit")]) == 4


def test_a_parent_that_moved_and_a_refused_write_are_named(hub: LoopbackHub, given: Path) -> None:
    hub.users(alice="write")
    hub.add("org/corpus", FILES, FIRST, kind="datasets", failing={"commit": [412]})
    hub.add("org/closed", FILES, FIRST, kind="datasets", failing={"commit": [403]})
    (answer,) = hub.run(propose(given), token="hf_alice")
    assert "org/corpus changed while it was written to" in answer
    (answer,) = hub.run(propose(given, "org/closed"), token="hf_alice")
    assert "the Hub refused org/closed" in answer and "token that may write" in answer


def test_only_what_anyone_can_read_is_public(hub: LoopbackHub) -> None:
    hub.users(alice="write")
    hub.add("org/open", FILES, FIRST)
    hub.add("org/gated", FILES, FIRST, gated=True)
    hub.add("org/mine", FILES, FIRST, private=True)
    script = PRELUDE + "\n".join(
        f"show(pull_requests.is_public, 'org/{name}')" for name in ("open", "gated", "mine", "nothing")
    )
    assert hub.run(script, token="hf_alice") == ["True", "False", "False", "False"]
    (answer,) = hub.run(f"{PRELUDE}show(pull_requests.is_public, 'org/open')", offline=True)
    assert answer.startswith("Unreachable: org/open is not on this disk and the Hub cannot be reached")


def test_a_name_that_leads_elsewhere_is_not_fetched(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.add("org/corpus", {"contributions/.hidden": b"x"}, FIRST, kind="datasets")
    (answer,) = hub.run(f"""{PRELUDE}
show(pull_requests.fetch_proposal, "org/corpus", "main", "contributions", Path({str(tmp_path / "back")!r}),
     most_files=9, most_bytes=99)
""")
    assert "a name that is never written here" in answer
    assert not (tmp_path / "back").exists()


def test_datasets_pushes_and_reads_at_a_pull_request(hub: LoopbackHub) -> None:
    hub.users(alice="write")
    assert hub.run(
        """
import datasets
from huggingface_hub import HfApi
api = HfApi()
print(api.create_repo("alice/rows", repo_type="dataset").repo_id)
print(api.create_repo("alice/rows", repo_type="dataset", exist_ok=True).repo_id)
datasets.Dataset.from_dict({"a": [1, 2, 3]}).push_to_hub("alice/rows", create_pr=True)
print(datasets.load_dataset("alice/rows", revision="refs/pr/1", split="train")["a"][:])
stream = datasets.load_dataset("alice/rows", revision="refs/pr/1", split="train", streaming=True)
print([row["a"] for row in stream])
api.merge_pull_request("alice/rows", 1, repo_type="dataset")
print(datasets.load_dataset("alice/rows", split="train")["a"][:])
print([info.id for info in api.list_datasets(search="rows")], list(api.list_models()))
refs = api.list_repo_refs("alice/rows", repo_type="dataset", include_pull_requests=True)
print([ref.ref for ref in refs.pull_requests])
""",
        token="hf_alice",
    ) == [
        "alice/rows",
        "alice/rows",
        "[1, 2, 3]",
        "[1, 2, 3]",
        "[1, 2, 3]",
        "['alice/rows'] []",
        "['refs/pr/1']",
    ]


def test_a_connection_that_breaks_halfway_is_an_error(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.add("org/corpus", {"contributions/rows.parquet": b"r" * 1000}, FIRST, kind="datasets",
            broken=["contributions/rows.parquet"])  # fmt: skip
    (answer,) = hub.run(f"""{PRELUDE}
show(pull_requests.fetch_proposal, "org/corpus", "main", "contributions", Path({str(tmp_path / "back")!r}),
     most_files=9, most_bytes=9999)
""")
    assert answer.startswith("Unreachable: the connection broke")
    assert not (tmp_path / "back").exists()


def test_a_tampered_file_is_refused(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.add("org/corpus", {"contributions/rows.parquet": b"r" * 1000}, FIRST, kind="datasets",
            damaged=["contributions/rows.parquet"])  # fmt: skip
    (answer,) = hub.run(f"""{PRELUDE}
show(pull_requests.fetch_proposal, "org/corpus", "main", "contributions", Path({str(tmp_path / "back")!r}),
     most_files=9, most_bytes=9999)
""")
    assert "arrived damaged" in answer
