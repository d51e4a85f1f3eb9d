"""The surrogate: a Gaussian process over groups of inputs, with or without meta-training behind it.

A Surrogate never changes: `fit` and `condition` return new ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fms_hub.surrogate import storage
from fms_hub.surrogate.inputs import Inputs
from fms_hub.surrogate.learned import Learned, Rows
from fms_hub.surrogate.posterior import Posterior
from fms_hub.surrogate.process import Form, Process, maximise_posterior, predict
from fms_hub.surrogate.scaling import Scaling

FIT_STEPS = 30
"""Most L-BFGS steps of a fit."""


@dataclass(frozen=True)
class _Data:
    """What the process is conditioned on: columns (n, D), and the scores (n,) less their prior mean.

    Scores are in units of ``spread`` around ``centre``.
    """

    x: Tensor
    y: Tensor
    centre: float
    spread: float


@dataclass(frozen=True, eq=False)
class Surrogate:
    """A Gaussian process with its parameters, input scaling and observations.

    Attributes:
        name: says in logs and reports which surrogate it is.
        learned: what meta-training found; None for a surrogate that learns from one search alone.
        parameters: of kernel, mean and likelihood, by name; None before the first fit, which means
            those of ``learned``, or the priors' centres.
        scaling: of the inputs; None before the first fit of a surrogate without ``learned``.
        form: of the process; None before it has seen inputs.
        data: the observations; None before the first.
    """

    name: str = "scratch"
    learned: Learned | None = None
    parameters: Mapping[str, Tensor] | None = None
    scaling: Scaling | None = None
    form: Form | None = None
    data: _Data | None = None

    def fit(self, inputs: Inputs, scores: NDArray[np.float64], *, steps: int = FIT_STEPS) -> Surrogate:
        """Find the process' parameters by maximum a posteriori (L-BFGS), then condition on the data.

        What meta-training learned of encoders stays; its parameters are where the fit starts and what the
        priors are centred around.

        Args:
            inputs: n rows, n >= 2.
            scores: (n,), finite; of a meta-trained surrogate, 0 is guessing and 1 perfect.
            steps: most L-BFGS steps.

        Returns:
            A new surrogate; this one stays as it is. Equal inputs give equal results.
        """
        start = replace(self, scaling=None, form=None, parameters=None)._ready(inputs)
        prepared = start._prepare(inputs, scores)
        process = start._process(prepared)
        maximise_posterior(process, steps)
        return replace(start, parameters=process.parameters_by_name(), data=prepared)

    def condition(self, inputs: Inputs, scores: NDArray[np.float64]) -> Surrogate:
        """Replace the observations, n >= 1, keeping the process' parameters and the scaling."""
        start = self._ready(inputs)
        return replace(start, data=start._prepare(inputs, scores))

    def posterior(self, inputs: Inputs) -> Posterior:
        """Predict the scores of n rows, the noise of one observation included in the deviation.

        A meta-trained surrogate is less sure of architectures beyond those it has seen.

        Raises:
            ValueError: the surrogate is neither meta-trained nor conditioned on any observation.
        """
        if self.data is None and self.learned is None:
            raise ValueError("condition the surrogate on at least one observation before predicting")
        start = self._ready(inputs)
        rows = start._rows(inputs)
        data = start.data or _Data(rows.x[:0], rows.mean[:0], 0.0, 1.0)
        with torch.no_grad():
            marginals = predict(start._process(data), data.x, data.y, rows.x)
            mean, deviation = rows.mean + marginals.mean, marginals.variance.sqrt()
        stretch = 1.0 if self.learned is None else self.learned.stretch(inputs)
        return Posterior(data.centre + data.spread * mean.numpy(), stretch * data.spread * deviation.numpy())

    def save(self, path: Path) -> None:
        """Write one safetensors file; its header carries the format version and the rest as JSON.

        Raises:
            ValueError: there is nothing to save: neither meta-trained nor fitted.
        """
        if self.form is None and self.learned is None:
            raise ValueError("only a fitted or meta-trained surrogate can be saved")
        data = None if self.data is None else storage.Observed(**vars(self.data))
        storage.save(
            path, storage.Content(self.name, self.learned, self.parameters, self.scaling, self.form, data)
        )

    @classmethod
    def load(cls, path: Path) -> Surrogate:
        """Read what `save` wrote, strictly.

        Raises:
            CheckpointError: absent, damaged, of another format version, or with a missing, extra,
                misshaped or non-finite tensor.
        """
        content = storage.load(path)
        data = None if content.data is None else _Data(**vars(content.data))
        return cls(content.name, content.learned, content.parameters, content.scaling, content.form, data)

    def _ready(self, inputs: Inputs) -> Surrogate:
        """With scaling and form for these inputs, if it has none yet."""
        if self.form is not None:
            return self
        if self.learned is not None:
            return replace(self, scaling=self.learned.scaling, form=self.learned.form(inputs))
        scaling = Scaling.of(inputs)
        return replace(self, scaling=scaling, form=Form(scaling.groups(inputs)))

    def _rows(self, inputs: Inputs) -> Rows:
        if self.learned is not None:
            return self.learned.rows(inputs)
        assert self.scaling is not None
        columns = self.scaling.columns(inputs)
        return Rows(columns, torch.zeros(len(columns), dtype=columns.dtype))

    def _prepare(self, inputs: Inputs, scores: NDArray[np.float64]) -> _Data:
        rows = self._rows(inputs)
        if self.learned is not None:
            return _Data(rows.x, torch.from_numpy(scores) - rows.mean, 0.0, 1.0)
        spread = float(scores.std())
        # One score, or equal ones, say nothing of the spread; accuracies differ by tenths.
        spread = spread if spread > 1e-3 else 0.1
        centre = float(scores.mean())
        return _Data(rows.x, torch.from_numpy((scores - centre) / spread), centre, spread)

    def _process(self, data: _Data) -> Process:
        assert self.form is not None
        process = Process(data.x, data.y, self.form)
        process.set_parameters(self.parameters or {})
        return process
