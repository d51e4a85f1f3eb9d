"""What a user holds after a search: the winner, the leaderboard, and the fine-tuned network."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from ConfigSpace import ConfigurationSpace
from numpy.typing import NDArray
from torch import nn

from fms_hub.finetune.trainer import Trainer
from fms_hub.hub.about import About
from fms_hub.models.zoo import export
from fms_hub.records import Candidate, Observation, Value
from fms_hub.search.belief import Belief
from fms_hub.search.importance import Importance, importance_of
from fms_hub.search.leaderboard import leaderboard
from fms_hub.search.objectives import COLUMNS, Cost
from fms_hub.search.plot import figure_of
from fms_hub.search.selector import Selector
from fms_hub.search.to_optuna import to_optuna
from fms_hub.search.winner import Best
from fms_hub.tasks.images import Images
from fms_hub.tasks.pictures import Picture, as_images

if TYPE_CHECKING:
    from optuna.study import Study
    from plotly.graph_objects import Figure


@dataclass(frozen=True)
class FrontPoint:
    """A run after some epoch that no other beats in score or cost without losing in the other.

    Attributes:
        candidate, hyperparameters: of the run.
        score: its validation score after these epochs, in [0, 1].
        costs: of the candidate, as far as the search asked for them, in the units of
            `fms_hub.search.objectives.Cost`.
        epochs: after how many the score was reached.
        run: number of the run.
        checkpoint: folder of its checkpoint, below the search's folder.
    """

    candidate: str
    hyperparameters: Mapping[str, Value]
    score: float
    costs: Mapping[Cost, float]
    epochs: int
    run: int
    checkpoint: str


class Selection:
    """The outcome of `fms_hub.select`.

    Attributes:
        best: the winner, which has the best score.
        front: the Pareto front of the search's objectives, best score first; the winner alone where the score
            is the only one.
        history: all observations, oldest first.
        probes: of the candidates before training, by name, where the search looked at them.
        spent: epochs and seconds that the search cost.
        out: folder with the log, the sketches and the kept checkpoints.
        metric: name of the score.
        classes: class names, index = label.
        surrogate: which one proposed: its name, and where it was read from.
        outside: how far each candidate's architecture lies beyond those that the surrogate was trained on,
            by name; 0 within, see `fms_hub.search.belief.Belief.outside`.
    """

    def __init__(
        self,
        best: Best,
        *,
        selector: Selector,
        out: Path,
        trainer: Trainer,
        candidates: Sequence[Candidate],
        about: About,
        costs: Mapping[str, Mapping[Cost, float]],
        outside: Mapping[str, float],
    ) -> None:
        self.best = best
        self.front = tuple(_front_point(o, costs) for o in selector.front)
        self.history = selector.history
        self.probes = selector.probes
        self.spent = selector.spent
        self.out = out
        self.metric = trainer.metric
        self.classes = trainer.task.info.classes
        self.surrogate = about.surrogate
        self.outside = outside
        self._terms = {item.name: (item.licence, item.gated) for item in about.candidates}
        self._selector = selector
        self._trainer = trainer
        self._candidates = {candidate.name: candidate for candidate in candidates}
        self._winner = self._candidates[best.candidate]
        self._costs = costs

    def leaderboard(self) -> pd.DataFrame:
        """One row per run, best first: candidate, hyperparameters, score, epochs, seconds, status.

        And of the candidate: how far ``outside`` the surrogate's range it is, 0 within; the licence of its
        weights and whether it is gated, None where that is unknown; and what an objective or a limit made the
        search measure: ``latency_ms``, ``parameters``, ``peak_memory_mb``.
        """
        board = leaderboard(self.history)
        board["outside"] = [self.outside[name] for name in board["candidate"]]
        for place, column in enumerate(("licence", "gated")):
            values = [self._terms[name][place] for name in board["candidate"]]
            board[column] = pd.Series(values, index=board.index, dtype=object)
        for cost in self._costs[self.best.candidate]:
            board[COLUMNS[cost]] = [self._costs[name][cost] for name in board["candidate"]]
        return board

    def belief(self) -> Belief:
        """What the search has come to believe of configurations, trained or not."""
        return self._selector.belief()

    def load_best(self) -> nn.Module:
        """The winning network in evaluation mode on the CPU: (B, 3, size, size) -> logits (B, classes)."""
        return self._trainer.load(
            self._winner, self.best.hyperparameters, self.out / self.best.checkpoint
        ).module

    def load(self, point: FrontPoint) -> nn.Module:
        """The network of a point of the front, as in `load_best`."""
        candidate, folder = self._candidates[point.candidate], self.out / point.checkpoint
        return self._trainer.load(candidate, point.hyperparameters, folder).module

    def probabilities(self, images: Sequence[Picture] | Images) -> NDArray[np.float32]:
        """Class probabilities of the winner, (n, classes).

        Args:
            images: PIL images, uint8 arrays (h, w) or (h, w, 3), or paths of image files.
        """
        prepared = as_images(images)
        return self._trainer.predict(
            self._winner, self.best.hyperparameters, self.out / self.best.checkpoint, prepared
        )

    def predict(self, images: Sequence[Picture] | Images) -> list[str]:
        """The most probable class of each image, by name."""
        return [self.classes[i] for i in self.probabilities(images).argmax(axis=1)]

    def save(self, path: str | Path) -> Path:
        """Write the winner for others to use: safetensors, config and a card.

        The folder opens with ``timm.create_model("local-dir:PATH", pretrained=True)``, or with
        transformers where the candidate came from there.
        """
        folder = Path(path)
        model = self._trainer.load(self._winner, self.best.hyperparameters, self.out / self.best.checkpoint)
        export(model, self._winner, self.classes, folder)
        (folder / "README.md").write_text(_card(self))
        return folder

    def to_optuna(self, space: ConfigurationSpace | None = None) -> Study:
        """The runs as trials of an Optuna study, see `fms_hub.search.to_optuna.to_optuna`.

        Args:
            space: that was searched, if it was not the default one.
        """
        return to_optuna(self.out, space)

    def plot(self) -> Figure:
        """What was trained and how the runs went on, see `fms_hub.search.plot.figure_of`."""
        return figure_of(self.history)

    def importance(self, space: ConfigurationSpace | None = None) -> Importance:
        """What mattered in this search, see `fms_hub.search.importance.importance_of`.

        Args:
            space: that was searched, if it was not the default one.
        """
        return importance_of(self.out, space)

    def to_json(self) -> dict[str, Any]:
        """What the command line prints with ``--json``."""
        shown = ("candidate", "hyperparameters", "score", "test_score", "epochs")
        shown_of_runs = ["candidate", "hyperparameters", "score", "epochs", "status", "outside", "licence"]
        measured = [COLUMNS[cost] for cost in self._costs[self.best.candidate]]
        board = self.leaderboard()
        rows = board[[*shown_of_runs, "gated", *measured, *(["parent"] if "parent" in board else [])]]
        several = self._selector.tradeoff is not None
        return {
            "best": {name: getattr(self.best, name) for name in shown},
            "leaderboard": rows.astype(object).where(rows.notna(), None).to_dict(orient="records"),
            **({"front": [_shown(point) for point in self.front]} if several else {}),
            **(
                {"probes": [dataclasses.asdict(probe) for probe in self.probes.values()]}
                if self.probes
                else {}
            ),
            "budget": {"epochs": self.spent.epochs, "seconds": round(self.spent.seconds, 3)},
            "surrogate": self.surrogate,
            "out": str(self.out),
        }

    def __repr__(self) -> str:
        best = self.best
        return (
            f"Selection(best={best.candidate!r}, {self.metric}={best.score:.4f}, test={best.test_score:.4f}, "
            f"epochs={best.epochs}, runs={len({o.run for o in self.history})}, out={str(self.out)!r})"
        )


def _front_point(observation: Observation, costs: Mapping[str, Mapping[Cost, float]]) -> FrontPoint:
    if observation.score is None or observation.checkpoint is None:
        raise ValueError(f"run {observation.run} has no score or no checkpoint, which no front holds.")
    return FrontPoint(
        candidate=observation.candidate,
        hyperparameters=observation.hyperparameters,
        score=observation.score,
        costs=costs[observation.candidate],
        epochs=observation.epoch,
        run=observation.run,
        checkpoint=observation.checkpoint,
    )


def _shown(point: FrontPoint) -> dict[str, Any]:
    """A point as plain JSON values, its costs under the names of the leaderboard."""
    shown = ("candidate", "hyperparameters", "score", "epochs", "run")
    costs = {COLUMNS[cost]: value for cost, value in point.costs.items()}
    return {**{name: getattr(point, name) for name in shown}, **costs}


def _card(selection: Selection) -> str:
    best = selection.best
    settings = "\n".join(f"| {name} | {value} |" for name, value in sorted(best.hyperparameters.items()))
    return (
        f"# {best.candidate}, fine-tuned\n\n"
        f"Selected by fms_hub among {len({o.candidate for o in selection.history})} candidates in "
        f"{selection.spent.epochs} epochs. Classes: {', '.join(selection.classes)}.\n\n"
        f"| | |\n|---|---|\n| validation {selection.metric} | {best.score:.4f} |\n"
        f"| test {selection.metric} (scored once) | {best.test_score:.4f} |\n| epochs | {best.epochs} |\n"
        f"{settings}\n"
    )
