"""What of a search may be said to others: pure functions from its records to the corpus' rows.

Columns are chosen, none is passed on: a name that only its owner knows becomes a salted hash, the content
of a private checkpoint becomes a hash of it, numbers of a dataset become coarse, and words that are not in
the vocabulary become hashes or ``"other"``.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from fms_hub.corpus import grammar
from fms_hub.corpus.salt import Salt
from fms_hub.corpus.schema import META_FEATURES, CandidateRow, Row, TaskRow
from fms_hub.hub.about import About, AboutCandidate
from fms_hub.models import bundle
from fms_hub.records import Observation, Value
from fms_hub.weights.structure import Node, Owned, Structure

DIGITS = 6
"""Significant digits of hyperparameters."""


@dataclass(frozen=True)
class Redactor:
    """Says what may be said of one search.

    Attributes:
        about: the search.
        identity: of its log, e.g. ``{"dataset": ..., "seed": ...}``.
        salt: of this machine.
        public: names of candidates that anyone can fetch.
    """

    about: About
    identity: Mapping[str, str]
    salt: Salt
    public: frozenset[str]

    @cached_property
    def task(self) -> str:
        """The task's name: the same for all searches on this machine over the same images in the same way."""
        size = str(self.about.image_size)
        return f"task-{self.salt.digest('task', self.about.fingerprint, self.about.metric, size)[:16]}"

    @property
    def _fingerprint(self) -> str:
        return self.salt.digest("images", self.about.fingerprint)

    @property
    def seed(self) -> int:
        """The search's seed, in [0, 2**31)."""
        text = self.identity.get("seed", "0")
        if text.isascii() and text.isdigit() and len(text) < 11 and int(text) < grammar.MOST_SEED:
            return int(text)
        return int(self.salt.digest("seed", text)[:7], 16)

    @cached_property
    def _search(self) -> str:
        return json.dumps(sorted(self.identity.items()))

    def run(self, number: int) -> str:
        """The id of a run."""
        return self.salt.digest("run", self.about.fingerprint, self._search, str(number))[:16]

    def row(self, observation: Observation, *, test_score: float | None, sketched: bool) -> Row:
        """One row of the log.

        Args:
            observation: an epoch.
            test_score: of the run after its last epoch, if it is known.
            sketched: whether a sketch of the weights is given with it.
        """
        ok = observation.status == "ok"
        run = self.run(observation.run)
        last = observation.epoch == observation.horizon
        return Row(
            run=run,
            hub=grammar.HUB,
            task=self.task,
            candidate=self.candidate(observation.candidate),
            hyperparameters=json.dumps(self.hyperparameters(observation.hyperparameters), sort_keys=True),
            epoch=observation.epoch,
            horizon=observation.horizon,
            seed=self.seed,
            train_loss=_rounded(observation.train_loss, DIGITS) if ok else None,
            validation_score=_rounded(observation.score, DIGITS),
            test_score=_rounded(test_score, DIGITS) if ok and last else None,
            seconds=_seconds(observation.seconds),
            device=self.about.device if self.about.device in grammar.DEVICES else "other",
            status=observation.status,
            reason=None if ok else _reason(observation.reason),
            sketch=f"{run}/{observation.epoch}" if sketched else None,
        )

    def hyperparameters(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """Known hyperparameters to six digits; of others hashes of the name and of words."""
        return dict(self._setting(name, value) for name, value in values.items())

    def _setting(self, name: str, value: Value) -> tuple[str, Value]:
        plain = value if isinstance(value, bool | str | int) else _rounded(float(value), DIGITS)
        if plain is not None and grammar.is_known(name, plain):
            return name, plain
        hidden = self._hidden("name", name)
        if isinstance(plain, bool):
            return hidden, plain
        if isinstance(plain, int | float) and math.isfinite(plain) and abs(plain) <= grammar.LARGEST:
            return hidden, plain
        return hidden, self._hidden("value", name, str(plain))

    def _hidden(self, *parts: str) -> str:
        return f"x-{self.salt.digest(*parts)[:8]}"

    def candidate(self, name: str) -> str:
        """A public candidate's name, else a hash of its content."""
        if name in self.public and grammar.is_public_name(name):
            return name
        known = next((item for item in self.about.candidates if item.name == name), None)
        if known is None or not known.fingerprint:
            return f"private-{self.salt.digest('candidate', name)[:16]}"
        return f"private-{hashlib.sha256(f'candidate {known.fingerprint}'.encode()).hexdigest()[:16]}"

    def candidate_rows(self, names: Iterable[str]) -> list[CandidateRow]:
        """Rows of the candidates of these names, each once."""
        known = {item.name: item for item in self.about.candidates}
        rows = {
            self.candidate(name): self._candidate_row(name, known.get(name)) for name in sorted(set(names))
        }
        return list(rows.values())

    def _candidate_row(self, name: str, about: AboutCandidate | None) -> CandidateRow:
        said = self.candidate(name)
        family = None if about is None else about.family
        if said in bundled_names():
            return bundled_row(said, family or grammar.UNKNOWN)
        free = said.startswith("scratch:")
        return CandidateRow(
            name=said,
            architecture=grammar.UNKNOWN if about is None or family is None else about.architecture,
            family=family or grammar.UNKNOWN,
            source="random" if free else grammar.UNKNOWN,
            epochs=0 if free else None,
            accuracy=None,
            parameters=None if about is None else coarse(about.parameters),
            licence="Apache-2.0 (no data)" if free else grammar.UNKNOWN,
            research_only=not free,
        )

    def task_row(self) -> TaskRow:
        """The task in coarse numbers: counts to two digits, logarithms to one decimal, others to two."""
        about = self.about
        sizes = {
            name: coarse(about.sizes[name]) for name in ("train", "validation", "test") if name in about.sizes
        }
        whole = all(name in about.features for name in META_FEATURES)
        features = (
            {name: _coarse_feature(name, about.features[name]) for name in META_FEATURES} if whole else None
        )
        return TaskRow(
            hub=grammar.HUB,
            name=self.task,
            group=f"task-{self._fingerprint[:16]}",
            classes=about.classes if about.classes <= 100 else coarse(about.classes),
            images=None,
            train=sizes.get("train"),
            validation=sizes.get("validation"),
            test=sizes.get("test"),
            image_size=about.image_size,
            metric=about.metric,
            fingerprint=self._fingerprint,
            features=features,
            licence=grammar.UNKNOWN,
            source=grammar.SOURCE,
        )


def bundled_names() -> frozenset[str]:
    """Names of the checkpoints that come with the package."""
    return frozenset(item.name for item in bundle.read_index())


def bundled_row(name: str, family: str) -> CandidateRow:
    """What the package's index says of a bundled checkpoint."""
    entry = next(item for item in bundle.read_index() if item.name == name)
    return CandidateRow(
        name=name,
        architecture=entry.architecture,
        family=family,
        source=_dataset(entry.data) if entry.epochs else "random",
        epochs=entry.epochs,
        accuracy=entry.accuracy if entry.epochs else None,
        parameters=entry.parameters,
        licence=entry.licence,
        research_only="research" in entry.licence.lower(),
    )


def _dataset(data: str) -> str:
    """The name in the index's ``"9600 images of mnist, https://..."``."""
    return data.partition(" images of ")[2].partition(",")[0] or grammar.UNKNOWN


def anonymous(structure: Structure) -> Structure:
    """The same graph with numbers for the names of tensors, which are its author's words."""
    nodes, number = [], 0
    for node in structure.nodes:
        tensors = tuple(
            Owned(f"t{number + i}", tensor.role, tensor.shape) for i, tensor in enumerate(node.tensors)
        )
        number += len(tensors)
        nodes.append(_with(node, tensors))
    uncovered = tuple(f"u{i}" for i in range(len(structure.uncovered)))
    return Structure(
        tuple(nodes), structure.edges, uncovered, structure.parameters, structure.covered, structure.rung
    )


def _with(node: Node, tensors: tuple[Owned, ...]) -> Node:
    return Node(node.kind, tensors, node.groups, node.flipped, node.fan_in, node.fan_out, node.depth)


def coarse(count: int) -> int:
    """A count to two significant digits."""
    return int(float(f"{count:.2g}"))


def _coarse_feature(name: str, value: float) -> float:
    return round(value, 1 if name.startswith("log_") else 2) + 0.0


def _rounded(value: float | None, digits: int) -> float | None:
    """A number to so many significant digits; None stays None."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.{digits}g}")


def _seconds(seconds: float) -> float | None:
    """To three digits; None where nobody took the time."""
    return None if seconds < grammar.SHORTEST_EPOCH else _rounded(seconds, 3)


def _reason(reason: str | None) -> str:
    return reason if reason in grammar.REASONS and reason is not None else "other"
