"""The table of what is said before any training: worked by hand, and on a hub with real start weights."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from fms_hub.corpus.schema import ProbeRow
from fms_hub.corpus.tables import add_rows
from fms_hub.errors import UsageError
from tests.taught import CANDIDATES, pool, surrogate
from training.benchmarks import zero_shot
from training.benchmarks.cached.foresight import (
    ROWS,
    Question,
    by_other_seeds,
    top_regret,
    truth,
    weighted_tau,
)
from training.benchmarks.cached.judging import lead
from training.benchmarks.cached.pool import Pool
from training.benchmarks.zero_shot import BLIND, OURS, REGRET, TAU, targets

WriteHub = Callable[..., Path]
RESNET, VIT = CANDIDATES
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def judged() -> Pool:
    return pool("gtsrb", 3)


def probe(task: str, candidate: str, score: float, leep: float | None = None) -> ProbeRow:
    return ProbeRow(task, candidate, score, score, 1.0, 8, score, score, score, score, leep, leep)


def test_the_truth_is_the_best_run_with_repeats_averaged(judged: Pool) -> None:
    best = max((run for run in judged.runs if run.candidate == RESNET), key=lambda run: run.final)
    second = sorted(run.final for run in judged.runs if run.candidate == RESNET)[-2]
    assert truth(judged)[RESNET] == best.final
    lucky = replace(judged, repeats={best.id: (best.final, second - 0.3)})
    assert truth(lucky)[RESNET] == pytest.approx(max(second, (best.final + second - 0.3) / 2))
    assert truth(lucky)[VIT] == truth(judged)[VIT]


def test_candidates_with_few_configurations_are_not_ranked(judged: Pool) -> None:
    few = [number for number, run in enumerate(judged.runs) if run.candidate == RESNET or number in (1, 3)]
    assert list(truth(judged.only(few))) == [RESNET]


def test_other_seeds_are_those_of_the_best_repeated_configuration(judged: Pool) -> None:
    ids = [run.id for run in judged.runs]
    seeds = {ids[0]: (0.5, 0.9), ids[2]: (0.6, 0.1, 0.3), ids[1]: (0.2, 0.3)}
    first, others = by_other_seeds(replace(judged, repeats=seeds))
    assert first == {RESNET: 0.6, VIT: 0.2}
    assert others == {RESNET: pytest.approx(0.2), VIT: 0.3}


def test_weighted_tau_and_regret_by_hand() -> None:
    true = {"a": 0.9, "b": 0.8, "c": 0.5}
    assert weighted_tau({"a": 3, "b": 2, "c": 1}, true) == pytest.approx(1.0)
    # Ranks 0, 1, 2 weigh 1, 1/2, 1/3; the pair (a, b) of weight 3/2 is turned around, of 3/2 + 4/3 + 5/6.
    assert weighted_tau({"a": 2, "b": 3, "c": 1}, true) == pytest.approx((4 / 3 + 5 / 6 - 1.5) / (11 / 3))
    assert weighted_tau({"a": 1, "b": 1, "c": 1}, true) == 0.0
    assert top_regret({"a": 2, "b": 3, "c": 1}, true) == pytest.approx(0.25)
    assert top_regret({"a": 1, "b": 1, "c": 0}, true) == pytest.approx(0.125)
    assert top_regret({"b": 1, "c": 2}, true) == 1.0
    assert top_regret({"a": 1, "b": 2}, {"a": 0.5, "b": 0.5}) == 0.0
    with pytest.raises(ValueError, match="two candidates, found 1"):
        weighted_tau({"a": 1}, true)


def test_weighted_tau_is_that_of_scipy_on_what_is_shared() -> None:
    rng = np.random.default_rng(4)
    said, true = ({str(i): float(x) for i, x in enumerate(rng.normal(size=20))} for _ in range(2))
    known = {name: score for name, score in said.items() if name != "7"}
    a = [said[str(i)] for i in range(20) if i != 7]
    b = [true[str(i)] for i in range(20) if i != 7]
    assert weighted_tau(known, true) == pytest.approx(float(stats.weightedtau(a, b).statistic))


def test_ours_says_the_best_of_each_candidate_and_looks_at_no_score(judged: Pool) -> None:
    before = ROWS["fms"].foresee(Question(judged, surrogate=surrogate()), RNG)
    worse = tuple(replace(run, scores=tuple(0.0 for _ in run.scores)) for run in judged.runs)
    assert ROWS["fms"].foresee(Question(replace(judged, runs=worse), surrogate=surrogate()), RNG) == before
    assert set(before) == set(CANDIDATES)
    halves = {
        name: judged.only([n for n, run in enumerate(judged.runs) if run.candidate == name])
        for name in CANDIDATES
    }
    one = ROWS["fms"].foresee(Question(halves[VIT], surrogate=surrogate()), RNG)
    assert one == {VIT: pytest.approx(before[VIT])}


def test_groups_are_left_out_and_heads_are_kept(judged: Pool) -> None:
    probes = {RESNET: probe("gtsrb", RESNET, 0.1), VIT: probe("gtsrb", VIT, 0.7, -1.5)}
    question = Question(judged, probes=probes, surrogate=surrogate())
    assert ROWS["fms"].foresee(question, RNG) != ROWS[BLIND].foresee(question, RNG)
    bare = replace(question, pool=replace(judged, sketches={}, start={}))
    assert ROWS[BLIND].foresee(question, RNG) == ROWS[BLIND].foresee(bare, RNG)
    assert set(ROWS["fms-heads"].foresee(question, RNG)) == {VIT}
    assert ROWS["leep"].foresee(question, RNG) == {VIT: -1.5}
    assert ROWS["knn"].foresee(question, RNG) == {RESNET: 0.1, VIT: 0.7}


def test_the_portfolio_and_mean_ranks_know_the_other_groups(judged: Pool) -> None:
    def raised(name: str) -> Pool:
        """VIT's scores are a half higher, RESNET's a half lower."""
        other = pool(name, 1)
        runs = tuple(
            replace(run, scores=tuple(s * (1.5 if run.candidate == VIT else 0.5) for s in run.scores))
            for run in other.runs
        )
        return replace(other, runs=runs)

    question = Question(judged, {name: raised(name) for name in ("usps", "smiles")})
    assert ROWS["mean-rank"].foresee(question, RNG) == {RESNET: 0.0, VIT: 1.0}
    found = ROWS["portfolio"].foresee(question, RNG)
    assert found[VIT] > found[RESNET]


def test_a_lead_is_paired_where_it_can_be() -> None:
    one = lead({"a": [0.5, 0.7], "b": [0.4]}, {"a": [0.1, 0.5], "b": [0.2], "c": [1.0]})
    assert one is not None and one.value == pytest.approx(0.25)
    mean = lead({"a": [0.6]}, {"a": [0.1, 0.5]})
    assert mean is not None and mean.value == pytest.approx(0.3)
    assert lead({"a": [1.0]}, {"b": [1.0]}) is None and lead(None, {"a": [1.0]}) is None


def test_targets_compare_with_everything_that_trains_nothing() -> None:
    found = {
        (OURS, TAU): {"a": [0.6], "b": [0.5]},
        (OURS, REGRET): {"a": [0.1], "b": [0.1]},
        (BLIND, TAU): {"a": [0.5], "b": [0.3]},
        ("knn", TAU): {"a": [0.5], "b": [0.4]},
        ("knn", REGRET): {"a": [0.0], "b": [0.0]},
    }
    by_name = {target.target: target for target in targets(found)}
    assert by_name[f"{TAU}: better than knn by"].measured == pytest.approx(0.1)
    assert by_name[f"{TAU}: better than knn by"].met
    assert by_name[f"{REGRET}: better than knn by"].measured == pytest.approx(-0.1)
    assert not by_name[f"{REGRET}: better than knn by"].met
    assert not by_name[f"{TAU}: better than logme by"].met
    lost = by_name[f"{TAU} lost without weights, low end of the interval above 0"]
    assert lost.measured == pytest.approx(0.15) and lost.met
    assert {name for name, row in ROWS.items() if row.trains} == {
        "fms", "fms-no-weights", "fms-no-probes", "metadata", "fms-heads",
    }  # fmt: skip


def test_the_table_of_a_hub(write_hub: WriteHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hub = write_hub(tmp_path / "hub", ("gtsrb", "usps", "smiles"), hub="timm-tiny")
    names = ("bundled/test_resnet.omniglot_small", "scratch:test_vit", "scratch:test_resnet")
    probes = [probe("gtsrb", name, 0.9 - 0.1 * n, (-1.0, None, None)[n]) for n, name in enumerate(names)]
    add_rows(hub, ProbeRow, probes)
    surrogate().save(tmp_path / "without-traffic_signs.safetensors")
    arguments = ["--hub", str(hub), "--surrogates", str(tmp_path), "--out", str(tmp_path / "out")]
    zero_shot.main([*arguments, "--json", "--quick"])
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    values = {(row["method"].split(":")[0], row["metric"]): row["mean"] for row in report["rows"]}
    # Later candidates of this hub are worse, and so are their probes.
    assert values["logme", TAU] == pytest.approx(1.0) and values["knn", REGRET] == 0.0
    assert values["portfolio", TAU] == pytest.approx(1.0)
    assert {"fms", "fms-no-weights", "fms-no-probes", "metadata"} <= {name for name, _ in values}
    assert ("leep", TAU) not in values
    assert "hours" in printed.err and "leep is left out: it has nothing to say" in printed.err
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.json")}
    zero_shot.main([*arguments, "--json", "--quick"])
    assert capsys.readouterr().out == printed.out
    assert {path: path.stat().st_mtime_ns for path in written} == written

    log = tmp_path / "LOG.md"
    zero_shot.main([*arguments, "--split", "meta-test", "--methods", "fms,knn,random"], log)
    printed = capsys.readouterr()
    assert "fms is left out: no surrogate for usps, smiles" in printed.err
    assert f"## {date.today()}: zero_shot on meta-test" in log.read_text()
    assert "smiles" in log.read_text() and "gtsrb" not in log.read_text()


def test_one_candidate_is_no_choice(write_hub: WriteHub, tmp_path: Path) -> None:
    hub = write_hub(tmp_path / "hub", ("gtsrb",))
    with pytest.raises(UsageError, match="two candidates to choose from"):
        zero_shot.main(["--hub", str(hub), "--out", str(tmp_path)])
