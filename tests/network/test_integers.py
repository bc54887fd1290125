"""Integer networks held against loops over single numbers, and against the deployed network in torch."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from qnas.errors import QnasError
from qnas.network.build import build_plan
from qnas.network.deployed import DeployedNetwork, deploy
from qnas.network.grids import Grids
from qnas.network.initial import he_parameters
from qnas.network.integers import Step, computed, integer_network, pixel_table
from qnas.network.module import Network
from qnas.network.plan import Builder, Plan
from qnas.quant.choices import GRIDS as CHOICES
from qnas.quant.fixed_point import Integers
from qnas.quant.scheme import FP32, Bits
from qnas.space.genotype import Genotype
from qnas.task import Task

TASK = Task((3, 7, 6), 4, "made up", (), (100.0, 120.0, 140.0), (60.0, 50.0, 70.0))
GRIDS = [Grids(name) for name in CHOICES]
ALL = [Bits(8, 8), Bits(4, 8), Bits(4, 4), Bits(2, 2), Bits(5, 6), Bits(3, 4), Bits(8, 2)]


def some_pixels(count: int = 24) -> Tensor:
    return torch.randint(0, 256, (count, *TASK.image), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def normalised(pixels: Tensor) -> Tensor:
    mean, deviation = (torch.tensor(values).view(1, -1, 1, 1) for values in (TASK.mean, TASK.deviation))
    return (pixels.float() - mean) / deviation


def deployed(plan: Plan, grids: Grids = GRIDS[0]) -> DeployedNetwork:
    values = he_parameters(plan, torch.Generator().manual_seed(0))
    values |= {name: torch.randn(value.shape) * 0.3 for name, value in values.items() if name.endswith("bias")}
    images = normalised(some_pixels())
    network = Network(plan, values, (images.min().item(), images.max().item()), grids)
    network.calibrate([images])
    return deploy(network.eval())


def everything(bits: Bits, batch_norm: bool = True) -> Plan:
    """Every kind of node: strides, dilation, depthwise, signed grids, sums that a concatenation and others read."""
    builder = Builder(TASK, batch_norm, bits)
    stem = builder.conv("stem", 0, 5, 3)
    linear = builder.conv("linear", stem, 5, 1, relu=False)
    total = builder.sum("total", stem, linear)
    dilated = builder.conv("dilated", total, 5, 3, dilation=2, groups=5)
    pooled = builder.pool("averaged", "avg_pool", dilated, 3, 1)
    most = builder.pool("most", "max_pool", total, 3, 1)
    wide = builder.conv("wide", most, 6, 3, dilation=2)
    sums = builder.sum("again", stem, stem), builder.sum("cut", total, linear, relu=True)
    joined = builder.concat("joined", [total, pooled, wide, *sums])
    small = builder.conv("small", joined, 4, 5, stride=2)
    return builder.classifier(builder.pool("last", "avg_pool", builder.conv("deep", small, 3, 3, 2, groups=1), 3, 2))


def by_loops(step: Step, inputs: list[Integers]) -> Integers:
    """One image (height, width, channels), number by number, with Python's integers."""
    node, by = step.node, step.rescaling
    channels, height, width = step.shape
    result = np.zeros((height, width, channels), np.int64)
    x = inputs[0]
    for row, column, channel in np.ndindex(height, width, channels):
        taps = [
            (i, j, row * node.stride + (i - node.kernel // 2) * node.dilation,
             column * node.stride + (j - node.kernel // 2) * node.dilation)
            for i in range(node.kernel) for j in range(node.kernel)
        ]  # fmt: skip
        taps = [tap for tap in taps if 0 <= tap[2] < x.shape[0] and 0 <= tap[3] < x.shape[1]]
        which, offset = (channel, channel) if node.kind in ("conv", "linear") else (0, 0)
        if node.kind == "max_pool":
            result[row, column, channel] = max(int(x[r, c, channel]) for _, _, r, c in taps)
            continue
        assert by is not None
        if node.kind in ("conv", "linear"):
            assert step.weight is not None
            inner = range(step.weight.shape[1])
            first = channel if node.groups > 1 else 0
            total = sum(
                int(step.weight[channel, k, i, j]) * int(x[r, c, first + k]) for i, j, r, c in taps for k in inner
            )
        elif node.kind == "avg_pool":
            total, which = sum(int(x[r, c, channel]) for _, _, r, c in taps), len(taps) - 1
        elif node.kind == "global_avg":
            total = sum(int(value) for value in x[..., channel].ravel())
        elif node.kind == "sum":
            total = sum(int(m) * int(part[row, column, channel]) for m, part in zip(by.multiplier, inputs, strict=True))
        else:
            which, inner_channel = 0, channel
            while inner_channel >= inputs[which].shape[2]:
                inner_channel -= inputs[which].shape[2]
                which += 1
            total = int(inputs[which][row, column, inner_channel])
        scaled = total if node.kind == "sum" else total * int(by.multiplier[which]) >> int(by.shift[which])
        made = scaled + int(by.bias[offset]) >> by.point
        result[row, column, channel] = made if step.bits == 32 else min(max(made, 0), step.highest) - step.zero_point
    return result


@pytest.mark.parametrize("grids", GRIDS, ids=CHOICES)
@pytest.mark.parametrize("bits", ALL, ids=str)
def test_every_step_is_what_loops_over_single_numbers_give(bits: Bits, grids: Grids) -> None:
    network = integer_network(deployed(everything(bits), grids), TASK)
    pixels = some_pixels(1)
    values = [
        np.stack([network.table[c][pixels[0, c].numpy()] for c in range(3)], -1) - np.int64(network.steps[0].zero_point)
    ]
    for step in network.steps[1:]:
        inputs = [values[source] for source in step.inputs]
        values.append(by_loops(step, inputs))
        assert np.array_equal(computed(step, [x[None] for x in inputs])[0], values[-1]), step.name
    assert np.array_equal(network(pixels)[0], values[-1].ravel())


@pytest.mark.parametrize("batch_norm", [True, False], ids=["batch norm", "bias"])
@pytest.mark.parametrize("grids", GRIDS, ids=CHOICES)
@pytest.mark.parametrize("bits", ALL, ids=str)
def test_logits_are_those_of_torch_but_for_rounding(bits: Bits, grids: Grids, batch_norm: bool) -> None:
    network, pixels = deployed(everything(bits, batch_norm), grids), some_pixels()
    integers = integer_network(network, TASK)
    with torch.no_grad():
        expected = network(normalised(pixels)).numpy()
    difference = np.abs(integers(pixels) * integers.scale - expected)
    assert difference.mean() < 0.03 * expected.std()
    assert network.activations["total"].zero_point > 0


@pytest.mark.parametrize("bits", [Bits(4, 4), Bits(2, 2), Bits(3, 4), Bits(8, 2)], ids=str)
def test_where_steps_are_powers_of_two_layers_only_shift_and_all_is_as_in_torch(bits: Bits) -> None:
    """Many values lie halfway between two integers: all go up, here and there; and no real number is inexact."""
    network, pixels = deployed(everything(bits), Grids("power-of-two")), some_pixels()
    integers = integer_network(network, TASK)
    for step in integers.steps:
        grid = network.activations.get(step.node.name)
        assert grid is None or np.log2(grid.scale) % 1 == 0
        if step.weight is not None and step.rescaling is not None:
            assert set(step.rescaling.multiplier.tolist()) == {2**30}
    with torch.no_grad():
        expected = network(normalised(pixels)).numpy()
    assert np.abs(integers(pixels) * integers.scale - expected).mean() < 1e-4 * expected.std()


def test_a_sum_is_rounded_for_a_concatenation_by_itself() -> None:
    steps = integer_network(deployed(everything(Bits(4, 4))), TASK).steps
    names = [step.name for step in steps]
    joined = steps[names.index("joined")]
    read = ["total for joined", "averaged", "wide", "again for joined", "cut"]
    assert [names[source] for source in joined.inputs] == read
    assert "total" in names
    assert not {"again", "cut for joined"} & set(names)  # a sum with a ReLU is rounded, which cuts what is negative


def test_a_channel_without_weights_needs_no_ratio() -> None:
    """Its ratio would not fit a multiplier of 32 bits beside those of the others."""
    network = deployed(everything(Bits(8, 8)))
    stem = network.layers["stem"]
    assert stem.grid is not None
    weight, scale = stem.weight.clone(), torch.as_tensor(stem.grid.scale).clone()
    weight[1], scale[1] = 128, scale[1] * 1e8
    layers = {**network.layers, "stem": replace(stem, weight=weight, grid=replace(stem.grid, scale=scale))}
    step = next(step for step in integer_network(replace(network, layers=layers), TASK).steps if step.name == "stem")
    assert step.rescaling is not None
    assert 0 <= step.rescaling.multiplier.min() <= step.rescaling.multiplier.max() < 2**31
    assert step.rescaling.shift.min() >= 0


def test_the_table_holds_every_pixel_as_torch_rounds_it() -> None:
    network = deployed(everything(Bits(8, 8)))
    grid = network.activations["image"]
    table = pixel_table(TASK, grid)
    pixels = torch.arange(256, dtype=torch.uint8).view(256, 1, 1, 1).expand(256, 3, 7, 6)
    expected = grid.integers(normalised(pixels))[:, :, 0, 0].T
    assert np.array_equal(table, expected.numpy())
    assert (table.min(), table.max()) == (0, 255)


@pytest.mark.parametrize("bits", [Bits(8, 8), Bits(4, 8)], ids=str)
def test_a_bias_that_no_32_bits_hold_at_the_accumulators_step_is_kept(bits: Bits) -> None:
    """A channel whose weights are all but zero: the bias alone decides, at the step of the output."""
    network = deployed(everything(bits))
    stem = network.layers["stem"]
    assert stem.grid is not None
    scale = torch.as_tensor(stem.grid.scale).clone()
    scale[1] = 1e-12
    bias = stem.bias.clone()
    bias[1] = 0.7 * 255 * float(network.activations["stem"].scale)
    assert bias[1] / (scale[1] * float(network.activations["image"].scale)) > 2**31
    layers = {**network.layers, "stem": replace(stem, grid=replace(stem.grid, scale=scale), bias=bias)}
    integers = integer_network(replace(network, layers=layers), TASK)
    step = next(step for step in integers.steps if step.name == "stem")
    image = np.zeros((1, 7, 6, 3), np.int64)
    assert set(computed(step, [image])[..., 1].ravel().tolist()) <= {178, 179}


def test_sums_that_reach_far_beyond_their_output_are_refused_by_name() -> None:
    network = deployed(everything(Bits(8, 8)))
    network.activations["total"] = replace(network.activations["total"], scale=1e-9)
    with pytest.raises(QnasError, match=r"What a layer adds up must lie within some .* steps of its output, but total"):
        integer_network(network, TASK)


def test_accumulators_that_could_overflow_are_refused_by_name() -> None:
    network = deployed(everything(Bits(8, 8)))
    layer = network.layers["small"]
    wide = replace(layer, weight=torch.full((4, 8000, 5, 5), 255, dtype=torch.uint8))
    with pytest.raises(QnasError, match=r"32 bits .* the layer small can add up to"):
        integer_network(replace(network, layers={**network.layers, "small": wide}), TASK)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_biases_that_are_not_finite_are_refused_by_name(value: float) -> None:
    network = deployed(everything(Bits(4, 4)))
    layer = network.layers["wide"]
    broken = replace(layer, bias=torch.full_like(layer.bias, value))
    with pytest.raises(QnasError, match="the layer wide"):
        integer_network(replace(network, layers={**network.layers, "wide": broken}), TASK)


def test_a_float_network_is_refused_by_the_name_of_its_layer(genotype: Genotype) -> None:
    network = deployed(build_plan(replace(genotype, bits=FP32), TASK))
    with pytest.raises(QnasError, match=r"2 to 8 bits, but stem is FP32; take a network of `bits` such as w8a8"):
        integer_network(network, TASK)


def test_a_task_that_does_not_say_how_images_are_normalised_is_refused() -> None:
    with pytest.raises(QnasError, match="mean and deviation, got none"):
        integer_network(deployed(everything(Bits(4, 4))), Task(TASK.image, 4))


def test_mixed_widths_and_edges_of_eight_bits(genotype: Genotype) -> None:
    plan = build_plan(genotype.with_bits(Bits(2, 2)).with_edges(8), TASK)
    network, pixels = deployed(plan), some_pixels()
    integers = integer_network(network, TASK)
    assert {step.node.bits.weights for step in integers.steps if step.weight is not None} == {2, 8}
    with torch.no_grad():
        same = integers(pixels).argmax(1) == network(normalised(pixels)).argmax(1).numpy()
    assert same.mean() > 0.9
