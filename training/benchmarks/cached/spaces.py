"""The search spaces that the hubs' configurations were drawn from."""

from __future__ import annotations

from ConfigSpace import Categorical, ConfigurationSpace, Float, OrdinalHyperparameter

from fms_hub.search.space import default_space
from training.corpus.small_net import CANDIDATE as SMALL_CNN
from training.corpus.small_net import INITIALISATIONS


def hub_space(hub: str) -> ConfigurationSpace:
    """The space of a hub: that of `training.corpus.small_net.sample`, or the default one."""
    return _small_cnn() if hub == SMALL_CNN else default_space()


def _small_cnn() -> ConfigurationSpace:
    """The union of the ranges; those of the rate and the scale depend on other choices when drawn."""
    space = ConfigurationSpace()
    space.add(
        Categorical("initialisation", list(INITIALISATIONS)),
        Float("initial_scale", (0.01, 5.0), log=True),
        Categorical("activation", ["relu", "tanh"]),
        Categorical("optimiser", ["sgd", "adam", "rmsprop"]),
        Float("learning_rate", (3e-4, 2e-1), log=True),
        Float("weight_decay", (1e-8, 1e-2), log=True),
        Float("dropout", (0.0, 0.7)),
        OrdinalHyperparameter("batch_size", [32, 64, 128]),
        OrdinalHyperparameter("train_fraction", [0.1, 0.25, 0.5, 1.0]),
    )
    return space
