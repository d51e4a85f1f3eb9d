"""What mattered in a search: the shares of hyperparameters and of the candidate's choice in the scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ConfigSpace import ConfigurationSpace

from fms_hub.errors import UsageError
from fms_hub.records import Observation
from fms_hub.search.to_optuna import to_optuna

FEWEST: Final = 4
"""Runs with a score; of fewer nothing can be said."""


@dataclass(frozen=True)
class Importance:
    """Shares of the variance of the runs' best scores.

    Attributes:
        shares: by name, ``"candidate"`` among them, largest first; in [0, 1], together 1.
        left_out: hyperparameters that not every run had, of which nothing is said.
        runs: how many runs with a score it is from.
    """

    shares: Mapping[str, float]
    left_out: tuple[str, ...]
    runs: int


def importance_of(
    search: Sequence[Observation] | str | Path, space: ConfigurationSpace | None = None, *, seed: int = 0
) -> Importance:
    """Optuna's functional ANOVA (Hutter et al. 2014) over the runs, see `fms_hub.search.to_optuna.to_optuna`.

    A search does not draw its runs at random and stops most of them early, so that shares say what told runs
    apart in this search; of few runs they say little.

    Args:
        search: observations, or the folder of a search or of imported runs.
        space: that was searched, if it was not the default one.
        seed: of the random forest.

    Raises:
        OutputError, CheckpointError: the folder holds no log, or a damaged one.
        UsageError: Optuna is not installed, there are fewer than `FEWEST` runs with a score, or all scores
            are the same.
    """
    study = to_optuna(search, space)
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    values = {trial.value for trial in trials}
    if len(trials) < FEWEST or len(values) < 2:
        raise UsageError(
            f"what mattered can be told from at least {FEWEST} runs with different scores, found "
            f"{len(trials)} runs with {len(values)} scores; let the search train more."
        )
    shares = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=seed))
    names = {name for trial in trials for name in trial.params}
    return Importance(shares, tuple(sorted(names - shares.keys())), len(trials))
