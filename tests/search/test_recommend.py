"""`recommend`: real candidates ranked for real digits by a surrogate that was meta-trained a little."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import fms_hub
from fms_hub import cli
from fms_hub.errors import UsageError
from fms_hub.search.recommend import Recommendation
from fms_hub.surrogate.learned import Range
from fms_hub.surrogate.surrogate import Surrogate
from tests import taught

CANDIDATES = ["bundled/test_resnet.mnist", "scratch:test_vit", "scratch:test_efficientnet"]


@pytest.fixture(scope="module")
def surrogate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("surrogate") / "taught.safetensors"
    taught.surrogate().save(path)
    return path


@pytest.fixture(scope="module")
def found(surrogate: Path) -> Recommendation:
    return fms_hub.recommend("digits", CANDIDATES, surrogate=surrogate, image_size=32, progress=False)


def test_every_candidate_gets_its_best_configuration_best_first(found: Recommendation) -> None:
    assert sorted(item.candidate for item in found.advice) == sorted(CANDIDATES)
    scores = [item.score for item in found.advice]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= item.low <= item.score <= item.high <= 1 for item in found.advice)
    assert all(item.high > item.low and item.seconds > 0 for item in found.advice)
    assert all(float(item.hyperparameters["learning_rate"]) > 1e-3 for item in found.advice)
    assert found.best is found.advice[0]
    assert (found.task, found.surrogate, found.epochs, found.unknown) == ("digits", "taught", 12, ())


def test_the_answer_repeats_and_top_cuts_it(surrogate: Path, found: Recommendation) -> None:
    again = fms_hub.recommend(
        "digits", CANDIDATES, surrogate=Surrogate.load(surrogate), top=1, image_size=32, progress=False
    )
    assert len(again.advice) == 1
    assert again.best.candidate == found.best.candidate
    assert again.best.hyperparameters == found.best.hyperparameters
    assert again.best.score == found.best.score


def test_architectures_beyond_those_seen_are_marked_and_less_sure(surrogate: Path) -> None:
    loaded = Surrogate.load(surrogate)
    assert loaded.learned is not None
    columns = loaded.learned.range.columns
    # Surer than it has reason to be, so that no interval reaches the ends of the score.
    sure = {
        name: value - 6.0 if name.split(".")[-1].startswith(("log_scale", "log_linear")) else value
        for name, value in loaded.learned.parameters.items()
    }
    advice = []
    for end in (1000.0, 0.0):
        seen = Range(columns, np.full(len(columns), -101.0), np.full(len(columns), end))
        model = Surrogate("moved", replace(loaded.learned, range=seen, parameters=sure))
        found = fms_hub.recommend("digits", CANDIDATES[:1], surrogate=model, image_size=32, progress=False)
        advice.append(found.best)
    assert advice[0].outside == 0.0
    assert advice[1].outside > 0
    assert advice[0].score == advice[1].score
    assert advice[1].high - advice[1].low > advice[0].high - advice[0].low


def test_a_surrogate_that_knows_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="'scratch' is not meta-trained"):
        fms_hub.recommend("digits", CANDIDATES, surrogate=Surrogate())


@pytest.mark.parametrize("wrong", [{"top": 0}, {"max_epochs": 0}])
def test_numbers_out_of_range_are_refused(surrogate: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="must be at least 1, found 0"):
        fms_hub.recommend("digits", CANDIDATES, surrogate=surrogate, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("as_json", [False, True])
def test_the_command_line_prints_a_table_or_a_list(
    surrogate: Path, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    arguments = [
        "digits",
        "--surrogate",
        str(surrogate),
        "-c",
        ",".join(CANDIDATES[:2]),
        "--image-size",
        "32",
    ]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as end:
        patch.setattr(sys, "argv", ["fms-hub", "recommend", *arguments, *(["--json"] if as_json else [])])
        cli.main()
    assert end.value.code == 0
    told = capsys.readouterr().out
    if as_json:
        rows = json.loads(told)
        assert len(rows) == 2
        assert {"candidate", "hyperparameters", "score", "low", "high", "seconds"} <= set(rows[0])
    else:
        assert len([line for line in told.splitlines() if line.startswith(("bundled/", "scratch:"))]) == 2
        assert "accuracy after 12 epochs (90 %)" in told
