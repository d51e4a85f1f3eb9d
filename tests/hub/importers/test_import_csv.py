"""Tables: any order of rows gives the same log; what is not a learning curve is named by run and epoch."""

import csv
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fms_hub.errors import CandidateError, UsageError
from fms_hub.hub.importers import csv_table
from fms_hub.hub.importers.log import import_log
from fms_hub.hub.importers.runs import NUMBERS, observations
from fms_hub.hub.logbook import read_history
from fms_hub.records import Observation
from fms_hub.search.space import VOCABULARY

COLUMNS = {"run": "id", "epoch": "ep", "score": "acc", "learning_rate": "lr"}
TABLE = "id,ep,acc,lr,host\na,1,0.5,0.1,srv7\na,2,0.6,0.1,srv7\nb,1,0.4,0.01,srv7\n"


def table(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "runs.csv"
    path.write_text(text)
    return path


def imported(
    folder: Path, text: str, columns: dict[str, str] | None = None, **options: object
) -> list[Observation]:
    settings = {"candidate": "timm/x", **options}
    import_log(table(folder, text), "csv", out=folder / "log", columns=columns or COLUMNS, **settings)  # type: ignore[arg-type]
    return list(read_history(folder / "log"))


def test_mapped_columns_become_runs_and_others_are_not_read(tmp_path: Path) -> None:
    history = imported(tmp_path, TABLE)
    assert [(o.run, o.epoch, o.horizon, o.score, o.hyperparameters) for o in history] == [
        (0, 1, 2, 0.5, {"learning_rate": 0.1}),
        (0, 2, 2, 0.6, {"learning_rate": 0.1}),
        (1, 1, 2, 0.4, {"learning_rate": 0.01}),
    ]
    assert "srv7" not in (tmp_path / "log" / "logbook.jsonl").read_text()


def test_every_column_that_can_be_mapped_is_read(tmp_path: Path) -> None:
    text = (
        "r,e,s,c,h,l,t,opt,n,flag,none\n"
        "1,0,91.5,timm/a,9,1.5,12.5,sgd,3,true,\n1,1,92,timm/a,9,,13,sgd,3,true,\n"
    )
    columns = {
        "run": "r", "epoch": "e", "score": "s", "candidate": "c", "horizon": "h", "train_loss": "l",
        "seconds": "t", "optimizer": "opt", "depth": "n", "flag": "flag", "weight_decay": "none",
    }  # fmt: skip
    first, second = imported(tmp_path, text, columns, candidate=None, percent=True)
    assert first == Observation(
        0, "timm/a", {"optimizer": "sgd", "depth": 3, "flag": True}, 1, 9, 0.915, train_loss=1.5, seconds=12.5
    )
    assert (second.epoch, second.score, second.train_loss, second.seconds) == (2, 0.92, None, 13.0)


@given(
    curves=st.lists(
        st.tuples(
            st.lists(st.floats(0, 1), min_size=1, max_size=5),
            st.floats(1e-6, 1.0),
            st.booleans(),
        ),
        min_size=1,
        max_size=4,
    ),
    zero=st.booleans(),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_any_order_of_rows_gives_the_same_curves(
    tmp_path_factory: pytest.TempPathFactory,
    curves: list[tuple[list[float], float, bool]],
    zero: bool,
    data: st.DataObject,
) -> None:
    rows = [
        [f"run {name}", epoch + (not zero), score, rate]
        for name, (scores, rate, fails) in enumerate(curves)
        for epoch, score in enumerate([*scores, math.nan] if fails else scores)
    ]
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["id", "ep", "acc", "lr"], *data.draw(st.permutations(rows))])
    found = observations(csv_table.read(path, COLUMNS, None), candidate="x", percent=False)
    told = {
        (o.hyperparameters["learning_rate"], tuple(q.score for q in found if q.run == o.run)) for o in found
    }
    assert told == {(rate, (*scores, *([None] if fails else []))) for scores, rate, fails in curves}
    assert all(
        [q.epoch for q in found if q.run == o.run] == [*range(1, o.epoch + 1)]
        for o in found
        if o is [q for q in found if q.run == o.run][-1]
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("id,ep,acc,lr\n", "no row below its header"),
        (
            "id,ep,accuracy,lr\na,1,0.5,0.1\n",
            "expected one column 'acc' for score, found id, ep, accuracy, lr",
        ),
        ("id,ep,acc,acc,lr\na,1,0.5,0.5,0.1\n", "expected one column 'acc' for score, found it twice"),
        ("id,ep,acc,lr\na,1,0.5\n", "line 2: expected 4 cells, found 3"),
        ("id,ep,acc,lr\na,1,0.5,0.1\na,3,0.6,0.1\n", "run 'a' has no epoch 2, found 1, 3"),
        ('id,ep,acc,lr\n\n"a\nb",1,0.5,0.1\nc,1\n', "line 5: expected 4 cells, found 2"),
        ("id,ep,acc,lr\na,2,0.5,0.1\n", "run 'a' has no epoch 1, found 2"),
        ("id,ep,acc,lr\na,0,0.5,0.1\nb,1,0.5,0.1\n", "run 'b' has no epoch 1, found 2"),
        ("id,ep,acc,lr\na,1,0.5,0.1\na,1,0.6,0.1\n", "run 'a' has epoch 1 twice"),
        ("id,ep,acc,lr\na,1.5,0.5,0.1\n", "epoch must be a whole number, found '1.5'"),
        ("id,ep,acc,lr\na,nan,0.5,0.1\n", "epoch must be a whole number, found 'nan'"),
        ("id,ep,acc,lr\na,1,,0.1\n", "score of epoch 1 must be a number, found ''"),
        ("id,ep,acc,lr\na,1,inf,0.1\n", r"must lie in \[0, 1\], found inf"),
        ("id,ep,acc,lr\na,1,-0.5,0.1\n", r"must lie in \[0, 1\], found -0.5. A score is higher"),
        ("id,ep,acc,lr\na,1,51,0.1\nb,1,0.5,0.1\n", r"epoch 1: .* found 51. All scores lie in \[0, 100\]"),
        ("id,ep,acc,lr\na,1,0.5,0.1\na,2,0.6,0.2\n", "learning_rate must be the same in all epochs"),
        ("id,ep,acc,lr\na,1,0.5,fast\n", "learning_rate must be a number of at least 0, found 'fast'"),
        ("id,ep,acc,lr\na,1,0.5,nan\n", "learning_rate must be a finite number"),
        ("id,ep,acc,lr\na,1,nan,0.1\na,2,0.5,0.1\n", "epoch 1 has no score .NaN., but epoch 2 has one"),
    ],
)
def test_what_is_no_learning_curve_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        imported(tmp_path, text)
    assert not (tmp_path / "log").exists()


def test_percentages_are_converted_only_when_asked_for(tmp_path: Path) -> None:
    text = "id,ep,acc,lr\na,1,51,0.1\na,2,0.5,0.1\n"
    assert [o.score for o in imported(tmp_path, text, percent=True)] == [0.51, 0.005]
    with pytest.raises(UsageError, match=r"the highest score is 0.6, so these are no percentages"):
        imported(tmp_path / "again", TABLE, percent=True)


def test_columns_and_candidates_must_be_named_and_files_be_readable(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="which column is run, score"):
        imported(tmp_path, TABLE, {"epoch": "ep"})
    with pytest.raises(CandidateError, match="no column is mapped to candidate"):
        imported(tmp_path, TABLE, candidate=None)
    with pytest.raises(UsageError, match="field larger than field limit"):
        imported(tmp_path, f"id,ep,acc,lr\n{'a' * 200_000},1,0.5,0.1\n")
    path = tmp_path / "latin.csv"
    path.write_bytes("id,ep,acc,lr\nä,1,0.5,0.1\n".encode("latin-1"))
    with pytest.raises(UsageError, match="no UTF-8 text"):
        import_log(path, "csv", out=tmp_path / "log", columns=COLUMNS, candidate="x")


def test_the_numbers_are_those_of_the_vocabulary() -> None:
    assert set(VOCABULARY) == NUMBERS
