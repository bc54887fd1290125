"""Grids held against numpy, torch, ONNX's reference, onnxruntime and the properties that equations 1 to 3 imply."""

from collections.abc import Callable
from dataclasses import replace
from math import frexp

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from torch import Tensor

from qnas.quant.grid import (
    HALVES_UP,
    Grid,
    Kind,
    asymmetric,
    in_numbers,
    joint_grid,
    levels,
    nearest_power_of_two,
    next_power_of_two,
)
from qnas.quant.ranges import NORMAL_STEPS, Fit

reals = st.floats(-1000, 1000, width=32)
bit_widths = st.integers(2, 8)


def grid(low: float, high: float, bits: int) -> tuple[Tensor, Tensor]:
    return asymmetric(torch.tensor(low), torch.tensor(high), bits)


@given(reals, reals, bit_widths, st.sampled_from([torch.float32, torch.float64]))
def test_a_grid_in_numbers_is_the_grid_to_the_last_bit(low: float, high: float, bits: int, dtype: torch.dtype) -> None:
    ends = torch.tensor(min(low, high), dtype=dtype), torch.tensor(max(low, high), dtype=dtype)
    assert in_numbers(*ends, bits) == tuple(value.item() for value in asymmetric(*ends, bits))


@pytest.mark.parametrize(("low", "high"), [("0", "nan"), ("nan", "1"), ("-inf", "1"), ("0", "inf")])
def test_a_grid_in_numbers_of_what_is_not_finite_is_the_same_too(low: str, high: str) -> None:
    ends = torch.tensor(float(low)), torch.tensor(float(high))
    expected = [value.item() for value in asymmetric(*ends, 4)]
    np.testing.assert_equal(list(in_numbers(*ends, 4)), expected)


@pytest.mark.parametrize(("bits", "largest"), [(2, 3), (3, 7), (4, 15), (8, 255)])
def test_an_n_bit_grid_ends_at_two_to_the_n_less_one(bits: int, largest: int) -> None:
    assert levels(bits) == largest


@pytest.mark.parametrize(
    ("low", "high", "bits", "step", "zero_point"),
    [
        (-1.0, 2.0, 2, 1.0, 1),
        (-1.0, 14.0, 4, 1.0, 1),
        (0.0, 3.0, 2, 1.0, 0),
        (-3.0, 0.0, 2, 1.0, 3),
        (1.0, 3.0, 2, 1.0, 0),
        (-3.0, -1.0, 2, 1.0, 3),
        (-1.5, 1.5, 2, 1.0, 2),
        (-2.5, 4.5, 3, 1.0, 2),
    ],
    ids=["across zero", "4 bits", "from zero", "to zero", "above zero", "below zero", "tie up", "tie down"],
)
def test_asymmetric_of_ranges_worked_out_by_hand(
    low: float, high: float, bits: int, step: float, zero_point: int
) -> None:
    found = grid(low, high, bits)
    assert (found[0].item(), found[1].item()) == (step, zero_point)


def test_an_empty_range_still_has_a_step() -> None:
    step, zero_point = grid(0.0, 0.0, 4)
    assert step > 0
    assert Grid(step, zero_point, 4).integers(torch.zeros(3)).tolist() == [0, 0, 0]


def test_ranges_are_taken_elementwise() -> None:
    step, zero_point = asymmetric(torch.tensor([-1.0, 0.0]), torch.tensor([2.0, 6.0]), 2)
    assert step.tolist() == [1, 2]
    assert zero_point.tolist() == [1, 0]


@given(reals, reals, bit_widths)
def test_the_zero_point_is_an_integer_of_the_grid(low: float, high: float, bits: int) -> None:
    _, zero_point = grid(min(low, high), max(low, high), bits)
    assert zero_point.item() in range(2**bits)


@given(reals, reals, bit_widths)
def test_zero_is_exact(low: float, high: float, bits: int) -> None:
    step, zero_point = grid(min(low, high), max(low, high), bits)
    found = Grid(step, zero_point, bits)
    assert found.dequantize(found.integers(torch.zeros(1))).item() == 0
    assert found.round(torch.zeros(1)).item() == 0


@given(st.lists(reals, min_size=1, max_size=20), reals, reals, bit_widths)
def test_quantized_values_are_integers_of_the_grid(values: list[float], low: float, high: float, bits: int) -> None:
    step, zero_point = grid(min(low, high), max(low, high), bits)
    integers = Grid(step, zero_point, bits).integers(torch.tensor(values))
    assert set(integers.tolist()) <= set(range(2**bits))


@given(st.lists(reals, min_size=1, max_size=20), reals, reals, bit_widths)
def test_equations_1_to_3_in_numpy(values: list[float], low: float, high: float, bits: int) -> None:
    below, above = min(low, high, 0.0), max(low, high, 0.0)
    assume(above - below > 1e-3)
    scale = (above - below) / (2**bits - 1)
    expected = np.clip(np.rint(np.array(values) / scale) + np.rint(-below / scale), 0, 2**bits - 1)
    step, zero_point = asymmetric(torch.tensor(below).double(), torch.tensor(above).double(), bits)
    assert Grid(step, zero_point, bits).integers(torch.tensor(values).double()).tolist() == expected.tolist()


@given(st.lists(st.integers(0, 255), min_size=1, max_size=20), st.integers(0, 255), st.integers(-10, 10))
def test_dequantizing_is_linear_in_the_integers(integers: list[int], zero_point: int, exponent: int) -> None:
    found = Grid(2.0**exponent, float(zero_point), 8).dequantize(torch.tensor(integers).float())
    assert found.tolist() == [(integer - zero_point) * 2.0**exponent for integer in integers]


@pytest.mark.parametrize("seed", range(5))
def test_eight_bits_equal_dynamic_quantization_of_onnx(seed: int) -> None:
    reference = pytest.importorskip("onnx.reference")
    parser = pytest.importorskip("onnx.parser")
    model = parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 13]> g (float[n] x) => (uint8[n] y, float s, uint8 z)'
        "{ y, s, z = DynamicQuantizeLinear(x) }"
    )
    x = np.random.default_rng(seed).normal(0.3, 1, 500).astype(np.float32)
    integers, scale, offset = reference.ReferenceEvaluator(model).run(None, {"x": x})
    step, zero_point = grid(float(x.min()), float(x.max()), 8)
    assert step.item() == pytest.approx(float(scale), rel=1e-6)
    assert zero_point.item() == offset
    assert Grid(step, zero_point, 8).integers(torch.from_numpy(x)).tolist() == integers.tolist()


KINDS: tuple[Kind, ...] = ("asymmetric", "symmetric", "power_of_two")
EVERY_GRID = [
    pytest.mark.parametrize("bits", [2, 3, 4, 8]),
    pytest.mark.parametrize("kind", KINDS),
    pytest.mark.parametrize("axis", [None, 0, 1, -1]),
    pytest.mark.parametrize("fit", ["absolute", "percentile", "least_squares"]),
    pytest.mark.parametrize("from_zero", [False, True], ids=["of both signs", "from zero"]),
]


def every_grid(test: Callable[..., None]) -> Callable[..., None]:
    """The test at every kind of grid."""
    for mark in EVERY_GRID:
        test = mark(test)
    return test


def some_values(from_zero: bool) -> Tensor:
    """Channels along both of the first dimensions that differ in their widths and centres."""
    x = torch.randn(6, 5, 40) * torch.linspace(0.3, 3, 6)[:, None, None] + torch.linspace(-1, 2, 5)[:, None]
    return x.relu() if from_zero else x


def away_from_ties(x: Tensor, grid: Grid) -> Tensor:
    """The values with 0 in the place of those where the last bit decides how they round."""
    share = (x / grid.along(grid.scale, x)).remainder(1)
    return x.masked_fill((share - 0.5).abs() < 1e-3, 0)


def in_tensors(grid: Grid) -> tuple[Tensor, Tensor]:
    return torch.as_tensor(grid.scale), torch.as_tensor(grid.zero_point).to(torch.int32)


@every_grid
def test_rounding_equals_fake_quantize_of_torch(
    bits: int, kind: Kind, axis: int | None, fit: Fit, from_zero: bool
) -> None:
    values = some_values(from_zero)
    grid = Grid.of(values, bits, from_zero=from_zero, fit=fit, kind=kind, axis=axis)
    x, (scale, zero_point) = away_from_ties(values, grid), in_tensors(grid)
    if axis is None:
        expected = torch.fake_quantize_per_tensor_affine(x, scale.item(), int(zero_point), 0, 2**bits - 1)
    else:
        place = axis % x.dim()
        assert scale.shape == zero_point.shape == (x.shape[place],)
        expected = torch.fake_quantize_per_channel_affine(x, scale, zero_point, place, 0, 2**bits - 1)
    assert torch.equal(grid.round(x), expected)
    assert torch.equal(grid.dequantize(grid.integers(x)), expected)


@pytest.mark.export
@every_grid
def test_integers_and_rounding_equal_onnxruntime(
    bits: int, kind: Kind, axis: int | None, fit: Fit, from_zero: bool
) -> None:
    values = some_values(from_zero)
    grid = Grid.of(values, bits, from_zero=from_zero, fit=fit, kind=kind, axis=axis)
    x, (scale, zero_point) = away_from_ties(values, grid), in_tensors(grid)
    sizes = {} if axis is None else {"axis": axis % x.dim()}
    shape = list(scale.shape)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero_point"], ["wide"], **sizes),
        helper.make_node("Clip", ["wide", "lowest", "highest"], ["integers"]),
        helper.make_node("DequantizeLinear", ["integers", "scale", "zero_point"], ["rounded"], **sizes),
    ]
    constants = [
        helper.make_tensor("scale", TensorProto.FLOAT, shape, scale.flatten().tolist()),
        helper.make_tensor("zero_point", TensorProto.UINT8, shape, zero_point.flatten().tolist()),
        helper.make_tensor("lowest", TensorProto.UINT8, [], [0]),
        helper.make_tensor("highest", TensorProto.UINT8, [], [2**bits - 1]),
    ]
    graph = helper.make_graph(
        nodes,
        "grid",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(x.shape))],
        [
            helper.make_tensor_value_info("integers", TensorProto.UINT8, list(x.shape)),
            helper.make_tensor_value_info("rounded", TensorProto.FLOAT, list(x.shape)),
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    integers, rounded = session.run(None, {"x": x.numpy()})
    assert np.array_equal(grid.integers(x).numpy(), integers.astype(np.float32))
    assert np.array_equal(grid.round(x).numpy(), rounded)


@every_grid
def test_a_grid_along_an_axis_is_that_of_each_entry_alone(
    bits: int, kind: Kind, axis: int | None, fit: Fit, from_zero: bool
) -> None:
    x = some_values(from_zero)
    grid = Grid.of(x, bits, from_zero=from_zero, fit=fit, kind=kind, axis=axis)
    entries = [x] if axis is None else list(x.unbind(axis))
    alone = [Grid.of(entry, bits, from_zero=from_zero, fit=fit, kind=kind) for entry in entries]
    scale, zero_point = in_tensors(grid)
    torch.testing.assert_close(scale.flatten(), torch.tensor([float(one.scale) for one in alone]))
    assert zero_point.flatten().tolist() == [one.zero_point for one in alone]


@given(st.lists(reals, min_size=1, max_size=40), bit_widths)
def test_a_symmetric_grid_holds_its_whole_range(values: list[float], bits: int) -> None:
    x = torch.tensor(values)
    grid = Grid.of(x, bits, kind="symmetric", fit="absolute")
    assert grid.zero_point == (2 ** (bits - 1) if min(values) < 0 else 0)
    assert (grid.round(x) - x).abs().max() <= 0.5001 * grid.scale


@given(st.lists(reals, min_size=1, max_size=40), bit_widths)
def test_a_power_of_two_grid_is_the_symmetric_one_with_the_next_power(values: list[float], bits: int) -> None:
    x = torch.tensor(values)
    symmetric, power = (Grid.of(x, bits, kind=kind, fit="absolute") for kind in KINDS[1:])
    assert power.zero_point == symmetric.zero_point
    assert frexp(power.scale)[0] == 0.5
    assert symmetric.scale <= power.scale < 2 * symmetric.scale


@given(st.floats(2.0**-100, 2.0**100, width=32))
def test_the_next_power_of_two_is_exact(value: float) -> None:
    found = next_power_of_two(value)
    assert isinstance(found, float)
    assert frexp(found)[0] == 0.5
    assert found / 2 < value <= found
    as_tensor = next_power_of_two(torch.tensor([value]))
    assert isinstance(as_tensor, Tensor)
    assert as_tensor.tolist() == [found]


@pytest.mark.parametrize("exponent", range(-60, 61))
def test_a_power_of_two_is_its_own_next_and_what_lies_above_has_the_double(exponent: int) -> None:
    power = 2.0**exponent
    above, below = (torch.nextafter(torch.tensor(power), torch.tensor(end)) for end in (float("inf"), 0.0))
    assert [next_power_of_two(value) for value in (below.item(), power, above.item())] == [power, power, 2 * power]
    found = next_power_of_two(torch.stack([below, torch.tensor(power), above]))
    assert isinstance(found, Tensor)
    assert found.tolist() == [power, power, 2 * power]


@given(
    st.lists(reals, min_size=6, max_size=60),
    bit_widths,
    st.sampled_from(KINDS),
    st.sampled_from([None, 0, 1]),
    st.booleans(),
)
def test_a_least_square_range_is_never_worse_than_the_absolute_one(
    values: list[float], bits: int, kind: Kind, axis: int | None, from_zero: bool
) -> None:
    x = torch.tensor(values[: len(values) // 3 * 3]).view(3, -1)
    x = x.abs() if from_zero else x

    def error(fit: Fit) -> Tensor:
        grid = Grid.of(x, bits, from_zero=from_zero, fit=fit, kind=kind, axis=axis)
        square = (grid.round(x) - x).square()
        return square.sum() if axis is None else square.sum(1 - axis)

    fitted, absolute = error("least_squares"), error("absolute")
    assert (fitted <= absolute * (1 + 1e-5)).all()


def test_a_least_square_range_leaves_outliers_out() -> None:
    x = torch.cat([torch.randn(5000), torch.tensor([9.0])])
    fitted, absolute = (Grid.of(x, 4, fit=fit) for fit in ("least_squares", "absolute"))
    assert fitted.scale < 0.8 * absolute.scale
    assert (fitted.round(x) - x).square().sum() < 0.9 * (absolute.round(x) - x).square().sum()


@pytest.mark.parametrize("bits", NORMAL_STEPS)
def test_a_normal_range_rounds_normal_numbers_with_the_least_error(bits: int) -> None:
    x = torch.distributions.Normal(0.0, 1.0).icdf((torch.arange(200_000).double() + 0.5) / 200_000)
    grid = Grid.of(x, bits, fit="normal", kind="symmetric")
    assert grid.zero_point == 2 ** (bits - 1)
    assert grid.scale == pytest.approx(NORMAL_STEPS[bits], rel=1e-3)

    def error(factor: float) -> float:
        return (replace(grid, scale=grid.scale * factor).round(x) - x).square().mean().item()

    assert all(error(1.0) < error(factor) for factor in (0.95, 1.05))
    assert Grid.of(3 * x, bits, fit="normal", kind="symmetric").scale == pytest.approx(3 * grid.scale)


@pytest.mark.parametrize("bits", NORMAL_STEPS)
def test_a_joint_grid_is_that_of_every_tensor(bits: int) -> None:
    several = [torch.randn(5, 2, 3, 3), 10 * torch.randn(3, 4), torch.zeros(2, 3), torch.full((1, 2), 3e38)]
    joint = joint_grid(several, bits)
    alone = [Grid.of(one, bits, fit="normal", kind="symmetric", axis=0) for one in several]
    parts = torch.as_tensor(joint.scale).split([one.numel() for one in several])
    for one, grid, part in zip(several, alone, parts, strict=True):
        torch.testing.assert_close(part.view_as(one), torch.as_tensor(grid.along(grid.scale, one)).expand_as(one))
        torch.testing.assert_close(replace(joint, scale=part.view_as(one)).round(one), grid.round(one))


def test_a_normal_range_is_that_of_every_channel() -> None:
    x = torch.randn(5, 2, 3, 3) * torch.logspace(-2, 2, 5)[:, None, None, None]
    scales = Grid.of(x, 4, fit="normal", kind="symmetric", axis=0).scale
    assert isinstance(scales, torch.Tensor)
    for channel, scale in zip(x, scales, strict=True):
        assert Grid.of(channel, 4, fit="normal", kind="symmetric").scale == pytest.approx(scale.item())
    huge = torch.tensor([[-3e38, 3e38, 1.0], [0.0, 0.0, 0.0]])
    assert Grid.of(huge, 4, fit="normal", kind="symmetric", axis=0).round(huge).isfinite().all()


@pytest.mark.parametrize("from_zero", [False, True])
@pytest.mark.parametrize("kind", ["asymmetric", "symmetric", "power_of_two"])
@pytest.mark.parametrize("fit", ["absolute", "percentile", "least_squares"])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_ranges_that_would_overflow_stay_finite(bits: int, fit: Fit, kind: Kind, from_zero: bool) -> None:
    x = torch.tensor([-3e38, 3e38, 1.0]).clamp(min=0 if from_zero else -3e38)
    grid = Grid.of(x, bits, fit=fit, kind=kind, from_zero=from_zero)
    rounded = grid.round(x)
    assert rounded.isfinite().all()
    assert grid.dequantize(grid.integers(x)).isfinite().all()
    assert rounded[1] > 1e37
    assert (rounded[0] < -1e37) == (not from_zero)
    both = torch.stack([x, x / 1e38])
    assert Grid.of(both, bits, fit=fit, kind=kind, from_zero=from_zero, axis=0).round(both).isfinite().all()


@given(st.floats(2.0**-100, 2.0**100, width=32))
def test_the_nearest_power_of_two_is_nearest_in_its_exponent(value: float) -> None:
    found = nearest_power_of_two(torch.tensor(value)).item()
    assert frexp(found)[0] == 0.5
    assert 2**-0.500001 <= found / value <= 2**0.500001


def test_ties_go_up_where_they_are_to_and_nothing_else_moves() -> None:
    half = Grid(0.5, 8.0, 4)
    up = replace(half, tie_break=HALVES_UP)
    halves = (torch.arange(-8, 7) + 0.5) * 0.5
    assert torch.equal(up.round(halves), (torch.arange(-8, 7) + 1) * 0.5)
    assert torch.equal(up.integers(halves), torch.arange(1.0, 16.0))
    others = torch.arange(-8, 7, 1 / 13)[None] * 0.5 + 0.01
    assert torch.equal(up.round(others), half.round(others))
