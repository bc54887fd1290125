"""Places of buffers: those that are needed together share no byte but where they may, and memory is what it must be."""

from random import Random

import pytest

from qnas.network.arena import Buffer, least, placed


def overlap(one: tuple[int, int], two: tuple[int, int]) -> bool:
    return one[0] < two[1] and two[0] < one[1]


@pytest.mark.parametrize("seed", range(10))
def test_buffers_that_are_needed_together_lie_apart(seed: int) -> None:
    rng = Random(seed)
    firsts = [rng.randrange(12) for _ in range(15)]
    buffers = [Buffer(2 * rng.randint(1, 50), first, first + rng.randrange(4)) for first in firsts]
    starts, total = placed(buffers)
    spans = [(start, start + buffer.size) for start, buffer in zip(starts, buffers, strict=True)]
    for place, one in enumerate(buffers):
        for other in range(place):
            two = buffers[other]
            if one.first <= two.last and two.first <= one.last:
                assert not overlap(spans[place], spans[other])
    assert total == max(end for _, end in spans)
    assert total >= max(sum(b.size for b in buffers if b.first <= step <= b.last) for step in range(16))


def test_a_chain_needs_its_largest_pair() -> None:
    sizes = [100, 60, 80, 20, 10]
    _, total = placed([Buffer(size, place, place + 1) for place, size in enumerate(sizes)])
    assert total == 160


def test_what_may_lie_on_its_input_needs_a_head_start_alone() -> None:
    starts, total = placed([Buffer(100, 0, 1), Buffer(100, 1, 2, ((0, 10),))])
    assert total == 110
    assert starts[0] - starts[1] == 10


@pytest.mark.parametrize("seed", range(10))
def test_a_quick_look_is_a_bound_and_no_place_is_below_the_least(seed: int) -> None:
    rng = Random(seed)
    sizes = [2 * rng.randint(10, 99) for _ in range(12)]
    lasts = [min(11, place + rng.choice([1, 1, 1, 4])) for place in range(12)]
    buffers = [
        Buffer(size, place, lasts[place], ((place - 1, 6),) * (place > 0 and lasts[place - 1] == place))
        for place, size in enumerate(sizes)
    ]
    assert least(buffers) <= placed(buffers).total <= placed(buffers, quick=True).total


def test_the_same_buffers_get_the_same_places() -> None:
    buffers = [Buffer(10 + 2 * place, place, place + 2) for place in range(9)]
    assert placed(buffers) == placed(buffers)
