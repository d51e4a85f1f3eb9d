"""Predictions from many observations through few inducing rows (FITC).

Snelson & Ghahramani 2006; Quinonero-Candela & Rasmussen 2005, section 6. Given the scores at m inducing rows,
observations are independent of one another; what those do not explain of a row's variance counts as its own
noise. n observations cost n m^2, where exact predictions cost n^3 / 3.

n = observed rows, m = inducing rows, q = asked rows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fms_hub.surrogate.inputs import evenly
from fms_hub.surrogate.process import Marginals, Process, covariance, factor_of, lower

INDUCING = 256
"""Rows, spread evenly over those observed."""


def predict_through(
    process: Process, x: Tensor, y: Tensor, queries: Tensor, inducing: int = INDUCING
) -> Marginals:
    """The posterior's marginals, as `fms_hub.surrogate.process.predict`, without gradients.

    Args:
        process: with its parameters.
        x: observed rows (n, D).
        y: what is modelled of their scores (n,).
        queries: asked rows (q, D).
        inducing: m, the most there are.
    """
    kernel, noise, constant = process.covar_module, process.likelihood.noise, process.mean_module.constant
    points = x[torch.from_numpy(evenly(len(x), inducing))]
    root = factor_of(lower(kernel, points))

    def seen_from(rows: Tensor) -> Tensor:
        found: Tensor = torch.linalg.solve_triangular(root, covariance(kernel, rows, points).mT, upper=False)
        return found

    known = seen_from(x)
    own = (kernel(x, diag=True) - known.square().sum(dim=0)).clamp_min(0.0) + noise
    weighed = known / own
    precision = weighed @ known.mT
    precision.diagonal().add_(1.0)
    inner = factor_of(precision)
    weights = torch.cholesky_solve((weighed @ (y - constant)).unsqueeze(-1), inner)
    asked = seen_from(queries)
    left = torch.linalg.solve_triangular(inner, asked, upper=False).square().sum(dim=0)
    unseen = (kernel(queries, diag=True) - asked.square().sum(dim=0)).clamp_min(0.0)
    return Marginals(constant + (asked.mT @ weights).squeeze(-1), unseen + left + noise)
