"""A surrogate's second opinion on contributions: honest runs pass, invented ones are refused."""

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from contributions import RUNS, TASK, Parcel, row
from contributions import task as task_values

from fms_hub.corpus.schema import Row, to_table
from fms_hub.errors import UsageError
from fms_hub.surrogate.surrogate import Surrogate
from fms_hub.weights.describe import describe
from tests import taught
from training.benchmarks.cached.pool import CachedRun, Pool
from training.corpus import __main__ as command
from training.corpus.review import judge
from training.corpus.small_net import PIXELS, SmallCNN
from training.corpus.surprise import errors, surprise_of
from training.meta.table import observations, problem_of

NOTHING = to_table([], Row).to_pandas()
BLANK = Parcel.of(describe(SmallCNN(10), (1, PIXELS, PIXELS)))


def honest(run: CachedRun) -> tuple[float, ...]:
    return run.scores


def invented(run: CachedRun) -> tuple[float, ...]:
    """Whatever was trained, one run in two is perfect from its first epoch on, and one guesses."""
    return tuple(0.999 if int(run.id, 16) % 2 else 0.001 for _ in run.scores)


def parcel(scores: Callable[[CachedRun], tuple[float, ...]], runs: int = 12) -> Parcel:
    """A contribution of runs on a task that the surrogate has not seen."""
    pool = taught.pool("gtsrb", seed=3, runs=runs)
    rows = []
    for run in pool.runs:
        for epoch, score in enumerate(scores(run), start=1):
            changes = {
                "run": run.id, "epoch": epoch, "horizon": 6, "candidate": "bundled/test_vit.mnist",
                "hyperparameters": json.dumps(run.hyperparameters), "validation_score": score,
                "train_loss": 1.0 + 0.01 * int(run.id, 16) + 1 / epoch, "test_score": None,
                "sketch": f"{RUNS[0]}/1" if (run.id, epoch) == (RUNS[0], 1) else None,
            }  # fmt: skip
            rows.append(row(0, 1, **changes))
    return BLANK.but(rows=rows, tasks=[task_values(classes=4)], candidates=BLANK.candidates[:1])


def test_honest_runs_pass_and_invented_ones_are_refused_in_numbers() -> None:
    surprise = surprise_of(taught.surrogate())
    verdict, found = judge(parcel(honest).files(), NOTHING, surprise=surprise)
    assert verdict.accepted and found is not None
    assert verdict.notes[-1].startswith("median errors by the surrogate 'taught', in deviations: alone ")
    verdict, found = judge(parcel(invented).files(), NOTHING, surprise=surprise)
    assert not verdict.accepted and found is None
    assert any(
        "deviations or more from what the surrogate 'taught' expects" in text for text in verdict.faults
    )
    assert {text.partition(":")[0] for text in verdict.faults} <= {
        "final scores, nothing of the task known",
        "final scores, other runs known",
        "next epochs, the curve so far known",
    }


def test_few_runs_are_not_judged() -> None:
    verdict, _ = judge(BLANK.files(), NOTHING, surprise=surprise_of(taught.surrogate()))
    assert verdict.runs == 3 and verdict.accepted and verdict.notes == ()


@pytest.fixture(scope="module")
def pool() -> Pool:
    return taught.pool("smiles", seed=2, runs=12)


def test_errors_are_those_of_the_surrogates_posterior(pool: Pool) -> None:
    surrogate, problem = taught.surrogate(), problem_of(pool)
    curves = [observations(run, number) for number, run in enumerate(pool.runs)]
    found = errors(surrogate, problem, curves, {})
    lengths = [sum(o.score is not None for o in curve) for curve in curves]
    assert len(found["alone"]) == len(found["across"]) == len(pool.runs)
    assert len(found["along"]) == sum(length - 1 for length in lengths)
    # Another offset of all scores is an error alone, and hardly one once other runs are known.
    moved = [tuple(dataclasses.replace(o, score=None if o.score is None else o.score / 2) for o in curve
                   if o.score is not None) for curve in curves]  # fmt: skip
    shifted = errors(surrogate, problem, moved, {})
    assert np.median(np.abs(shifted["alone"])) > 2 * np.median(np.abs(found["alone"]))
    assert np.median(np.abs(shifted["across"])) < np.median(np.abs(shifted["alone"]))


def test_a_surrogate_that_cannot_judge_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'scratch' cannot judge contributions.*no meta-training"):
        surprise_of(Surrogate())


def test_the_command_takes_a_surrogate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, content in parcel(invented).files().items():
        path = tmp_path / "given" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    taught.surrogate().save_pretrained(tmp_path / "taught")
    given = ["review", str(tmp_path / "given"), "--surrogate", str(tmp_path / "taught")]
    monkeypatch.setattr(sys, "argv", ["corpus", *given])
    with pytest.raises(SystemExit) as end:
        command.main()
    verdict = json.loads(capsys.readouterr().out)
    assert end.value.code == 1 and "'taught' expects" in verdict["faults"][0]
    assert verdict["rows"] > 0 and TASK not in verdict["faults"][0]
