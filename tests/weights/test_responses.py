from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from fms_hub.weights.describe import answers, describe
from fms_hub.weights.graph import COLUMNS
from fms_hub.weights.responses import (
    IMAGES,
    RESPONSE_FEATURES,
    respond,
    response_table,
    synthetic_images,
)
from fms_hub.weights.trace import trace

SIZE = (3, 32, 32)


class _Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.head = nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.conv(images).relu().mean((2, 3)))


def _rows(model: nn.Module) -> dict[str, dict[str, float]]:
    responses = respond(model, SIZE)
    assert responses.logits is not None
    rows = {path: dict(zip(RESPONSE_FEATURES, row)) for path, row in responses.modules.items()}  # noqa: B905
    names = RESPONSE_FEATURES[-1 - len(responses.logits) : -1]
    return rows | {"": dict(zip(names, responses.logits, strict=True))}


def test_the_images_are_fixed_and_their_spectra_fall_at_different_rates():
    images = synthetic_images(3, 32, 48)
    assert images.shape == (IMAGES, 3, 32, 48) and images.dtype == torch.float32
    assert torch.equal(images, synthetic_images(3, 32, 48))
    np.testing.assert_allclose(images.flatten(1).mean(1), 0, atol=1e-5)
    np.testing.assert_allclose(images.flatten(1).std(1), 1, atol=1e-3)
    roughness = (images[..., 1:] - images[..., :-1]).square().mean((1, 2, 3))
    assert (roughness[0::4] > 2 * roughness[3::4]).all()
    assert synthetic_images(1, 28, 28).shape == (IMAGES, 1, 28, 28)


def test_responses_are_what_their_names_say():
    torch.manual_seed(0)
    model = _Plain().double()
    images = synthetic_images(*SIZE).double()
    rows = _rows(model)
    with torch.no_grad():
        hidden = model.conv(images).flatten(1)
        pooled = model.conv(images).relu().mean((2, 3))
        logits = model(images)
    centred = hidden - hidden.mean(0)
    shares = torch.linalg.svdvals(centred) ** 2
    assert rows["conv"] == pytest.approx(
        {
            "out_log_rms": float(hidden.square().mean().sqrt().log()),
            "out_mean": float(hidden.mean() / hidden.square().mean().sqrt()),
            "out_on": float((hidden > 0).double().mean()),
            "out_never_on": float((hidden <= 0).all(0).double().mean()),
            "out_always_on": float((hidden > 0).all(0).double().mean()),
            "out_log_rank": float((shares.sum() ** 2 / (shares**2).sum()).log()),
            "out_varying": float(centred.square().sum() / hidden.square().sum()),
            "in_log_rms": float(images.square().mean().sqrt().log()),
            "in_mean": 0.0,
            "in_log_kurtosis": float((images**4).mean().log() - 2 * (images**2).mean().log()),
            "in_zero": 0.0,
        },
        rel=1e-8,
        abs=1e-6,
    )
    assert rows["head"]["in_zero"] == float((pooled == 0).double().mean())
    each = logits.softmax(1)
    entropy = -(each * each.log()).sum(1).mean() / np.log(5)
    together = -(each.mean(0) * each.mean(0).log()).sum() / np.log(5)
    expected = {"entropy": entropy, "consensus": together, "confidence": each.amax(1).mean()}
    assert rows[""] == pytest.approx({name: float(value) for name, value in expected.items()}, rel=1e-9)


def test_dead_and_constant_modules_stay_finite():
    model = _Plain()
    nn.init.zeros_(model.conv.weight)
    nn.init.constant_(model.conv.bias, -1.0)
    rows = _rows(model)
    assert rows["conv"]["out_never_on"] == 1 and rows["conv"]["out_varying"] == pytest.approx(0, abs=1e-6)
    assert rows["head"]["in_zero"] == 1
    nn.init.constant_(model.conv.bias, 3e38)
    assert np.isfinite(response_table(trace(model, SIZE), respond(model, SIZE))).all()


def test_the_table_has_a_row_for_every_node_and_the_networks_answer_in_the_last():
    model = timm.create_model("test_vit", num_classes=7, img_size=32)
    structure = trace(model, SIZE)
    table = response_table(structure, respond(model, SIZE))
    answered = table[:, -1] == 1
    owning = np.array(
        [any("norm" in t.name or "mlp" in t.name for t in node.tensors) for node in structure.nodes]
    )
    assert table.shape == (len(structure.nodes), len(RESPONSE_FEATURES))
    assert answered[owning].all() and answered[-1] and not answered[0]
    assert (table[-1, -4:-1] > 0).all()
    assert not response_table(structure, None).any()


def test_a_network_is_left_as_it_was():
    model = timm.create_model("test_resnet", num_classes=4).train()
    model.layer1.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [part.training for part in model.modules()]
    state = torch.get_rng_state()
    respond(model, SIZE)
    assert [part.training for part in model.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(part._forward_hooks for part in model.modules())
    assert torch.equal(torch.get_rng_state(), state)


class _Fragile(_Plain):
    def forward(self, images: Tensor) -> Tensor:
        if not images.is_meta:
            raise RuntimeError("no data here")
        return super().forward(images)


def test_a_network_that_cannot_be_run_is_described_without_answers():
    model = _Fragile()
    assert answers(model, SIZE) is None
    graph = describe(model, SIZE)
    assert not graph.x[:, [COLUMNS.index(name) for name in RESPONSE_FEATURES]].any()
    assert graph.x[:, COLUMNS.index("log_rms")].any()
    assert not model.conv._forward_hooks
