"""Bit widths: how they are written, read and refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnas.errors import QnasError
from qnas.quant.scheme import FP32, PAPER_BITS, Bits

widths = st.integers(2, 8)


@given(widths, widths)
def test_widths_survive_writing_and_reading(weights: int, activations: int) -> None:
    bits = Bits.parse(str(Bits(weights, activations)))
    assert (bits.weights, bits.activations) == (weights, activations)


@given(widths, widths)
def test_a_quantized_setting_is_written_weights_first(weights: int, activations: int) -> None:
    assert str(Bits(weights, activations)) == f"w{weights}a{activations}"


@pytest.mark.parametrize(("text", "weights", "activations"), [("W4A8", 4, 8), ("fp32", 32, 32), ("FP32", 32, 32)])
def test_either_case_is_read(text: str, weights: int, activations: int) -> None:
    assert Bits.parse(text) == Bits(weights, activations)


def test_float_is_float_and_nothing_else_is() -> None:
    assert [bits.is_float for bits in PAPER_BITS] == [True, False, False, False, False]


def test_float_is_written_fp32() -> None:
    assert str(FP32) == "fp32"


@given(st.integers(0, 999), st.integers(0, 999))
def test_a_width_outside_2_to_8_is_refused(weights: int, activations: int) -> None:
    if (weights, activations) == (32, 32) or (2 <= weights <= 8 and 2 <= activations <= 8):
        assert str(Bits.parse(f"w{weights}a{activations}"))
        return
    with pytest.raises(QnasError):
        Bits.parse(f"w{weights}a{activations}")


@pytest.mark.parametrize(("weights", "activations"), [(1, 4), (4, 1), (9, 4), (4, 9), (32, 8), (8, 32), (-4, 4)])
def test_the_edges_of_the_range_are_refused(weights: int, activations: int) -> None:
    with pytest.raises(QnasError):
        Bits(weights, activations)


def test_a_width_out_of_range_says_rule_value_and_next_step() -> None:
    with pytest.raises(QnasError) as error:
        Bits.parse("w1a4")
    assert str(error.value) == (
        "Bit widths must lie within 2..8, got 'w1a4'; give for example `bits='w4a4'`, or `bits='fp32'` for float."
    )


@pytest.mark.parametrize("text", ["", "4", "w4", "a4w4", "w4a4 ", "w4a4x", "w-4a4", "w4.0a4", "fp16", "int8"])
def test_any_other_form_says_rule_value_and_next_step(text: str) -> None:
    with pytest.raises(QnasError) as error:
        Bits.parse(text)
    assert str(error.value) == (
        f"Bit widths are written like w4a8 or fp32, got {text!r}; give for example `bits='w4a4'`."
    )
