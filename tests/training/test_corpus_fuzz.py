"""A thousand contributions: nothing wrong is accepted, nothing right refused, and nothing crashes."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import re

import pyarrow as pa
from contributions import Parcel
from hostilities import (
    BAD_CANDIDATES,
    BAD_TASKS,
    BAD_VALUES,
    ENTRIES,
    KINDS,
    NAMES,
    NOTHING,
    PARCEL,
    SKETCHES,
    STRUCTURES,
    retyped,
    rows_table,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fms_hub.corpus.schema import Row
from training.corpus import gate
from training.corpus.review import judge


@st.composite
def broken(draw: st.DrawFn) -> Parcel:
    """A contribution with at least one thing wrong."""
    kind = draw(st.sampled_from(["row", "type", "task", "candidate", "sketch", "structure", "name", "entry"]))
    if kind == "row":
        column = draw(st.sampled_from(sorted(BAD_VALUES)))
        return PARCEL.with_row(0, **{column: draw(st.sampled_from(BAD_VALUES[column]))})
    if kind == "type":
        column = draw(st.sampled_from(sorted(Row.__dataclass_fields__)))
        return PARCEL.but(rows=retyped(rows_table(), column, draw(st.sampled_from(KINDS))))
    if kind in ("task", "candidate"):
        bad, part = (BAD_TASKS, "tasks") if kind == "task" else (BAD_CANDIDATES, "candidates")
        column = draw(st.sampled_from(sorted(bad)))
        rows = copy.deepcopy(getattr(PARCEL, part))
        rows[0][column] = draw(st.sampled_from(bad[column]))
        return PARCEL.but(**{part: rows})
    if kind == "sketch":
        return PARCEL.but(sketch=draw(st.binary(max_size=200) | st.sampled_from(sorted(SKETCHES.values()))))
    if kind == "structure":
        noise = st.binary(max_size=200) | st.sampled_from(sorted(STRUCTURES.values()))
        return PARCEL.but(structure=draw(noise))
    if kind == "name":
        name = draw(st.sampled_from(NAMES) | st.text(min_size=1, max_size=40).map(lambda text: f"../{text}"))
        return PARCEL.but(extra={name: draw(st.binary(max_size=20))})
    return PARCEL.but(entry=draw(st.sampled_from(ENTRIES)))


@st.composite
def sound(draw: st.DrawFn) -> Parcel:
    """A contribution with other values, all of them possible."""
    unit = st.floats(0.0, 1.0)
    setting = st.fixed_dictionaries(
        {"learning_rate": st.floats(1e-6, 1e3)},
        optional={"optimizer": st.sampled_from(["sgd", "adamw"]), "batch_size": st.integers(2, 65536),
                  "dropout": st.floats(0.0, 0.95), "x-00000000": st.booleans() | st.integers(-9, 9),
                  "x-aaaaaaaa": st.just("x-bbbbbbbb")},
    )  # fmt: skip
    text, seed = json.dumps(draw(setting)), draw(st.integers(0, 2**31 - 1))
    rows = [dict(found) for found in PARCEL.rows]
    for i in (0, 1):
        rows[i] |= {"hyperparameters": text, "seed": seed, "device": draw(st.sampled_from(["cpu", "cuda"]))}
        rows[i] |= {"validation_score": draw(unit), "train_loss": draw(st.floats(0.0, 1e12))}
        rows[i]["seconds"] = draw(st.none() | st.floats(0.01, 2e6))
    return PARCEL.but(rows=rows)


@st.composite
def noisy(draw: st.DrawFn) -> dict[str, bytes]:
    """Files with some bytes changed, the manifest's hashes as they were or right again."""
    files = dict(PARCEL.files())
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from(sorted(files)))
        content = bytearray(files[name])
        if content:
            at = draw(st.integers(0, len(content) - 1))
            content[at : at + draw(st.integers(0, 2))] = draw(st.binary(min_size=1, max_size=3))
        files[name] = bytes(content)
    return _rehashed(files) if draw(st.booleans()) else files


def _rehashed(files: dict[str, bytes]) -> dict[str, bytes]:
    """The shard named by its hash, and all hashes of the manifest right."""
    (old,) = [name for name in files if re.fullmatch(r"shard-[0-9a-f]{12}\.parquet", name)]
    shard = "shard-" + hashlib.sha256(files[old]).hexdigest()[:12]
    renamed = {name.replace(old.removesuffix(".parquet"), shard): data for name, data in files.items()}
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in renamed.items() if "shard-" in name}
    try:
        entry = json.loads(renamed["manifest.jsonl"])
    except ValueError:
        return renamed
    if isinstance(entry, dict):
        renamed["manifest.jsonl"] = json.dumps({**entry, "shard": shard, "files": digests}).encode() + b"\n"
    return renamed


def is_sound(found: gate.Admitted) -> bool:
    """The rules once more, row by row, by someone who knows nothing of the reviewer."""
    seen: dict[str, int] = {}
    for item in found.frame.to_dict("records"):
        run, number, score = item["run"], item["epoch"], item["validation_score"]
        values = json.loads(item["hyperparameters"]).values()
        good = [
            re.fullmatch("[0-9a-f]{16}", run),
            item["hub"] == "contributed",
            re.fullmatch("task-[0-9a-f]{16}", item["task"]),
            ".." not in item["candidate"],
            number == seen.get(run, 0) + 1 and number <= item["horizon"],
            (0 <= score <= 1) if item["status"] == "ok" else math.isnan(score),
            item["status"] in ("ok", "failed"),
            not any(isinstance(value, list | dict) for value in values),
            math.isnan(item["seconds"]) or 0 <= item["seconds"] < 1e7,
            item["device"] in ("cpu", "cuda", "mps", "xpu", "other"),
        ]
        seen[run] = number
        if not all(good):
            return False
    return all(math.isfinite(float(graph.x.sum())) for graph in found.graphs.values())


@settings(max_examples=550, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(broken())
def test_nothing_that_is_wrong_is_accepted(parcel: Parcel) -> None:
    try:
        files = parcel.files()
    except (pa.ArrowException, OverflowError):
        return  # no table can hold it
    verdict, found = judge(files, NOTHING)
    assert not verdict.accepted and found is None and verdict.faults


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(sound())
def test_whatever_is_right_is_accepted(parcel: Parcel) -> None:
    verdict, _ = judge(parcel.files(), NOTHING)
    assert verdict.accepted, verdict.faults


@settings(max_examples=350, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(noisy())
def test_noise_crashes_nothing_and_gets_through_only_where_it_says_something_right(
    files: dict[str, bytes],
) -> None:
    verdict, found = judge(files, NOTHING)
    assert verdict.accepted == (found is not None)
    if found is not None:
        assert is_sound(found)
