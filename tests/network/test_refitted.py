"""Grids chosen after training: the usual ones are the package's own, others are held against grids made by hand."""

import pytest
import torch
from torch import Tensor

from qnas.network.arithmetic import FloatArithmetic, arithmetic_for
from qnas.network.build import build_plan
from qnas.network.forward import forward
from qnas.network.handmade import HandMade
from qnas.network.initial import he_parameters
from qnas.network.module import Network
from qnas.network.plan import Plan
from qnas.network.refitted import Partly, Refitted, Rounding, Unrounded, post_training
from qnas.quant.grid import Sharing
from qnas.quant.scheme import FP32, Bits
from qnas.task import Task

TASK = Task((1, 8, 8), 10)
RANGE = (-2.0, 3.0)


def plan_of(bits: Bits) -> Plan:
    return build_plan(HandMade("resnet8", 4, bits), TASK)


def values(plan: Plan) -> dict[str, Tensor]:
    return he_parameters(plan, torch.Generator().manual_seed(1))


def network_in_float() -> Network:
    """Random parameters with averages of batch norms that a batch gave."""
    plan = plan_of(FP32)
    network = Network(plan, values(plan), RANGE)
    network.calibrate([torch.randn(32, 1, 8, 8)])
    return network.eval()


@pytest.mark.parametrize("bits", ["w8a8", "w4a4", "w2a2"])
@pytest.mark.parametrize("weights", ["tensor", "channel"])
def test_where_nothing_is_said_numbers_are_rounded_as_usual(bits: str, weights: Sharing) -> None:
    plan, images = plan_of(Bits.parse(bits)), torch.randn(16, 1, 8, 8)
    with torch.no_grad():
        usual = forward(plan, values(plan), images, arithmetic_for(plan, weights))
        found = forward(plan, values(plan), images, Refitted(Rounding(weights=weights)))
    assert torch.equal(found, usual)


def test_eight_bits_are_those_of_a_plan_with_eight() -> None:
    images, narrow, wide = torch.randn(16, 1, 8, 8), plan_of(Bits(4, 4)), plan_of(Bits(8, 8))
    with torch.no_grad():
        expected = forward(wide, values(wide), images, arithmetic_for(wide))
        found = forward(narrow, values(narrow), images, Refitted(Rounding(8)))
    assert torch.equal(found, expected)


def test_an_arithmetic_for_some_nodes_only() -> None:
    plan, images = plan_of(Bits(2, 2)), torch.randn(16, 1, 8, 8)
    names = [node.name for node in plan.nodes]
    rounded, exact = arithmetic_for(plan), FloatArithmetic()
    with torch.no_grad():
        whole, none, some = (
            forward(plan, values(plan), images, Partly(chosen, rounded, exact)) for chosen in (names, [], names[:5])
        )
        assert torch.equal(whole, forward(plan, values(plan), images, rounded))
        assert torch.equal(none, forward(plan, values(plan), images, exact))
    assert not torch.equal(some, whole)
    assert not torch.equal(some, none)


@torch.no_grad()
def test_unrounded_is_the_float_network() -> None:
    network, images = network_in_float(), torch.randn(16, 1, 8, 8)
    found = forward(plan_of(Bits(2, 2)), dict(network.slots), images, Unrounded(network))
    assert torch.equal(found, network(images))


@torch.no_grad()
@pytest.mark.parametrize("weights", ["tensor", "channel"])
def test_post_training_grids_hold_what_was_seen(weights: Sharing) -> None:
    network, images, plan = network_in_float(), torch.randn(32, 1, 8, 8), plan_of(Bits(4, 4))
    arithmetic = post_training(plan, network, images, Rounding(weights=weights))
    stem = plan.nodes[1]
    x = network.folded(stem)[0]
    rounded, bias = arithmetic.layers["stem"]  # type: ignore[attr-defined]
    assert torch.equal(bias, network.folded(stem)[1])
    if weights == "tensor":
        low, high = min(x.min().item(), 0), max(x.max().item(), 0)
        step = (high - low) / 15  # equation 2
        assert (rounded / step - (rounded / step).round()).abs().max() < 1e-4
        assert (rounded - x).abs().max() <= step / 2 * 1.001 + step / 2  # the rounding of the zero point moves an end
        assert len(rounded.unique()) <= 16
    else:
        assert all(len(channel.unique()) <= 16 for channel in rounded)
    image, first = (arithmetic.grids[name] for name in ("image", "stem"))  # type: ignore[attr-defined]
    assert image.scale == pytest.approx((RANGE[1] - RANGE[0]) / 255)
    seen = forward(plan, dict(network.slots), images, _Until(network, "stem"))
    assert first.scale == pytest.approx(seen.max().item() / 15)
    assert first.round(torch.tensor([1e6])) == pytest.approx(seen.max().item(), rel=1e-5)


class _Until(Unrounded):
    """Keeps one node's output and hands it on to the end."""

    def __init__(self, network: Network, name: str) -> None:
        super().__init__(network)
        self.name = name

    def activation(self, node: object, x: Tensor) -> Tensor:
        if getattr(node, "name", "") == self.name:
            self.kept = x.clone()
        return x

    def layer(self, node: object, x: Tensor, parameters: object) -> Tensor:
        if getattr(node, "kind", "") == "linear":
            return self.kept
        return super().layer(node, x, parameters)  # type: ignore[arg-type]
