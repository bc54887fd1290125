"""The arithmetics held against one another: how near rounding and noise stay to float, and what a width changes.

Each is held against torch in test_forward and test_reference.
"""

import pytest
import torch
from torch import Tensor

from qnas.network.arithmetic import (
    DynamicArithmetic,
    FloatArithmetic,
    NoisyArithmetic,
    StaticArithmetic,
    arithmetic_for,
    static_on,
)
from qnas.network.forward import forward
from qnas.network.plan import Builder, Plan
from qnas.quant.scheme import PAPER_BITS, Bits
from qnas.task import Task

QUANTIZED = pytest.mark.parametrize("bits", PAPER_BITS[1:], ids=str)


def small_plan(bits: Bits) -> Plan:
    """Dense, depthwise and linear layers, both pools, a sum and a concatenation."""
    builder = Builder(Task((3, 8, 8), 4), True, bits)
    a = builder.conv("a", 0, 6, 3)
    b = builder.conv("b", a, 6, 3, stride=2, groups=6)
    c = builder.sum("c", b, builder.pool("max", "max_pool", a, 3, 2))
    d = builder.conv("d", builder.pool("avg", "avg_pool", c, 3, 1), 6, 1, relu=False)
    return builder.classifier(builder.concat("e", [c, builder.sum("f", c, d)]))


def random_values(plan: Plan) -> dict[str, Tensor]:
    return {slot.name: torch.randn(slot.shape) for slot in plan.slots}


def test_eight_bits_stay_near_float() -> None:
    plan = small_plan(Bits(8, 8))
    values, images = random_values(plan), torch.randn(16, 3, 8, 8)
    real = forward(plan, values, images, FloatArithmetic())
    assert (forward(plan, values, images, DynamicArithmetic()) - real).norm() < 0.05 * real.norm()


def test_fewer_bits_go_farther_from_float() -> None:
    values, images = random_values(small_plan(Bits(8, 8))), torch.randn(32, 3, 8, 8)
    real = forward(small_plan(Bits(8, 8)), values, images, FloatArithmetic())
    errors = [
        (forward(small_plan(Bits(width, width)), values, images, DynamicArithmetic()) - real).norm().item()
        for width in (8, 6, 4, 2)
    ]
    assert errors == sorted(errors)


@QUANTIZED
def test_noise_is_reproducible_from_its_generator_and_differs_from_rounding(bits: Bits) -> None:
    plan = small_plan(bits)
    values, images = random_values(plan), torch.randn(6, 3, 8, 8)
    noisy = [forward(plan, values, images, NoisyArithmetic(torch.Generator().manual_seed(seed))) for seed in (1, 1, 2)]
    assert torch.equal(noisy[0], noisy[1])
    assert not torch.equal(noisy[0], noisy[2])
    assert not torch.equal(noisy[0], forward(plan, values, images, DynamicArithmetic()))


def test_noise_of_eight_bits_stays_near_float() -> None:
    plan = small_plan(Bits(8, 8))
    values, images = random_values(plan), torch.randn(16, 3, 8, 8)
    real = forward(plan, values, images, FloatArithmetic())
    assert (forward(plan, values, images, NoisyArithmetic()) - real).norm() < 0.05 * real.norm()


def test_weights_and_activations_have_their_own_widths() -> None:
    values, images = random_values(small_plan(Bits(8, 8))), torch.randn(6, 3, 8, 8)
    logits = [
        forward(small_plan(bits), values, images, DynamicArithmetic())
        for bits in (Bits(8, 8), Bits(4, 8), Bits(8, 4), Bits(4, 4))
    ]
    assert len({tuple(row.flatten().tolist()) for row in logits}) == 4


@pytest.mark.parametrize("bits", PAPER_BITS, ids=str)
def test_a_plan_runs_in_the_arithmetic_of_its_bits(bits: Bits) -> None:
    expected = FloatArithmetic if str(bits) == "fp32" else DynamicArithmetic
    assert type(arithmetic_for(small_plan(bits))) is expected


@QUANTIZED
def test_a_network_that_diverged_gives_logits_that_are_no_numbers(bits: Bits) -> None:
    plan = small_plan(bits)
    parameters = {slot.name: torch.full(slot.shape, float("nan")) for slot in plan.slots}
    images = torch.randn(4, 3, 8, 8)
    for gradients in (False, True):
        with torch.set_grad_enabled(gradients):
            assert forward(plan, parameters, images, DynamicArithmetic()).isnan().all()


@pytest.mark.parametrize("bits", PAPER_BITS, ids=str)
def test_static_arithmetic_computes_on_its_own_images_what_dynamic_arithmetic_does(bits: Bits) -> None:
    plan = small_plan(bits)
    values, images = random_values(plan), torch.randn(16, 3, 8, 8)
    with torch.no_grad():
        static = static_on(plan, values, images)
        found, expected = (forward(plan, values, images, how) for how in (static, arithmetic_for(plan)))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bits", PAPER_BITS, ids=str)
def test_under_static_arithmetic_an_image_does_not_depend_on_the_others(bits: Bits) -> None:
    plan = small_plan(bits)
    values, images = random_values(plan), torch.randn(16, 3, 8, 8)
    with torch.no_grad():
        static = static_on(plan, values, torch.randn(16, 3, 8, 8))
        together, alone = (forward(plan, values, images[:count], static) for count in (16, 3))
    assert isinstance(static, StaticArithmetic)
    torch.testing.assert_close(together[:3], alone, rtol=1e-4, atol=1e-4)
