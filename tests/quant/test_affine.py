"""Affine quantization held against numpy, ONNX's reference evaluator and the properties that equations 1 to 3 imply."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from qnas.quant.affine import dequantize, grid_in_numbers, levels, quantize, asymmetric

reals = st.floats(-1000, 1000, width=32)
bit_widths = st.integers(2, 8)


def grid(low: float, high: float, bits: int) -> tuple[Tensor, Tensor]:
    return asymmetric(torch.tensor(low), torch.tensor(high), bits)


@given(reals, reals, bit_widths, st.sampled_from([torch.float32, torch.float64]))
def test_a_grid_in_numbers_is_the_grid_to_the_last_bit(low: float, high: float, bits: int, dtype: torch.dtype) -> None:
    ends = torch.tensor(min(low, high), dtype=dtype), torch.tensor(max(low, high), dtype=dtype)
    assert grid_in_numbers(*ends, bits) == tuple(value.item() for value in asymmetric(*ends, bits))


@pytest.mark.parametrize(("low", "high"), [("0", "nan"), ("nan", "1"), ("-inf", "1"), ("0", "inf")])
def test_a_grid_in_numbers_of_what_is_not_finite_is_the_same_too(low: str, high: str) -> None:
    ends = torch.tensor(float(low)), torch.tensor(float(high))
    expected = [value.item() for value in asymmetric(*ends, 4)]
    np.testing.assert_equal(list(grid_in_numbers(*ends, 4)), expected)


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
    assert quantize(torch.zeros(3), step, zero_point, 4).tolist() == [0, 0, 0]


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
    assert dequantize(quantize(torch.zeros(1), step, zero_point, bits), step, zero_point).item() == 0


@given(st.lists(reals, min_size=1, max_size=20), reals, reals, bit_widths)
def test_quantized_values_are_integers_of_the_grid(values: list[float], low: float, high: float, bits: int) -> None:
    step, zero_point = grid(min(low, high), max(low, high), bits)
    integers = quantize(torch.tensor(values), step, zero_point, bits)
    assert set(integers.tolist()) <= set(range(2**bits))


@given(st.lists(reals, min_size=1, max_size=20), reals, reals, bit_widths)
def test_equations_1_to_3_in_numpy(values: list[float], low: float, high: float, bits: int) -> None:
    below, above = min(low, high, 0.0), max(low, high, 0.0)
    assume(above - below > 1e-3)
    scale = (above - below) / (2**bits - 1)
    expected = np.clip(np.rint(np.array(values) / scale) + np.rint(-below / scale), 0, 2**bits - 1)
    step, zero_point = asymmetric(torch.tensor(below).double(), torch.tensor(above).double(), bits)
    assert quantize(torch.tensor(values).double(), step, zero_point, bits).tolist() == expected.tolist()


@given(st.lists(st.integers(0, 255), min_size=1, max_size=20), st.integers(0, 255), st.integers(-10, 10))
def test_dequantizing_is_linear_in_the_integers(integers: list[int], zero_point: int, exponent: int) -> None:
    found = dequantize(torch.tensor(integers).float(), torch.tensor(2.0**exponent), torch.tensor(float(zero_point)))
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
    assert quantize(torch.from_numpy(x), step, zero_point, 8).tolist() == integers.tolist()
