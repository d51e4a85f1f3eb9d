from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fms_hub.errors import SpaceError
from fms_hub.finetune.self_tuning.hyperparameters import TUNABLES, Hyperparameters, Tunable, named_tunables


@given(st.sampled_from(list(TUNABLES.values())), st.floats(0, 1), st.floats(-30, 30))
def test_mappings_are_inverse_and_never_leave_the_range(tunable, share, anywhere):
    value = tunable.low + share * (tunable.high - tunable.low)
    back = float(tunable.constrain(torch.tensor(tunable.unconstrain(value), dtype=torch.float64)))
    nearest = 0.003 * (tunable.high - tunable.low) if not tunable.log else 0.05 * value
    assert back == pytest.approx(value, abs=nearest + 1e-9)
    found = float(tunable.constrain(torch.tensor(anywhere, dtype=torch.float64)))
    assert tunable.low * (1 - 1e-9) <= found <= tunable.high * (1 + 1e-9)


def test_the_middle_of_linear_and_logarithmic_ranges():
    middle = torch.zeros(())
    assert float(Tunable("a", 1.0, 5.0, 2.0).constrain(middle)) == 3.0
    assert float(Tunable("a", 1e-4, 1.0, 1e-2, log=True).constrain(middle)) == pytest.approx(1e-2)


def test_whole_numbers_are_rounded_where_they_are_applied_alone():
    number = TUNABLES["cutout_number"]
    at = torch.tensor([number.unconstrain(value) for value in (0.2, 1.4, 1.6, 3.9)])
    assert number.applied(at).tolist() == [0, 1, 2, 4]
    assert number.constrain(at).tolist() == pytest.approx([0.2, 1.4, 1.6, 3.9], abs=1e-5)


def test_perturbations_have_the_learned_centre_and_spread_and_gradients_to_both():
    hyper = Hyperparameters(named_tunables(["hue", "dropout"]), {"hue": 0.25}, spread=0.7)
    draw = hyper.perturbed(20_000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(draw.std(dim=0), torch.full((2,), 0.7), rtol=0.02, atol=0)
    torch.testing.assert_close(
        draw.mean(dim=0), torch.tensor([0.0, hyper.centre[1].item()]), rtol=0, atol=0.02
    )
    draw[:, 0].square().mean().backward()
    # E[u^2] = c^2 + s^2: its slopes are 2 c = 0 and 2 s d(softplus) = 1.4 (1 - exp(-0.7)).
    assert float(hyper.centre.grad[0]) == pytest.approx(0, abs=0.03)
    assert float(hyper.raw_spread.grad[0]) == pytest.approx(1.4 * (1 - math.exp(-0.7)), rel=0.03)
    assert hyper.values()["hue"] == pytest.approx(0.25)
    assert torch.equal(hyper.offsets(hyper.centre), torch.zeros(2))


def test_the_entropy_is_that_of_the_gaussian():
    hyper = Hyperparameters(named_tunables(["hue", "dropout"]), spread=0.7)
    gaussian = torch.distributions.Normal(torch.zeros(2), 0.7)
    torch.testing.assert_close(hyper.entropy().detach(), gaussian.entropy().sum())


def test_the_centre_is_taken_back_within_reach():
    hyper = Hyperparameters(named_tunables(["hue", "dropout"]))
    with torch.no_grad():
        hyper.centre.copy_(torch.tensor([-9.0, 5.0]))
    hyper.keep_within_reach()
    assert hyper.centre.tolist() == [-6.0, 5.0]


def test_bad_tunables_are_refused():
    with pytest.raises(SpaceError, match=r"range of 'a' must be finite and rise.*0\.0 \.\. 1"):
        Tunable("a", 0.0, 1.0, 0.5, log=True)
    with pytest.raises(SpaceError, match="range of 'a'"):
        Tunable("a", 1.0, 1.0, 1.0)
    with pytest.raises(SpaceError, match=r"'a' must start in \[0, 1\], found 2"):
        Tunable("a", 0.0, 1.0, 2.0)
    with pytest.raises(SpaceError, match="found nothing"):
        named_tunables([])
    with pytest.raises(SpaceError, match="each once; found hue, hue"):
        named_tunables(["hue", "hue"])
