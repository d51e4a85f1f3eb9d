"""A linear network with L2: its best response to the strength is known in closed form.

w*(g) = (X'X / n + g I)^-1 X'y / n, so dw*/dg = -(X'X / n + g I)^-1 w*.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fms_hub.finetune.self_tuning.hyperparameters import Tunable
from fms_hub.finetune.self_tuning.network import SelfTuning, fold, responding
from fms_hub.finetune.self_tuning.steps import build_tuner, tuning_step

DECAY = Tunable("weight_decay", 1e-3, 10.0, 0.3, log=True)
FEATURES = 6


class Ridge:
    """A regression with more noise than its few training rows can tell from the signal."""

    def __init__(self) -> None:
        draw = torch.Generator().manual_seed(0)
        truth = torch.randn(FEATURES, generator=draw, dtype=torch.float64)
        self.x, self.y = self._rows(14, truth, draw)
        self.x_held, self.y_held = self._rows(200, truth, draw)

    @staticmethod
    def _rows(n: int, truth: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor]:
        x = torch.randn(n, FEATURES, generator=draw, dtype=torch.float64)
        return x, x @ truth + 2.5 * torch.randn(n, generator=draw, dtype=torch.float64)

    def best(self, decay: Tensor) -> Tensor:
        """Exact best weights, differentiable in the decay."""
        n = len(self.x)
        curvature = self.x.T @ self.x / n + decay * torch.eye(FEATURES, dtype=torch.float64)
        return torch.linalg.solve(curvature, self.x.T @ self.y / n)

    def held_out(self, weights: Tensor) -> Tensor:
        """Half the mean squared error on held-out rows."""
        return 0.5 * (self.x_held @ weights - self.y_held).square().mean()

    def exact_loss(self, unconstrained: Tensor) -> Tensor:
        """Held-out loss of the exact best weights."""
        return self.held_out(self.best(DECAY.constrain(unconstrained)))


def network_from(start: float) -> SelfTuning:
    torch.manual_seed(0)
    plain = nn.Linear(FEATURES, 1, bias=False).double()
    tunable = Tunable("weight_decay", DECAY.low, DECAY.high, start, log=True)
    return responding(plain, torch.randn(3, FEATURES, dtype=torch.float64), [tunable]).double()


def training_loss(network: SelfTuning, ridge: Ridge, unconstrained: Tensor) -> Tensor:
    """Of all training rows at each of the hyperparameters (m, 1)."""
    m, n = len(unconstrained), len(ridge.x)
    answers = network(ridge.x.repeat(m, 1), unconstrained.repeat_interleave(n, dim=0)).reshape(m, n)
    decay = network.hyperparameters.applied(unconstrained)["weight_decay"]
    penalty = 0.5 * decay * network.squared_norm(unconstrained)
    return (0.5 * (answers - ridge.y).square().mean(dim=1) + penalty).mean()


def held_out_loss(network: SelfTuning, ridge: Ridge, unconstrained: Tensor) -> Tensor:
    m, n = len(unconstrained), len(ridge.x_held)
    answers = network(ridge.x_held.repeat(m, 1), unconstrained.repeat_interleave(n, dim=0)).reshape(m, n)
    return 0.5 * (answers - ridge.y_held).square().mean()


@pytest.mark.parametrize("decay", [0.02, 0.3, 3.0])
def test_the_gradient_of_lambda_is_that_of_the_exact_best_response(decay):
    """Trained at lambda +- 0.05, the layer's slope is the response's, up to the third derivative.

    With one output V is a factor of W' and no more, so that it can be fixed: to where W and W' weigh alike.
    """
    ridge, network = Ridge(), network_from(decay)
    centre = network.hyperparameters.centre
    around = centre.detach() + torch.tensor([[-0.05], [0.05]], dtype=torch.float64)
    torch.nn.init.constant_(network.network.response_gain, 20.0)
    weights = [network.network.weight, network.network.response_weight]
    solver = torch.optim.LBFGS(
        weights, max_iter=300, history_size=50, tolerance_grad=1e-13, tolerance_change=1e-18,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> Tensor:
        solver.zero_grad()
        loss = training_loss(network, ridge, around)
        loss.backward()
        return loss

    solver.step(closure)
    exact = ridge.best(DECAY.constrain(centre.detach()))
    torch.testing.assert_close(fold(network).weight.detach()[0], exact, rtol=1e-3, atol=1e-3)
    (ours,) = torch.autograd.grad(held_out_loss(network, ridge, centre[None]), [centre])
    at = centre.detach().clone().requires_grad_()
    (theirs,) = torch.autograd.grad(ridge.exact_loss(at), [at])
    assert abs(float(theirs)) > 1e-3
    assert float(ours) == pytest.approx(float(theirs), rel=0.005)


@pytest.mark.parametrize("start", [0.01, 3.0])
def test_alternating_steps_reach_the_best_decay_from_both_sides(start):
    ridge, network = Ridge(), network_from(start)
    hyper, draw = network.hyperparameters, torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(network.network.parameters(), lr=0.02)
    tuner = build_tuner(hyper, rate=0.04)
    for step in range(1200):
        optimizer.zero_grad()
        training_loss(network, ridge, hyper.perturbed(8, draw).detach()).backward()
        optimizer.step()
        if step >= 100 and step % 2:
            tuning_step(hyper, tuner, lambda u: held_out_loss(network, ridge, u), 8, draw)
    grid = torch.linspace(-6, 6, 481, dtype=torch.float64)
    losses = torch.stack([ridge.exact_loss(point) for point in grid])
    reached = float(ridge.exact_loss(hyper.centre.detach()[0]))
    begun = float(ridge.exact_loss(torch.tensor(DECAY.unconstrain(start), dtype=torch.float64)))
    assert 1 < int(losses.argmin()) < 479
    assert reached - float(losses.min()) < 0.05 * (begun - float(losses.min()))


def test_a_tuning_step_gives_the_weights_no_gradient_and_widens_what_costs_nothing():
    network = network_from(0.3)
    hyper = network.hyperparameters
    before = float(hyper.spread.detach())
    tuner = build_tuner(hyper)
    loss = tuning_step(hyper, tuner, lambda u: (u * 0).sum(), 4, torch.Generator().manual_seed(0))
    assert float(loss) == 0
    assert float(hyper.spread.detach()) > before
    assert all(parameter.grad is None for parameter in network.network.parameters())
