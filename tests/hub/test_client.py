"""The door to the Hub, against a Hub of our own on the loopback interface."""

from loopback_client import LoopbackHub

FIRST, SECOND = "a" * 40, "b" * 40
FILES = {
    "config.json": b'{"architecture": "test_resnet"}',
    "model.safetensors": b"weights of the first commit",
}

# Prints what each call gave, or the error's type and message in one line.
PRELUDE = """
from fms_hub.errors import FMSHubError
from fms_hub.hub import client, refusals
refusals.FIRST_WAIT = 0.01

def show(call, *arguments):
    try:
        print(call(*arguments))
    except FMSHubError as error:
        print(f"{type(error).__name__}: {error}")
"""


def test_a_revision_is_pinned_and_then_needs_no_network(hub: LoopbackHub) -> None:
    hub.add("org/net", FILES, FIRST)
    script = f"""{PRELUDE}
commit = client.resolve_revision("org/net")
print(commit)
folder = client.fetch("org/net", commit, ["config.json", "model.safetensors"])
print((folder / "model.safetensors").read_text())
print(client.find("org/net", commit, "preprocessor_config.json"))
"""
    expected = [FIRST, "weights of the first commit", "None"]
    assert hub.run(script) == expected
    assert hub.run(script, offline=True) == expected


def test_a_pinned_commit_stays_when_the_branch_moves(hub: LoopbackHub) -> None:
    hub.add("org/net", FILES, FIRST)
    hub.add("org/net", {"model.safetensors": b"weights of the second commit"}, SECOND)
    script = f"""{PRELUDE}
print(client.resolve_revision("org/net"))
print(client.resolve_revision("org/net", "{FIRST}"))
print((client.fetch("org/net", "{FIRST}", ["model.safetensors"]) / "model.safetensors").read_text())
"""
    assert hub.run(script) == [SECOND, FIRST, "weights of the first commit"]


def test_every_refusal_has_its_own_message(hub: LoopbackHub) -> None:
    hub.add("org/net", FILES, FIRST)
    hub.add("org/gated", FILES, FIRST, gated=True)
    hub.add("org/busy", FILES, FIRST, busy=True)
    answers = hub.run(f"""{PRELUDE}
show(client.resolve_revision, "org/nothing")
show(client.resolve_revision, "org/net", "v9")
show(client.fetch, "org/net", "{SECOND}", ["config.json"])
show(client.fetch, "org/net", "{FIRST}", ["absent.json"])
show(client.fetch, "org/gated", "{FIRST}", ["config.json"])
show(client.resolve_revision, "org/busy")
show(client.resolve_revision, "not a name")
""")
    parts = [
        "the Hub has no model repository 'org/nothing'",
        "org/net has no revision 'v9'",
        f"org/net has no revision '{SECOND}'",
        "org/net has no file 'absent.json'",
        "org/gated is gated: its authors ask for consent first. Accept the terms at https://huggingface.co/org/gated",
        "the Hub is busy or failing",
        "'not a name' is not a repository id",
    ]
    assert len(answers) == len(parts)
    for answer, part in zip(answers, parts, strict=True):
        assert answer.startswith((f"HubError: {part}", f"Unreachable: {part}"))


def test_what_is_absent_offline_is_named_with_the_cure(hub: LoopbackHub) -> None:
    answers = hub.run(
        f"""{PRELUDE}
show(client.resolve_revision, "org/net")
show(client.fetch, "org/net", "{FIRST}", ["model.safetensors"])
""",
        offline=True,
    )
    for answer in answers:
        assert answer.startswith("Unreachable: org/net")
        assert "is not on this disk and the Hub cannot be reached" in answer
        assert "`hf download org/net`" in answer


def test_a_damaged_download_is_refused_and_not_kept(hub: LoopbackHub) -> None:
    hub.add("org/net", FILES, FIRST, damaged=["model.safetensors"])
    fetch = f"""{PRELUDE}
show(client.fetch, "org/net", "{FIRST}", ["model.safetensors"])
"""
    (answer,) = hub.run(fetch)
    assert answer.startswith("HubError: model.safetensors of org/net arrived damaged")
    assert not list(hub.home.rglob("*.safetensors"))
    hub.add("org/net", FILES, FIRST)
    (answer,) = hub.run(fetch)
    assert answer.endswith(FIRST)


def test_a_disk_that_is_full_is_said_and_the_download_goes_on_later(hub: LoopbackHub) -> None:
    hub.add("org/net", {**FILES, "model.safetensors": b"weights" * 100_000}, FIRST)
    fetch = f"""
show(client.fetch, "org/net", "{FIRST}", ["config.json", "model.safetensors"])
"""
    limit = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
"""
    (answer,) = hub.run(PRELUDE + limit + fetch)
    assert answer.startswith("StorageError: what org/net at revision")
    assert "does not fit on the disk: File too large. Free some space, or set HF_HOME" in answer
    (answer,) = hub.run(PRELUDE + fetch)
    assert answer.endswith(FIRST)
    assert (hub.home / answer / "model.safetensors").stat().st_size == 700_000
