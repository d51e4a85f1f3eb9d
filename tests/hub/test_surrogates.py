"""Surrogates from and to a Hub of our own: pinned, verified, refused, published."""

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest
from loopback_client import LoopbackHub

from fms_hub.surrogate import pretrained
from fms_hub.surrogate.surrogate import Surrogate
from tests import taught

FIRST, SECOND, THIRD = "a" * 40, "b" * 40, "c" * 40
FILE = "surrogate.safetensors"

PRELUDE = """
import json, sys
from pathlib import Path
from fms_hub.errors import FMSHubError
from fms_hub.hub import refusals
from fms_hub.surrogate import pins
from fms_hub.surrogate.surrogate import Surrogate
refusals.FIRST_WAIT = 0.01

def show(call, *arguments, **named):
    try:
        found = call(*arguments, **named)
        print(f"{found.name} {found.source}" if isinstance(found, Surrogate) else found)
    except FMSHubError as error:
        print(f"{type(error).__name__}: {error}")

def pull(*arguments, **named):
    show(Surrogate.from_pretrained, *arguments, **named)
"""


def tiny(name: str) -> Surrogate:
    return dataclasses.replace(taught.surrogate(), name=name)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("surrogates")
    for name in ("one", "two"):
        tiny(name).save(folder / name)
    return {name: (folder / name).read_bytes() for name in ("one", "two")}


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_name_stands_for_one_file_until_it_is_pulled_anew(
    hub: LoopbackHub, files: dict[str, bytes]
) -> None:
    hub.add("org/best", {FILE: files["one"]}, FIRST)
    one = f"one org/best@{FIRST} sha256:{digest(files['one'])}"
    two = f"two org/best@{SECOND} sha256:{digest(files['two'])}"
    assert hub.run(f"{PRELUDE}\npull('org/best')") == [one]
    asked = len(hub.received())
    hub.add("org/best", {FILE: files["two"]}, SECOND)
    assert hub.run(f"{PRELUDE}\npull('org/best')\npull('org/best@{FIRST}')") == [one, one]
    assert len(hub.received()) == asked  # a pinned name asks nobody
    told = hub.run(
        f"""{PRELUDE}
pull('org/best', update=True)
pull('org/best')
pull('org/best', revision='{FIRST}')
print(sorted(pins.all_pins()))
print(Surrogate.from_pretrained('org/best').identity)
"""
    )
    assert told == [
        two,
        two,
        one,
        f"['org/best', 'org/best@{FIRST}']",
        f"two sha256:{digest(files['two'])[:16]}",
    ]
    assert any(b"user-agent: fms_hub/" in request.lower() for request in hub.received())
    assert hub.run(f"{PRELUDE}\npull('org/best')\npull('org/best@{FIRST}')", offline=True) == [two, one]


def test_each_thing_that_can_go_wrong_is_said_with_its_cure(
    hub: LoopbackHub, files: dict[str, bytes]
) -> None:
    hub.add("org/best", {FILE: files["one"]}, FIRST)
    hub.add("org/gated", {FILE: files["one"]}, FIRST, gated=True)
    hub.add("org/model", {"config.json": b"{}"}, FIRST)
    hub.add("org/broken", {FILE: files["one"][:-9]}, FIRST)
    hub.add("org/busy", {FILE: files["one"]}, FIRST, busy=True)
    hub.add("org/again", {FILE: files["one"]}, FIRST, failing={"info": [503, 429], "file": [500]})
    told = hub.run(
        f"""{PRELUDE}
pull("org/nothing")
pull("org/best", revision="v9")
pull("org/gated")
pull("org/model")
pull("org/broken")
pull("org/busy")
pull("org/best", sha256="{"0" * 64}")
pull("org/best@v1", revision="v2")
pull("bundled", revision="v2")
pull("absent.safetensors")
print(sorted(pins.all_pins()))
pull("org/again")
"""
    )
    expected = [
        "HubError: the Hub has no model repository 'org/nothing'",
        "HubError: org/best has no revision 'v9'. Name a branch",
        "HubError: org/gated is gated",
        "HubError: org/model has no surrogate.safetensors at commit aaaaaaaaaaaa",
        "CheckpointError: ",
        "Unreachable: the Hub is busy or failing",
        f"Tampered: {FILE} of org/best at commit {FIRST[:12]} has sha256 {digest(files['one'])}",
        "UsageError: the revision of org/best is given twice",
        "UsageError: bundled is no repository of the Hub",
        "CheckpointError: absent.safetensors does not exist; a surrogate is 'bundled'",
        "[]",
        f"one org/again@{FIRST} sha256:",
    ]
    assert len(told) == len(expected)
    for answer, part in zip(told, expected, strict=True):
        assert answer.startswith(part)
    offline = hub.run(f"{PRELUDE}\npull('org/other')\npull('org/best', update=True)", offline=True)
    assert all(line.startswith("Unreachable: org/") for line in offline)
    assert "`hf download org/other`" in offline[0]


def test_a_file_that_is_not_what_was_pinned_is_never_used(hub: LoopbackHub, files: dict[str, bytes]) -> None:
    hub.add("org/best", {FILE: files["one"]}, FIRST)
    hub.run(f"{PRELUDE}\npull('org/best')")
    (blob,) = (path for path in hub.home.rglob("blobs/*") if len(path.name) == 64)
    changed = files["one"][:-1] + bytes([files["one"][-1] ^ 1])
    blob.write_bytes(changed)
    told = hub.run(
        f"""{PRELUDE}
pull("org/best")
pull("org/best")
"""
    )
    assert "arrived damaged" in told[0] and told[1].startswith("one ")
    for path in [*hub.home.rglob("blobs/*"), *hub.home.rglob(FILE)]:
        path.unlink(missing_ok=True)
    (hub.root / f"models/org/best/{FIRST}/{FILE}").write_bytes(changed)  # a Hub that rewrote its commit
    told = hub.run(
        f"""{PRELUDE}
pull("org/best")
pull("org/best", update=True)
pull("org/best@main")
pins.path().write_text("not json")
pull("org/best")
"""
    )
    for answer in told[:3]:
        assert answer.startswith("Tampered: ") and f"expected {digest(files['one'])}" in answer
    assert told[3].startswith("CheckpointError: ") and "surrogates.json" in told[3]


def test_what_is_pushed_is_what_is_pulled(hub: LoopbackHub, files: dict[str, bytes], tmp_path: Path) -> None:
    hub.users(alice="write", reader="read")
    (tmp_path / "one").write_bytes(files["one"])
    (tmp_path / "two").write_bytes(files["two"])
    told = hub.run(
        f"""{PRELUDE}
one = Surrogate.load(Path({str(tmp_path)!r}) / "one")
two = Surrogate.load(Path({str(tmp_path)!r}) / "two")
first = one.push_to_hub("alice/mine", tag="v1")
print(first == one.push_to_hub("alice/mine", tag="v1"))
second = two.push_to_hub("alice/mine")
print(first != second)
show(one.push_to_hub, "alice/mine", tag="v1")
show(one.push_to_hub, "org/theirs")
pull("alice/mine@v1")
pull("alice/mine")
from fms_hub.hub import client
print(client.tagged("fms-hub-surrogate"))
""",
        token="hf_alice",
    )
    assert told[:2] == ["True", "True"]
    assert told[2].startswith("HubError: alice/mine has a tag 'v1' already")
    assert told[3].startswith("HubError: the Hub refused org/theirs") and "token that may write" in told[3]
    assert told[4].startswith("one alice/mine@") and told[5].startswith("two alice/mine@")
    assert told[6] == "()"
    (answer,) = hub.run(
        f"{PRELUDE}\nshow(Surrogate.load(Path({str(tmp_path / 'one')!r})).push_to_hub, 'alice/mine')",
        token="hf_reader",
    )
    assert answer.startswith("HubError: your token of the Hub may only read")


def test_a_folder_is_read_as_it_was_saved(tmp_path: Path) -> None:
    saved = tiny("kept")
    folder = saved.save_pretrained(tmp_path / "kept")
    (folder / "README.md").write_text("a card of my own")
    saved.save_pretrained(folder)
    assert (folder / "README.md").read_text() == "a card of my own"
    told = json.loads((folder / "config.json").read_text())
    assert told["name"] == "kept" and told["library_name"] == "fms_hub"
    for name in (folder, str(folder), folder / FILE):
        again = Surrogate.from_pretrained(name)
        assert again.source is not None
        assert again.source.sha256 == digest((folder / FILE).read_bytes())
        assert again.identity == f"kept sha256:{again.source.sha256[:16]}"
        assert saved.identity == "kept"


CLI = """
from fms_hub import cli
def run(*arguments):
    sys.argv = ["fms-hub", *arguments]
    try:
        cli.main()
    except SystemExit as end:
        if end.code:
            print(end.code)
"""


def test_the_command_line_pulls_lists_describes_and_verifies(
    hub: LoopbackHub, files: dict[str, bytes]
) -> None:
    hub.add("org/best", {FILE: files["one"]}, FIRST)
    hub.add("org/more", {FILE: files["two"]}, FIRST, tags=["fms-hub-surrogate"])
    told = hub.run(
        f"""{PRELUDE}{CLI}
run("surrogate", "verify", "org/best", "--json")
run("surrogate", "verify", "org/best", "--json", "--sha256", "{digest(files["one"])}")
run("surrogate", "pull", "org/best", "--json")
run("surrogate", "list", "--json", "--hub")
run("surrogate", "info", "org/best", "--json")
run("surrogate", "verify", "org/best", "--json")
run("surrogate", "pull", "bundled", "--json")
"""
    )
    one = digest(files["one"])
    source = {"repo": "org/best", "commit": FIRST, "sha256": one}
    assert told[0] == told[6] == "2"
    verified, pulled, listed, described, again = map(json.loads, told[1:6])
    assert verified == {"name": "org/best", **source, "compared_with": ["--sha256"]}
    assert pulled == {"name": "org/best", **source, "before": None}
    assert listed[0] == {
        "name": "bundled", "commit": None, "sha256": pretrained.locate("bundled").source.sha256, "here": True
    }  # fmt: skip
    assert listed[1:] == [
        {"name": "org/best", "commit": FIRST, "sha256": one, "here": True},
        {"name": "org/more", "commit": None, "sha256": None, "here": False},
    ]
    assert described | {"name": "one", "bytes": len(files["one"]), "observations": 0, **source} == described
    assert again["compared_with"] == ["pin"]
    hub.add("org/best", {FILE: files["two"]}, SECOND)
    told = hub.run(
        f"""{PRELUDE}{CLI}
run("surrogate", "pull", "org/best")
run("surrogate", "pull", "org/best")
run("surrogate", "list")
run("surrogate", "info", "org/best@{FIRST}")
run("surrogate", "verify", "org/best")
run("surrogate", "verify", "org/best", "--sha256", "{one}")
"""
    )
    two = f"org/best@{SECOND} sha256:{digest(files['two'])}"
    assert told[:2] == [f"{two} (moved from {FIRST})", f"{two} (as before)"]
    assert told[2].split() == ["name", "commit", "sha256", "here"]
    assert told[3].split()[0] == "bundled"
    assert told[4].split() == ["org/best", SECOND[:12], digest(files["two"])[:12], "yes"]
    assert [line.split() for line in told if line.startswith(("name  ", "commit  "))][1:] == [
        ["name", "one"],
        ["commit", FIRST],
    ]
    assert told[-2:] == [f"sound: {two} (pin)", "1"]
