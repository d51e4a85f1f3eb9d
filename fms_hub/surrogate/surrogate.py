"""The surrogate: a Gaussian process over groups of inputs, with or without meta-training behind it.

A Surrogate never changes: `fit` and `condition` return new ones.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fms_hub.errors import OutputError
from fms_hub.surrogate import card, pretrained, storage
from fms_hub.surrogate.inducing import INDUCING, predict_through
from fms_hub.surrogate.inputs import Inputs
from fms_hub.surrogate.learned import Learned, Rows
from fms_hub.surrogate.posterior import Posterior
from fms_hub.surrogate.pretrained import FILE_NAME, Source
from fms_hub.surrogate.process import Form, Process, maximise_posterior, predict
from fms_hub.surrogate.scaling import Scaling
from fms_hub.surrogate.threads import THREADS, using

FIT_STEPS, LEARNED_FIT_STEPS = 30, 4
"""Most L-BFGS steps of a fit; fewer from what meta-training found, for what one search says of the kernel in
more steps makes intervals too narrow (measured, training/LOG.md)."""
EXACT_UP_TO = 1024
"""Observed rows. Exact predictions from more are no nearer, and too sure of themselves (training/LOG.md)."""


@dataclass(frozen=True)
class _Data:
    """What the process is conditioned on: columns (n, D), and what it models of the scores, (n,).

    Those are in units of ``spread`` around ``centre``; of a meta-trained surrogate see `Rows`.
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
        source: where it was read from by `from_pretrained`, else None.
        exact_up_to: observed rows up to which predictions are exact; more go through inducing rows.
        inducing: how many of them, at least 1.
    """

    name: str = "scratch"
    learned: Learned | None = None
    parameters: Mapping[str, Tensor] | None = None
    scaling: Scaling | None = None
    form: Form | None = None
    data: _Data | None = None
    source: Source | None = None
    exact_up_to: int = EXACT_UP_TO
    inducing: int = INDUCING

    @property
    def identity(self) -> str:
        """Its name, and where it was read from a file the sha256: equal for the same surrogate anywhere."""
        return self.name if self.source is None else f"{self.name} sha256:{self.source.sha256[:16]}"

    @property
    def label(self) -> str:
        """Its name and all that is known of where it was read from, for logs and reports."""
        return self.name if self.source is None else f"{self.name} {self.source}"

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        revision: str | None = None,
        sha256: str | None = None,
        update: bool = False,
    ) -> Surrogate:
        """Read a surrogate that comes with the package, lies on this disk, or is on the Hugging Face Hub.

        A name of the Hub is resolved once, to a commit and the sha256 of its file, and stands for that file
        from then on (`fms_hub.surrogate.pins`): later calls need no network, and a file with another digest
        is refused. ``HF_HUB_OFFLINE`` is honoured. Nothing else is ever read instead.

        Args:
            name: ``"bundled"``, ``"organisation/name"``, ``"organisation/name@revision"``, a folder or a
                file; what exists on this disk is a folder or a file.
            revision: branch, tag or commit of a repository.
            sha256: that the file must have, 64 hexadecimal digits; best told by someone else than the Hub.
            update: pin the name to what the Hub has now.

        Raises:
            UsageError: the name is none of these.
            CheckpointError: there is no such file, or it is damaged or of another format version.
            HubError: the repository or revision does not exist, is gated, or holds no surrogate.
            Unreachable: the Hub cannot be reached, and the file is not on this disk.
            Tampered: the file has another sha256 than was asked for or pinned.
            StorageError: the name cannot be pinned.
        """
        found = pretrained.locate(name, revision=revision, sha256=sha256, update=update)
        loaded = replace(cls.load(found.path), source=found.source)
        found.pin()
        return loaded

    def fit(self, inputs: Inputs, scores: NDArray[np.float64], *, steps: int | None = None) -> Surrogate:
        """Find the process' parameters by maximum a posteriori (L-BFGS), then condition on the data.

        What meta-training learned of the prior mean stays; its parameters are where the fit starts and what
        the priors are centred around.

        Args:
            inputs: n rows, n >= 2.
            scores: (n,), finite; of a meta-trained surrogate, 0 is guessing and 1 perfect.
            steps: most L-BFGS steps; None stands for `LEARNED_FIT_STEPS` or `FIT_STEPS`.

        Returns:
            A new surrogate; this one stays as it is. Equal inputs give equal results.
        """
        start = replace(self, scaling=None, form=None, parameters=None)._ready(inputs)
        prepared = start._prepare(inputs, scores)
        process = start._process(prepared)
        usual = FIT_STEPS if self.learned is None else LEARNED_FIT_STEPS
        with using(THREADS):
            maximise_posterior(process, usual if steps is None else steps)
        return replace(start, parameters=process.parameters_by_name(), data=prepared)

    def condition(self, inputs: Inputs, scores: NDArray[np.float64]) -> Surrogate:
        """Replace the observations, n >= 1, keeping the process' parameters and the scaling."""
        start = self._ready(inputs)
        return replace(start, data=start._prepare(inputs, scores))

    def posterior(self, inputs: Inputs) -> Posterior:
        """Predict the scores of n rows, the noise of one observation included in the deviation.

        A meta-trained surrogate is less sure of architectures beyond those it has seen. From more than
        ``exact_up_to`` observed rows it predicts through ``inducing`` of them.

        Raises:
            ValueError: the surrogate is neither meta-trained nor conditioned on any observation.
        """
        if self.data is None and self.learned is None:
            raise ValueError("condition the surrogate on at least one observation before predicting")
        start = self._ready(inputs)
        rows = start._rows(inputs)
        data = start.data or _Data(rows.x[:0], rows.mean[:0], 0.0, 1.0)
        with torch.no_grad(), using(THREADS):
            process = start._process(data)
            if len(data.y) <= self.exact_up_to:
                marginals = predict(process, data.x, data.y, rows.x)
            else:
                marginals = predict_through(process, data.x, data.y, rows.x, self.inducing)
            mean = rows.mean + rows.deviation * marginals.mean
            deviation = rows.deviation * marginals.variance.sqrt()
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

    def save_pretrained(self, folder: str | os.PathLike[str]) -> Path:
        """Write what `from_pretrained` reads: the file, its header as config.json, a card if it has none.

        Raises:
            ValueError: as in `save`.
            OutputError: the folder cannot be written.
        """
        target = Path(folder)
        try:
            target.mkdir(parents=True, exist_ok=True)
            self.save(target / FILE_NAME)
            card.write(target)
        except OSError as error:
            raise OutputError(
                f"cannot write a surrogate to {target}: {error}. Choose another folder."
            ) from error
        return target

    def push_to_hub(self, repo: str, *, tag: str | None = None, private: bool = False) -> str:
        """Upload what `save_pretrained` writes to a model repository, made if absent; its own card stays.

        Args:
            repo: ``"organisation/name"``.
            tag: a name for this version, e.g. ``"v1"``.
            private: whether a new repository is.

        Returns:
            The commit, 40 hexadecimal digits.

        Raises:
            ValueError: as in `save`.
            HubError: there is no login or it may not write, or the tag names another commit.
            Unreachable: the Hub cannot be reached.
        """
        from fms_hub.hub import publishing

        with tempfile.TemporaryDirectory() as scratch:
            folder = self.save_pretrained(scratch)
            return publishing.publish(
                repo, folder, message=f"Surrogate {self.name}", tag=tag, private=private, keep=(card.FILE,)
            ).commit

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
        return Rows(columns, columns.new_zeros(len(columns)), columns.new_ones(len(columns)))

    def _prepare(self, inputs: Inputs, scores: NDArray[np.float64]) -> _Data:
        rows = self._rows(inputs)
        if self.learned is not None:
            return _Data(rows.x, (torch.from_numpy(scores) - rows.mean) / rows.deviation, 0.0, 1.0)
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
