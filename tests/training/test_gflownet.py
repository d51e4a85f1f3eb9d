"""The benchmark of the flow network: its grid, its counts and its pictures, on numbers worked by hand."""

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from torch import nn

from fms_hub.records import Observation
from fms_hub.search.proposals import Configuration
from tests.training.scans import digits
from training.benchmarks.gflownet import main
from training.contests import outcomes
from training.contests.arms import FORKING, GFLOWNET, LOCAL
from training.contests.nets import NetContest
from training.contests.outcomes import Outcome
from training.gflownet import check
from training.gflownet.article import FEW, modes, quality
from training.gflownet.exact import complete_states, normalised, total_variation
from training.gflownet.feed_forward import HIDDEN, Grid, Pixels, _Nets, _train, read_pixels, trained_grid
from training.gflownet.maps import maps


def test_total_variation_is_half_the_sum_of_differences() -> None:
    assert total_variation(np.array([0.5, 0.5, 0.0]), np.array([0.2, 0.3, 0.5])) == pytest.approx(0.5)
    np.testing.assert_allclose(normalised(np.log([1.0, 3.0])), [0.25, 0.75])
    np.testing.assert_allclose(normalised(np.array([1000.0, 1000.0])), [0.5, 0.5])


def test_the_check_enumerates_what_the_rules_leave() -> None:
    tree = check.enumerable()
    states = complete_states(tree)
    # Per candidate: AdamW 5 rates; SGD 4 rates and 3 momenta; then 4 batch sizes, 4 decays, 5 dropouts.
    assert len(states) == 3 * (5 + 4 * 3) * 4 * 4 * 5 == 4080
    utilities = check.landscape(tree, states, seed=0)(states) / check.BETA
    assert (utilities.mean(), utilities.std()) == pytest.approx((0.0, 1.0))


def test_a_mode_is_a_good_cell_without_a_better_neighbour() -> None:
    scores = np.zeros((5, 5, 4))
    scores[1, 1, 1], scores[1, 2, 1] = 0.9, 0.8  # a mode and its neighbour
    scores[4, 4, 3] = 0.7  # a mode at the edge; opposite corners are no neighbours
    scores[0, 0, 0] = 0.65
    assert {tuple(m) for m in modes(scores).tolist()} >= {(1, 1, 1), (4, 4, 3), (0, 0, 0)}
    assert (1, 2, 1) not in {tuple(m) for m in modes(scores).tolist()}


def rising() -> Grid:
    """Sixty cells; the score is the sum of the indices over 9, best at the end of all axes."""
    indices = np.indices((3, 4, 5)).sum(axis=0)
    return Grid((0.1, 0.2, 0.3), (8, 16, 32, 64), (1, 2, 3, 4, 5), indices / 9, "hand", 1)


def test_quality_counts_what_was_drawn() -> None:
    grid = rising()
    best, worst = [2, 3, 4], [0, 0, 0]
    assert modes(grid.scores).tolist() == [best]
    cells = np.array([best] * 25 + [worst] * 75)
    found = quality(grid.scores, cells, seed=0)
    assert (found.mean, found.good, found.cells, found.modes) == (0.25, 0.25, 2, 1)
    assert quality(grid.scores, np.array([worst] * 2 * FEW), seed=0).early == 0


def test_configurations_of_a_grid_find_their_score() -> None:
    grid = rising()
    values = {"learning_rate": 0.2, "batch_size": 64, "epochs": 3}
    assert grid.cells([Configuration("x", values)]).tolist() == [[1, 3, 2]]
    assert grid.truth([Configuration("x", values)]).tolist() == [6 / 9]


def test_nets_side_by_side_take_the_steps_of_nets_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    rows, labels = torch.rand(12, 20, generator=generator), torch.arange(12) % 10
    rates = (0.1, 0.5)
    together = _Nets.drawn(20, len(rates), torch.Generator().manual_seed(1))
    start = [p.clone() for p in together.parameters]
    losses = [together.step(rows, labels, torch.tensor(rates).view(-1, 1, 1)) for _ in range(3)]
    for index, rate in enumerate(rates):
        net = nn.Sequential(nn.Linear(20, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 10))
        with torch.no_grad():
            for layer, (weight, bias) in zip((net[0], net[2]), (start[:2], start[2:]), strict=True):
                layer.weight.copy_(weight[index].T)
                layer.bias.copy_(bias[index, 0])
        optimizer = torch.optim.SGD(net.parameters(), lr=rate)
        for step in range(3):
            loss = nn.functional.cross_entropy(net(rows), labels)
            assert losses[step][index].item() == pytest.approx(loss.item(), abs=1e-5)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def test_maps_have_a_square_for_each_cell_and_darker_ones_for_more() -> None:
    drawn = np.array([[0, 0, 0]] * 3 + [[2, 3, 4]])
    root = ElementTree.fromstring(maps(rising(), {"a & b": drawn}))
    squares = [e.get("fill") for e in root.iter() if e.tag.endswith("rect")][1:]
    assert len(squares) == 2 * 60
    counts = squares[60:]
    assert counts.count("rgb(255,255,255)") == 58
    assert counts[0] == "rgb(20,60,140)"
    assert "a & b" in {e.text for e in root.iter()}


def test_the_quick_benchmark_runs_and_reads_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digits(tmp_path)
    arguments = ["--data", str(tmp_path), "--task", "digits", "--parts", "article", "--quick", "--json"]
    arguments += ["--out", str(tmp_path / "out")]
    main(arguments)
    first = json.loads(capsys.readouterr().out)
    means = {(row["method"], row["metric"]): row["mean"] for row in first["rows"]}
    metric = "mean true accuracy of draws"
    assert means["policy, true reward", metric] > means["uniform", metric] + 0.05
    assert means["grid", "different cells drawn"] == 4 * 3 * 3
    ElementTree.parse(tmp_path / "out" / "distributions.svg")
    trained = {file: file.stat().st_mtime_ns for file in (tmp_path / "out" / "grid").iterdir()}
    main(arguments)
    assert json.loads(capsys.readouterr().out) == first
    assert {file: file.stat().st_mtime_ns for file in trained} == trained


def test_outcomes_are_paired_by_seed() -> None:
    def observed(run: int, epoch: int, score: float | None, overhead: float) -> Observation:
        status = {"status": "ok"} if score is not None else {"status": "failed", "reason": "diverged"}
        return Observation(run, "x", {}, epoch, 4, score, overhead=overhead, **status)  # type: ignore[arg-type]

    history = [
        observed(0, 1, 0.3, 1.0),
        observed(0, 2, 0.2, 2.0),
        observed(1, 1, None, 0.0),
        observed(2, 1, 0.5, 1.0),
    ]
    found = Outcome.of(history, test=0.4)
    assert found == Outcome(half=0.3, best=0.5, runs=3.0, forks=0.0, overhead=1.0, test=0.4)
    assert outcomes.best_so_far(history) == [(1.0, 0.3), (2.0, 0.3), (3.0, 0.3), (4.0, 0.5)]
    other = Outcome(half=0.4, best=0.8, runs=3.0, forks=0.0, overhead=3.0, test=0.4)
    means = {
        (row.method, row.metric): row.mean
        for row in outcomes.rows({"local": [found, other], "gflownet": [other, other]}, "d", 4)
    }
    assert means["local", "best validation accuracy"] == pytest.approx(0.65)
    assert means["gflownet minus local", "best validation accuracy"] == pytest.approx(0.15)
    assert means["gflownet minus local", "seconds a step besides training"] == pytest.approx(1.0)


def test_searches_over_nets_repeat_and_are_read_back(tmp_path: Path) -> None:
    digits(tmp_path)
    pixels = read_pixels(tmp_path / "digits.npz", 300)
    contests = [NetContest(pixels, "digits", 4, 2, tmp_path / out) for out in ("a", "b")]
    arms = (LOCAL, GFLOWNET, FORKING)
    one, same = (contest.outcomes(arms, [0]) for contest in contests)
    assert set(one) == {"local", "gflownet", "forking"}
    for proposals, (outcome,) in one.items():
        assert 0.1 < outcome.best <= 1.0
        again = same[proposals][0]
        assert (again.best, again.half, again.runs) == (outcome.best, outcome.half, outcome.runs)
        assert contests[0].outcomes(arms, [0])[proposals] == [outcome]


def test_nets_learn_and_a_rate_that_diverges_scores_nothing(tmp_path: Path) -> None:
    digits(tmp_path)
    scores = trained_grid(tmp_path, "digits", 400, 1, tmp_path / "grid", coarse=True).scores
    assert scores.max() > 0.6
    assert scores[0, :, 0].max() < 0.4  # the smallest rate has learned little after one epoch
    rows, labels = torch.rand(64, 20), torch.arange(64) % 10
    pixels = Pixels(rows, labels, rows, labels)
    assert _train(pixels, (1e30,), 16, (1, 2), 0) == [[0.0, 0.0]]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--parts", "exact,guess"], "unknown parts guess"), (["--seeds", "1"], "at least 2 seeds")],
)
def test_arguments_that_mean_nothing_are_refused(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--data", ".", *arguments])
    assert said in capsys.readouterr().err
