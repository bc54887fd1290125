"""The arithmetics held against one another: how near rounding and noise stay to float, and what a width changes.

Each is held against torch in test_forward and test_reference.
"""

from dataclasses import replace
from itertools import product
from typing import get_args

import pytest
import torch
from torch import Tensor

from qnas.network.arithmetic import (
    ChannelArithmetic,
    DynamicArithmetic,
    FloatArithmetic,
    NoisyArithmetic,
    StaticArithmetic,
    arithmetic_for,
    static_on,
    weight_grid,
)
from qnas.network.forward import forward
from qnas.network.grids import Grids
from qnas.network.module import Network
from qnas.network.plan import Builder, Plan
from qnas.quant.choices import GRIDS, grid_of
from qnas.quant.grid import Sharing
from qnas.quant.scheme import PAPER_BITS, Bits
from qnas.task import Task

SHARINGS: tuple[Sharing, ...] = get_args(Sharing)
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
    expected = FloatArithmetic if str(bits) == "fp32" else ChannelArithmetic
    assert type(arithmetic_for(small_plan(bits), "channel")) is expected


def test_a_step_a_channel_is_nearer_to_float_than_one_a_tensor() -> None:
    for width in (2, 4):
        plan = small_plan(Bits(width, 8))
        values, images = random_values(plan), torch.randn(32, 3, 8, 8)
        for name, value in values.items():
            if name.endswith("weight") and value.dim() == 4:
                value.mul_(torch.logspace(-1, 1, len(value)).view(-1, 1, 1, 1))
        real = forward(plan, values, images, FloatArithmetic())
        tensor, channel = (forward(plan, values, images, arithmetic_for(plan, how)) for how in SHARINGS)
        assert (channel - real).norm() < (tensor - real).norm()


@QUANTIZED
def test_rounding_channels_before_folding_is_the_float_network_of_the_rounded_weights(bits: Bits) -> None:
    plan = small_plan(bits)
    plan = replace(plan, nodes=tuple(node._replace(quantized=False) for node in plan.nodes))
    values, images = random_values(plan), torch.randn(8, 3, 8, 8)
    rounded = {
        name: weight_grid(value, bits.weights, GRIDS["per-channel"]).round(value) if name.endswith("/weight") else value
        for name, value in values.items()
    }
    found = forward(plan, values, images, ChannelArithmetic(plan))
    expected = forward(plan, rounded, images, FloatArithmetic())
    torch.testing.assert_close(found, expected)


@QUANTIZED
def test_a_network_that_diverged_gives_logits_that_are_no_numbers(bits: Bits) -> None:
    plan = small_plan(bits)
    parameters = {slot.name: torch.full(slot.shape, float("nan")) for slot in plan.slots}
    images = torch.randn(4, 3, 8, 8)
    for gradients, weights in product((False, True), SHARINGS):
        with torch.set_grad_enabled(gradients):
            assert forward(plan, parameters, images, arithmetic_for(plan, weights)).isnan().all()


@pytest.mark.parametrize("weights", SHARINGS)
@pytest.mark.parametrize("bits", PAPER_BITS, ids=str)
def test_static_arithmetic_computes_on_its_own_images_what_dynamic_arithmetic_does(
    bits: Bits, weights: Sharing
) -> None:
    plan = small_plan(bits)
    if weights == "channel":  # fold and norm differ in last bits, which would round some activations otherwise
        plan = replace(plan, nodes=tuple(node._replace(quantized=False) for node in plan.nodes))
    values, images = random_values(plan), torch.randn(16, 3, 8, 8)
    with torch.no_grad():
        static = static_on(plan, values, images, grid_of(weights))
        found, expected = (forward(plan, values, images, how) for how in (static, arithmetic_for(plan, weights)))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", GRIDS)
def test_static_weights_lie_on_the_grid_that_is_asked_for(name: str) -> None:
    plan = small_plan(Bits(4, 4))
    values, images = random_values(plan), torch.randn(16, 3, 8, 8)
    with torch.no_grad():
        static = static_on(plan, values, images, GRIDS[name])
        forward(plan, values, images, static)
    assert isinstance(static, StaticArithmetic)
    for weight, _ in static.layers.values():
        channels = weight.flatten(1)
        if GRIDS[name].kind == "power_of_two":  # -8 to 7 times a power of two
            assert ((torch.frexp(weight)[0] * 16) % 1 == 0).all()
        assert max(len(channel.unique()) for channel in channels) <= 16
        one_step = len(weight.unique()) <= 16
        assert one_step or GRIDS[name].per_channel or len(channels) == 1
    grids = static.grids.values()
    if GRIDS[name].kind == "power_of_two":
        network = Network(plan, values, (images.min().item(), images.max().item()), Grids(name))
        deployed = network.input_grid(plan.nodes[0])
        scored = static.grids["image"]
        assert [float(scored.scale), float(scored.zero_point)] == [float(deployed.scale), float(deployed.zero_point)]
    powers = all(torch.frexp(torch.as_tensor(grid.scale))[0] == 0.5 for grid in grids)
    assert powers == (GRIDS[name].kind == "power_of_two")


@pytest.mark.parametrize("bits", PAPER_BITS, ids=str)
def test_under_static_arithmetic_an_image_does_not_depend_on_the_others(bits: Bits) -> None:
    plan = small_plan(bits)
    values, images = random_values(plan), torch.randn(16, 3, 8, 8)
    with torch.no_grad():
        static = static_on(plan, values, torch.randn(16, 3, 8, 8))
        together, alone = (forward(plan, values, images[:count], static) for count in (16, 3))
    assert isinstance(static, StaticArithmetic)
    torch.testing.assert_close(together[:3], alone, rtol=1e-4, atol=1e-4)
