"""What is read from one outside log."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fms_hub.corpus.schema import CandidateRow, Row, TaskRow


@dataclass(frozen=True)
class Log:
    """Tables of one outside log.

    Attributes:
        rows: of runs, in the order of their epochs.
        tasks, candidates: that the rows name.
        left_out: number of runs that are not among the rows, by why.
    """

    rows: Sequence[Row] = ()
    tasks: Sequence[TaskRow] = ()
    candidates: Sequence[CandidateRow] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)


def run_id(*parts: object) -> str:
    """An id of 16 hexadecimal digits for the run that these parts name in its log."""
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()[:16]


def task_row(
    hub: str,
    name: str,
    *,
    group: str,
    classes: int,
    image_size: int,
    licence: str,
    source: str,
    images: tuple[int, int, int] | None = None,
) -> TaskRow:
    """A task of which only the log is at hand.

    Args:
        hub, name, group, classes, image_size, licence, source: as in `TaskRow`.
        images: of the three splits, if the log says so.
    """
    train, validation, test = images or (None, None, None)
    return TaskRow(
        hub=hub,
        name=name,
        group=group,
        classes=classes,
        images=None,
        train=train,
        validation=validation,
        test=test,
        image_size=image_size,
        metric="accuracy",
        fingerprint=None,
        features=None,
        licence=licence,
        source=source,
    )
