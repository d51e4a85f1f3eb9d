"""`select` that looks at every candidate first: probes are logged as fidelity 0, charged and believed."""

import json
from pathlib import Path

import pytest
from test_select_self_tuning import digits

import fms_hub
from fms_hub.errors import BudgetError, UsageError
from fms_hub.finetune.trainer import Trainer
from fms_hub.hub.logbook import FILE_NAME, read_history
from fms_hub.records import Budget, Observation, Probe
from fms_hub.search.inquire import require_probing
from fms_hub.search.known import probe_vector
from fms_hub.search.proposals import Configuration
from fms_hub.search.selector import Selector
from fms_hub.search.spending import Spent, probing_epochs, spent
from tests import taught

CANDIDATES = ["bundled/test_resnet.mnist", "scratch:test_resnet"]


def search(out: Path, **changes: object) -> fms_hub.Selection:
    settings: dict[str, object] = {
        "budget": "5 epochs",
        "max_epochs": 3,
        "image_size": 32,
        "surrogate": taught.surrogate(),
        "probe": True,
        "progress": False,
        "out": out,
    }
    return fms_hub.select(digits(240), CANDIDATES, **(settings | changes))


def trained(history: tuple[Observation, ...]) -> list[tuple[object, ...]]:
    return [(o.run, o.candidate, o.epoch, o.score) for o in history]


def test_probes_are_logged_first_charged_believed_and_read_back(tmp_path: Path) -> None:
    found = search(tmp_path / "a")
    assert list(found.probes) == CANDIDATES
    handwritten, random = found.probes.values()
    assert handwritten.linear > random.linear
    images = digits(240).info.sizes["train"]
    assert handwritten.images == random.images == images
    assert len(found.history) == 5 - probing_epochs(2 * images, images) == 4
    assert found.spent.epochs == 5
    assert found.spent.seconds > sum(o.seconds + o.overhead for o in found.history)

    lines = [json.loads(line) for line in (tmp_path / "a" / FILE_NAME).read_text().splitlines()]
    assert [(line["epoch"], line["candidate"]) for line in lines[1:3]] == [(0, name) for name in CANDIDATES]
    assert found.to_json()["probes"] == [
        {name: value for name, value in line.items() if name != "epoch"} for line in lines[1:3]
    ]
    for name, standing in zip(CANDIDATES, (1.0, -1.0), strict=True):
        asked = found.belief().asked([Configuration(name, {"learning_rate": 1e-3})])
        assert asked.probes[0] == pytest.approx([*probe_vector(found.probes[name], classes=10), standing])

    again = search(tmp_path / "a")
    assert again.history == found.history == read_history(tmp_path / "a")
    assert again.probes == found.probes

    # Killed after the first probe: the rest is probed, and the search becomes the same.
    (tmp_path / "b").mkdir()
    kept = (tmp_path / "a" / FILE_NAME).read_text().splitlines(keepends=True)[:2]
    (tmp_path / "b" / FILE_NAME).write_text("".join(kept))
    resumed = search(tmp_path / "b")
    assert resumed.probes[CANDIDATES[0]] == handwritten
    assert resumed.probes[CANDIDATES[1]].logme == random.logme
    assert trained(resumed.history) == trained(found.history)


def test_probing_is_refused_before_anything_is_spent(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'scratch' learns from this search alone.*leave probe out"):
        # Before any file is looked at: such a folder is not there either.
        fms_hub.select(tmp_path / "absent", CANDIDATES, surrogate="scratch", probe=True, out=tmp_path / "a")
    with pytest.raises(BudgetError, match=r"2 candidates on 152 images costs 1 of 1 epochs, which leaves"):
        search(tmp_path / "b", budget="1 epoch")
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "b").exists()


def test_a_time_limit_must_outlast_the_probes() -> None:
    trainer = Trainer(digits(240), image_size=32, device="cpu")
    seconds = {"a": 30.0, "b": 60.0}
    require_probing(2, trainer, Budget(seconds=31.0), seconds)
    with pytest.raises(BudgetError, match=r"takes about 30 s here.* a budget of 29 s"):
        require_probing(2, trainer, Budget(seconds=29.0), seconds)


def test_what_looking_costs() -> None:
    probes = [Probe(name, 0.0, 0.0, 0.0, 0.0, images=512, seconds=2.0) for name in "abcd"]
    history = [Observation(0, "a", {}, 1, 3, 0.5, seconds=10.0, overhead=1.0)]
    assert spent(history, [], 1000) == Spent(1, 11.0)
    assert spent(history, probes, 1000) == Spent(1 + 1, 19.0)
    assert probing_epochs(0, 1000) == 0
    assert probing_epochs(3001, 1000) == 2


def test_a_probe_is_told_once_of_a_candidate_of_a_search_that_has_a_task() -> None:
    probe = Probe("a", 0.1, 0.5, 0.2, 0.3, images=10)
    task = digits(240).info
    selector = Selector(["a", "b"], budget="4 epochs", task=task)
    selector.tell_probe(probe)
    assert selector.probes == {"a": probe}
    for again in (probe, Probe("c", 0.1, 0.5, 0.2, 0.3, images=10)):
        with pytest.raises(ValueError, match="no candidate of this search, or was probed before"):
            selector.tell_probe(again)
    with pytest.raises(ValueError, match="number of classes; give the Selector a task"):
        Selector(["a"], budget="4 epochs").tell_probe(probe)
