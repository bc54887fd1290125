"""Networks of first tiles held against the same networks in full, in float64, where rounding hides nothing."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from qnas.ghn.config import GHNConfig
from qnas.ghn.decoder import tile
from qnas.ghn.model import GHN
from qnas.network.arithmetic import DynamicArithmetic, FloatArithmetic
from qnas.network.forward import forward
from qnas.network.plan import Plan
from qnas.network.tiles import concatenated, first_tiles_suffice, reduced, repeated
from qnas.quant.ranges import range_of, usual_fit
from qnas.quant.scheme import PAPER_BITS, Bits

Draw = Callable[..., list[Plan]]
sizes = st.integers(1, 9)


@given(sizes, st.integers(1, 30), st.booleans())
def test_a_layer_of_tiles_equals_the_whole_layer(length: int, channels: int, repeats: bool) -> None:
    length = min(length, channels)
    weight = torch.randn(5, length, 1, 1, dtype=torch.float64)
    x = torch.randn(2, length if repeats else channels, 3, 3, dtype=torch.float64)
    whole = repeated(x, channels) if repeats else x
    expected = torch.nn.functional.conv2d(whole, tile(weight, (5, channels, 1, 1)))
    torch.testing.assert_close(torch.nn.functional.conv2d(*reduced(x, weight, channels)), expected)


@given(sizes, st.integers(1, 4), st.integers(1, 3), st.integers(0, 8))
def test_a_concatenation_of_tiles_meets_a_weight_as_the_whole_one_does(
    length: int, times: int, parts: int, rest: int
) -> None:
    channels = length * times + rest % length
    tiles = [torch.randn(2, length, dtype=torch.float64) for _ in range(parts)]
    weight = torch.randn(5, length, dtype=torch.float64)
    expected = torch.cat([repeated(part, channels) for part in tiles], 1) @ tile(weight, (5, parts * channels)).t()
    x, columns = reduced(concatenated(tiles, [channels] * parts), weight, parts * channels)
    torch.testing.assert_close(x @ columns.t(), expected)


def test_whole_layers_are_left_alone() -> None:
    x, weight = torch.randn(2, 6, 3, 3), torch.randn(5, 6, 1, 1)
    found = reduced(x, weight, 6)
    assert found[0] is x
    assert found[1] is weight
    assert repeated(x, 6) is x


class Smooth(DynamicArithmetic):
    """In the place of rounding, something of range and width without ties, which the last digit would decide."""

    def quantized(self, x: Tensor, bits: int, from_zero: bool = False) -> Tensor:
        low, high = range_of(x.detach(), usual_fit(bits), from_zero)
        span = high - low + 1e-3
        return x + span / 2**bits * torch.sin(5 * x / span)


@pytest.mark.parametrize("bits", PAPER_BITS[:-1], ids=str)
@pytest.mark.parametrize(("name", "split", "side"), [("tiny", "id", 8), ("tiny", "wide", 8), ("mobile", "id", 8)])
@torch.no_grad()
def test_a_network_of_tiles_has_the_logits_of_the_whole_one(
    name: str, split: str, side: int, bits: Bits, draw: Draw
) -> None:
    ghn = GHN(GHNConfig(hidden=16, channels=12, kernel=7, decoder=(12, 20))).double()
    for plan in draw(name, split, 2, side=side, bits=bits):
        images = torch.randn(8, *plan.nodes[0].shape, dtype=torch.float64)
        whole, tiles = ghn([plan])[0], ghn([plan], whole=False)[0]
        assert sum(tensor.numel() for tensor in tiles.values()) < sum(tensor.numel() for tensor in whole.values())
        arithmetic = FloatArithmetic() if bits.is_float else Smooth()
        found, expected = (forward(plan, parameters, images, arithmetic) for parameters in (tiles, whole))
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6 * expected.abs().max().item())


@torch.no_grad()
def test_where_operations_read_concatenations_directly_whole_tensors_are_predicted(draw: Draw) -> None:
    ghn = GHN(GHNConfig(hidden=16, channels=6, kernel=7, decoder=(12, 20))).double()
    plans = draw("fashion", "id", 24, side=28)
    assert {first_tiles_suffice(plan) for plan in plans} == {True, False}
    for plan in plans:
        images = torch.randn(4, *plan.nodes[0].shape, dtype=torch.float64)
        whole, part = ghn([plan])[0], ghn([plan], whole=False)[0]
        sizes = [sum(tensor.numel() for tensor in one.values()) for one in (part, whole)]
        assert sizes[0] < sizes[1] if first_tiles_suffice(plan) else sizes[0] == sizes[1]
        found, expected = (forward(plan, parameters, images, FloatArithmetic()) for parameters in (part, whole))
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6 * expected.abs().max().item())


def test_plans_of_projected_cells_can_be_computed_from_first_tiles(draw: Draw) -> None:
    assert all(first_tiles_suffice(plan) for plan in draw("mobile", "id", 30, side=8))
