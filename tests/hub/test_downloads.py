"""Candidates of a Hub of our own: sizes and terms are told, and too much is refused, before a download."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from loopback_client import LoopbackHub

from fms_hub.errors import UsageError
from fms_hub.models.downloads import Terms, in_words, parse_bytes, require_within

FIRST = "a" * 40
CONFIG = b'{"model_type": "vit"}'
INDEX = json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}).encode()
WHOLE = {"config.json": CONFIG, "model.safetensors": b"w" * 700}
SHARDED = {
    "config.json": CONFIG,
    "model.safetensors.index.json": INDEX,
    "model-1.safetensors": b"1" * 200,
    "model-2.safetensors": b"2" * 300,
    "model-3.safetensors": b"of another" * 999,
}
PRELUDE = """
import sys
import fms_hub
from fms_hub.errors import FMSHubError
from fms_hub.models import catalog, downloads, remote
def terms(*names):
    for name, found in downloads.terms_of(catalog.resolve(names)).items():
        print(name, found.licence, found.gated, found.bytes)
"""


def test_sizes_and_terms_are_known_without_a_download(hub: LoopbackHub) -> None:
    hub.add("org/whole", WHOLE, FIRST, tags=["timm", "license:mit"])
    hub.add("org/sharded", SHARDED, FIRST)
    hub.add("org/pickled", {"config.json": CONFIG, "pytorch_model.bin": b"p" * 9}, FIRST)
    names = "'org/whole', 'org/sharded', 'org/pickled', 'bundled/test_vit.mnist', 'scratch:test_vit'"
    local = [
        "bundled/test_vit.mnist repo MIT; MNIST: CC BY-SA 3.0 (LeCun/Cortes) False 0",
        "scratch:test_vit None False 0",
    ]
    told = hub.run(
        f"""{PRELUDE}
terms({names})
remote.fetch_weights("org/whole", "{FIRST}")
terms("org/whole")
"""
    )
    assert told[:3] == ["org/whole mit False 700", "org/sharded None False 500", "org/pickled None False 0"]
    assert told[3:] == [*local, "org/whole mit False 0"]
    told = hub.run(f"{PRELUDE}\nterms({names})", offline=True)
    assert told == [f"org/{name} None None 0" for name in ("whole", "sharded", "pickled")] + local


def test_more_than_is_allowed_is_refused_before_anything_is_downloaded(hub: LoopbackHub) -> None:
    hub.add("org/whole", WHOLE, FIRST, tags=["license:mit"])
    hub.add("org/sharded", SHARDED, FIRST)
    told = hub.run(
        f"""{PRELUDE}
from fms_hub import cli
sys.stderr = sys.stdout
names = ["org/whole", "org/sharded"]
for call in (fms_hub.select, fms_hub.recommend):
    try:
        call("digits", names, surrogate="scratch", max_download="1 kB", progress=False)
    except FMSHubError as error:
        print(type(error).__name__, error)
sys.argv = ["fms-hub", "featurize", *names, "--max-download", "1199"]
try:
    cli.main()
except SystemExit as end:
    print(end.code)
downloads.require_within(downloads.terms_of(catalog.resolve(names)), "1200 B", shown=True)
"""
    )
    refused = (
        "the candidates need 1.2 kB of downloads, more than max_download, 1 kB; "
        "largest: org/whole (700 B), org/sharded (500 B). Nothing was downloaded."
    )
    assert told[0].startswith(f"UsageError {refused}")
    assert told[1].startswith("UsageError the surrogate 'scratch' is not meta-trained")
    assert told[2].startswith(f"error: {refused.replace('1 kB', '1.2 kB')}") and told[3] == "2"
    assert told[4:] == [
        "to download: 1.2 kB",
        "      700 B  org/whole (mit)",
        "      500 B  org/sharded (unknown licence)",
    ]
    assert hub.sent("model.safetensors") == []


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [
        (7, 7),
        ("7", 7),
        ("500MB", 500_000_000),
        ("1.5 GiB", 3 * 2**29),
        ("2kb", 2000),
        ("0", 0),
        (".5 KiB", 512),
    ],
)
def test_sizes_are_read(text: str | int, bytes_: int) -> None:
    assert parse_bytes(text) == bytes_


@pytest.mark.parametrize("text", ["", "MB", "-1", "1 XB", "1e9", "five", "1.2.3 MB", -5, "nan"])
def test_what_is_no_size_is_refused(text: str | int) -> None:
    with pytest.raises(UsageError, match="'500MB'"):
        parse_bytes(text)


@example(9_208_081_978_489_887)
@given(st.integers(0, 10**18))
def test_a_size_in_words_is_read_back_within_half_a_percent(size: int) -> None:
    assert parse_bytes(in_words(size)) == pytest.approx(size, rel=0.0051)
    require_within({"a": Terms(None, None, size)}, size, shown=False)
    with pytest.raises(UsageError, match="Nothing was downloaded"):
        require_within({"a": Terms(None, None, size + 1)}, size, shown=False)
