"""Costs held against sums worked out by hand; parameters and MACs are also held against torch in test_reference."""

from collections.abc import Callable

import pytest

from qnas.network.build import build_plan
from qnas.network.costs import (
    Costs,
    costs,
    count_parameters,
    layer_costs,
    macs,
    parameters,
    peak_activation_bytes,
    weight_bytes,
)
from qnas.network.plan import Builder, Plan
from qnas.quant.scheme import FP32, Bits
from qnas.space.genotype import Genotype
from qnas.space.space import find_space, space_names
from qnas.task import Task


def two_layers(bits: Bits, batch_norm: bool = True) -> Plan:
    """A 3 x 3 convolution of a 3 x 4 x 4 image with stride 2 into 4 channels, and a classifier of 3 classes."""
    builder = Builder(Task((3, 4, 4), 3), batch_norm, bits)
    return builder.classifier(builder.conv("conv", 0, 4, 3, stride=2))


def residual(bits: Bits) -> Plan:
    """An image (3, 4, 4) -> a (4, 4, 4) -> b (4, 4, 4) -> c (4, 4, 4), then a + c."""
    builder = Builder(Task((3, 4, 4), 3), True, bits)
    a = builder.conv("a", 0, 4, 3)
    c = builder.conv("c", builder.conv("b", a, 4, 3), 4, 3)
    return builder.classifier(builder.sum("sum", a, c))


def test_parameters_are_weights_biases_and_batch_norms() -> None:
    assert parameters(two_layers(FP32)) == 4 * 3 * 9 + 4 + 4 + 3 * 4 + 3
    assert parameters(two_layers(FP32, batch_norm=False)) == 4 * 3 * 9 + 4 + 3 * 4 + 3


def test_macs_are_weights_times_pixels() -> None:
    assert macs(two_layers(FP32)) == 4 * 3 * 9 * 2 * 2 + 3 * 4


@pytest.mark.parametrize(
    ("bits", "weights"),
    [(FP32, 432 + 48), (Bits(8, 8), 108 + 12), (Bits(4, 8), 54 + 6), (Bits(3, 8), 41 + 5), (Bits(2, 2), 27 + 3)],
    ids=str,
)
def test_weights_are_packed_tensor_by_tensor_beside_biases_of_four_bytes(bits: Bits, weights: int) -> None:
    assert weight_bytes(two_layers(bits)) == weights + 4 * (4 + 3)


def test_each_layer_has_its_costs() -> None:
    assert layer_costs(two_layers(Bits(4, 4))) == [
        Costs(0, 0, 0, 3 * 4 * 4),
        Costs(4 * 3 * 9 + 4 + 4, 4 * 3 * 9 * 2 * 2, 4 * 3 * 9 // 2 + 4 * 4, 4 * 2 * 2 // 2),
        Costs(0, 0, 0, 4 // 2),
        Costs(3 * 4 + 3, 3 * 4, 3 * 4 // 2 + 4 * 3, 2),
    ]


@pytest.mark.parametrize("bits", [FP32, Bits(4, 4)], ids=str)
def test_batch_norms_fold_away(bits: Bits) -> None:
    assert weight_bytes(two_layers(bits)) == weight_bytes(two_layers(bits, batch_norm=False))


@pytest.mark.parametrize(
    ("bits", "peak"), [(FP32, 48 * 4 + 16 * 4), (Bits(8, 8), 48 + 16), (Bits(8, 4), 48 + 8), (Bits(8, 3), 48 + 6)],
    ids=str,
)  # fmt: skip
def test_the_image_and_the_first_layer_are_alive_together(bits: Bits, peak: int) -> None:
    assert peak_activation_bytes(two_layers(bits)) == peak


@pytest.mark.parametrize(("bits", "peak"), [(FP32, 3 * 256), (Bits(4, 8), 3 * 64), (Bits(8, 4), 3 * 32)], ids=str)
def test_a_skipped_value_stays_alive_until_its_last_reader(bits: Bits, peak: int) -> None:
    assert peak_activation_bytes(residual(bits)) == peak


def test_a_value_read_twice_by_one_node_is_freed_once() -> None:
    builder = Builder(Task((1, 2, 2), 3), True, Bits(8, 8))
    a = builder.conv("a", 0, 8, 1)
    b = builder.conv("b", builder.sum("sum", a, a), 16, 1)
    assert peak_activation_bytes(builder.classifier(b)) == 32 + 64


def test_odd_numbers_of_low_bit_values_are_rounded_up_to_bytes() -> None:
    builder = Builder(Task((1, 3, 3), 3), True, Bits(8, 2))
    assert peak_activation_bytes(builder.classifier(builder.conv("a", 0, 1, 1))) == 9 + 3


def test_all_costs_at_once() -> None:
    assert costs(two_layers(Bits(4, 4))) == Costs(params=131, macs=444, weight_bytes=88, activation_bytes=56)


@pytest.mark.parametrize("name", space_names())
@pytest.mark.parametrize(("channels", "classes"), [(1, 2), (3, 100)])
def test_counting_without_a_plan_equals_the_plan(
    name: str, channels: int, classes: int, sample: Callable[[str, str, int], list[Genotype]]
) -> None:
    for split in ("id", *find_space(name).overrides):
        for genotype in sample(name, split, 10):
            task = Task((channels, 8, 8), classes)
            assert count_parameters(genotype, task) == parameters(build_plan(genotype, task))


def test_bits_do_not_change_the_count(genotype: Genotype) -> None:
    task = Task((1, 8, 8), 10)
    assert count_parameters(genotype.with_bits(Bits(2, 2)), task) == count_parameters(genotype, task)
