"""The one door to gpytorch, whose import warns of the end of a torch feature that it uses."""

import warnings

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)
    warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=DeprecationWarning)
    import gpytorch
    from gpytorch.kernels import Kernel
    from gpytorch.likelihoods import GaussianLikelihood
    from gpytorch.priors import LogNormalPrior
    from linear_operator.operators import to_linear_operator
    from linear_operator.utils.cholesky import psd_safe_cholesky
    from linear_operator.utils.errors import NanError, NotPSDError
    from linear_operator.utils.warnings import NumericalWarning

__all__ = [
    "GaussianLikelihood",
    "Kernel",
    "LogNormalPrior",
    "NanError",
    "NotPSDError",
    "NumericalWarning",
    "gpytorch",
    "psd_safe_cholesky",
    "to_linear_operator",
]
