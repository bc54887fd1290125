"""What every operation of the table must do, whichever it is."""

import pytest
import torch

import qnas.space.genotype
from qnas.network.forward import DynamicArithmetic, FloatArithmetic, forward
from qnas.space.operations import OPERATIONS
from qnas.network.plan import Builder, Plan
from qnas.quant.scheme import Bits
from qnas.space.genotype import CONVOLUTIONS

EVERY = pytest.mark.parametrize("name", OPERATIONS)


def built(name: str, kernel: int, stride: int, side: int) -> tuple[Builder, int]:
    builder = Builder((6, side, side), True, Bits(4, 4))
    return builder, OPERATIONS[name](builder, 0, kernel, stride)


def test_the_table_has_the_operations_that_spaces_know() -> None:
    assert set(OPERATIONS) == set(qnas.space.genotype.OPERATIONS)


@EVERY
@pytest.mark.parametrize("side", [1, 2, 7, 8])
@pytest.mark.parametrize("stride", [1, 2])
def test_channels_stay_and_stride_2_halves_the_size(name: str, side: int, stride: int) -> None:
    builder, result = built(name, 3, stride, side)
    half = (side + 1) // 2 if stride == 2 else side
    assert builder.nodes[result].shape == (6, half, half)


@EVERY
@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("side", [1, 5, 8])
def test_the_shape_is_the_one_that_is_computed(name: str, kernel: int, side: int) -> None:
    for stride in (1, 2):
        builder, result = built(name, kernel, stride, side)
        shape = builder.nodes[result].shape
        builder.classifier(result, 2)
        plan = Plan(tuple(builder.nodes[: result + 1]), tuple(builder.slots), 2)
        values = {slot.name: torch.randn(slot.shape) for slot in plan.slots}
        output = forward(plan, values, torch.randn(2, 6, side, side), FloatArithmetic())
        assert output.shape == (2, *shape)


@EVERY
@pytest.mark.parametrize("arithmetic", [FloatArithmetic(), DynamicArithmetic()], ids=["float", "quantized"])
def test_a_network_with_the_operation_runs_and_its_parameters_learn(
    name: str, arithmetic: FloatArithmetic | DynamicArithmetic
) -> None:
    builder, result = built(name, 3, 2, 8)
    builder.classifier(result, 5)
    plan = Plan(tuple(builder.nodes), tuple(builder.slots), 5)
    values = {slot.name: torch.randn(slot.shape).requires_grad_() for slot in plan.slots}
    logits = forward(plan, values, torch.randn(4, 6, 8, 8), arithmetic)
    logits.square().sum().backward()
    assert logits.shape == (4, 5)
    assert all(value.grad is not None and value.grad.abs().sum() > 0 for value in values.values())


@EVERY
def test_only_convolutions_and_the_projecting_skip_have_parameters(name: str) -> None:
    plain, reducing = (bool(built(name, 3, stride, 8)[0].slots) for stride in (1, 2))
    assert plain == (name in CONVOLUTIONS)
    assert reducing == (name in CONVOLUTIONS or name == "skip")


def test_a_skip_at_stride_1_adds_nothing() -> None:
    builder, result = built("skip", 1, 1, 8)
    assert (len(builder.nodes), result) == (1, 0)


def test_only_the_dilated_convolution_is_dilated() -> None:
    dilations = {name: max(node.dilation for node in built(name, 3, 1, 8)[0].nodes) for name in OPERATIONS}
    assert dilations == {name: 2 if name == "dil_conv" else 1 for name in OPERATIONS}


def test_separable_convolutions_are_depthwise_then_pointwise() -> None:
    for name in ("sep_conv", "dil_conv"):
        nodes = built(name, 5, 2, 8)[0].nodes[1:]
        assert [(node.kernel, node.stride, node.groups) for node in nodes] == [(5, 2, 6), (1, 1, 1)]
