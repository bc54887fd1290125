"""Muon against its definition in float64, and against AdamW where it leaves parameters to that."""

import pytest
import torch
from torch import Tensor

from qnas.data.images import DataSet
from qnas.network.build import build_plan
from qnas.network.handmade import HandMade
from qnas.quant.scheme import Bits
from qnas.training.muon import Muon, orthogonal
from qnas.training.qat import begun
from qnas.training.recipe import Recipe


def newton_schulz(matrix: Tensor) -> Tensor:
    """Algorithm 1 of Jordan et al. (2024), as it stands there, in float64."""
    x = matrix.double() / matrix.double().norm()
    if matrix.shape[0] > matrix.shape[1]:
        return newton_schulz(matrix.T).T
    for _ in range(5):
        product = x @ x.T
        x = 3.4445 * x + (-4.7750 * product + 2.0315 * product @ product) @ x
    return x


def test_matrices_are_made_orthogonal_as_it_is_defined() -> None:
    matrices = [torch.randn(shape) for shape in [(16, 144), (64, 100), (48, 9), (1, 7), (16, 27), (27, 16)]]
    for matrix, found in zip(matrices, orthogonal(matrices), strict=True):
        assert found.shape == matrix.shape
        torch.testing.assert_close(found.double(), newton_schulz(matrix), atol=1e-4, rtol=0)
        values = torch.linalg.svdvals(found)
        assert values.min() > 0.6
        assert values.max() < 1.25


def test_an_update_follows_the_equations() -> None:
    weight = torch.randn(8, 3, 3, 3, requires_grad=True)
    before, momentum = weight.detach().clone(), torch.zeros(8, 27)
    optimizer = Muon([{"params": [weight], "lr": 0.1, "weight_decay": 0.5, "orthogonal": True}])
    for _ in range(3):
        gradient = torch.randn(8, 3, 3, 3)
        weight.grad = gradient.contiguous(memory_format=torch.channels_last)
        optimizer.step()
        momentum = 0.95 * momentum + 0.05 * gradient.flatten(1)
        update = newton_schulz(0.95 * momentum + 0.05 * gradient.flatten(1)).float()
        before = (1 - 0.1 * 0.5) * before - 0.1 * 0.2 * 27**0.5 * update.view_as(before)
        torch.testing.assert_close(weight.detach(), before, atol=1e-4, rtol=0)


def test_a_step_that_is_not_finite_changes_nothing_and_keeps_gradients() -> None:
    matrix, vector = torch.randn(4, 6, requires_grad=True), torch.randn(3, requires_grad=True)
    optimizer = Muon([{"params": [matrix], "orthogonal": True, "weight_decay": 0.5}, {"params": [vector]}])
    matrix.grad, vector.grad = torch.randn(4, 6), torch.randn(3)
    optimizer.found_inf = torch.tensor(0.0)
    first = matrix.detach().clone()
    optimizer.step()
    assert not torch.equal(matrix, first)
    before, state = [matrix.detach().clone(), vector.detach().clone()], optimizer.state[matrix]["momentum"].clone()
    broken = matrix.grad = torch.full((4, 6), torch.nan)
    optimizer.found_inf = torch.tensor(1.0)
    optimizer.step()
    assert torch.equal(matrix, before[0])
    assert torch.equal(vector, before[1])
    assert torch.equal(optimizer.state[matrix]["momentum"], state)
    assert matrix.grad is broken


def after_a_step(data: DataSet, bits: Bits, optimizer: str) -> dict[str, Tensor]:
    """The parameters of a network with depthwise and dense convolutions."""
    plan = build_plan(HandMade("ds_cnn", 4, bits), data.task)
    training = begun(plan, data, Recipe(8, batch=32, calibration=1, optimizer=optimizer), 0)
    training.step()
    return dict(training.network.named_parameters())


def apart(one: dict[str, Tensor], other: dict[str, Tensor]) -> set[str]:
    return {name for name, value in one.items() if not torch.equal(value, other[name])}


def test_all_but_convolutions_that_mix_channels_go_adamws_way(digits_data: DataSet) -> None:
    adamw, muon = (after_a_step(digits_data, Bits(4, 4), name) for name in ("adamw", "muon"))
    mixing = {name for name, value in adamw.items() if value.dim() == 4 and value.shape[1] > 1}
    assert mixing
    assert apart(adamw, muon) == mixing


@pytest.mark.parametrize(("bits", "same"), [(Bits(3, 4), "muon"), (Bits(2, 2), "adamw")])
def test_weights_of_two_bits_are_left_to_adamw_unless_muon_is_asked_for(
    digits_data: DataSet, bits: Bits, same: str
) -> None:
    usual = after_a_step(digits_data, bits, "auto")
    assert not apart(usual, after_a_step(digits_data, bits, same))
    assert apart(usual, after_a_step(digits_data, bits, {"muon": "adamw", "adamw": "muon"}[same]))
