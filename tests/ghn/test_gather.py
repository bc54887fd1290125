"""Tensors that are gathered from the largest ones, held against those that are decoded at their own size."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from qnas.ghn.decoder import ConvDecoder
from qnas.ghn.gather import ALIGNED, corners, gathered

SIZES = st.tuples(st.integers(1, 8), st.integers(1, 8), st.sampled_from([1, 3, 5]))


@given(st.lists(SIZES, min_size=1, max_size=4), st.integers(0, 99))
def test_corners_of_the_largest_tensor_are_what_each_shape_gives_alone(
    sizes: list[tuple[int, int, int]], seed: int
) -> None:
    torch.manual_seed(seed)
    conv = ConvDecoder(hidden=6, channels=8, kernel=5, widths=(4, 5)).double()
    states, factors = torch.randn(len(sizes), 6, dtype=torch.float64), torch.rand(len(sizes), dtype=torch.float64)
    shapes = [(rows, columns, kernel, kernel) for rows, columns, kernel in sizes]
    together = corners(conv, states, shapes, factors)
    alone = [conv(states[n : n + 1], *size)[0] * factors[n] for n, size in enumerate(sizes)]
    gradients = []
    for several in (together, alone):
        mixed = torch.stack([(one * torch.arange(one.numel()).view_as(one).sin()).sum() for one in several]).sum()
        gradients.append(torch.autograd.grad(mixed, list(conv.parameters())))
    for ours, theirs, shape in zip(together, alone, shapes, strict=True):
        assert ours.shape == shape
        torch.testing.assert_close(ours, theirs)
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs)


@given(st.lists(st.lists(st.integers(0, 19), min_size=1, max_size=40), min_size=1, max_size=4))
def test_entries_are_gathered_where_libraries_can_read_several_at_once(places: list[list[int]]) -> None:
    flat = torch.arange(20.0, requires_grad=True)
    found = gathered(flat, [torch.tensor(place).numpy() for place in places])
    assert [part.tolist() for part in found] == places
    assert len({part.data_ptr() % (4 * ALIGNED) for part in found}) == 1
    (gradient,) = torch.autograd.grad(torch.cat(found).sum(), [flat])
    assert gradient.tolist() == [sum(place.count(n) for place in places) for n in range(20)]
