"""Training prices: larger networks cost more, and how much is what was measured."""

from itertools import islice

import pytest

from qnas.network.build import build_plan
from qnas.network.handmade import HandMade
from qnas.quant.scheme import Bits
from qnas.sampling.generator import stream
from qnas.space.space import find_space
from qnas.task import Task
from qnas.training.price import PRICES, price, work

TASK = Task((1, 28, 28), 10)


def priced(name: str, width: int, batch: int = 64, task: Task = TASK) -> float:
    return price(build_plan(HandMade(name, width, Bits(4, 4)), task), batch)


@pytest.mark.parametrize("name", ["resnet8", "ds_cnn", "vgg_small"])
def test_wider_networks_and_larger_images_cost_more(name: str) -> None:
    assert priced(name, 8) < priced(name, 16) < priced(name, 32)
    assert priced(name, 8) < priced(name, 8, task=Task((1, 56, 56), 10))


def test_layers_cost_less_an_image_the_more_images_share_them() -> None:
    few, many, most = (priced("resnet20", 4, batch) for batch in (16, 64, 256))
    assert few > many > most
    assert few - most == pytest.approx((few - many) * (1 / 16 - 1 / 256) / (1 / 16 - 1 / 64))


def test_work_is_counted_by_kinds() -> None:
    """DS-CNN of width 4 on 28 x 28: a stem, depthwise and pointwise convolutions of strides 1, 2, 1, 2, 1, 1."""
    plan = build_plan(HandMade("ds_cnn", 4, Bits(4, 4)), TASK)
    sides, before, after = (28, 14, 14, 7, 7, 7), (4, 4, 8, 8, 16, 16), (4, 8, 8, 16, 16, 16)
    found = work(plan, 10)
    assert found["spatial"] == pytest.approx(28**2 * 4 * 9 / 1e6)
    assert found["depthwise"] == pytest.approx(sum(s * s * c * 9 for s, c in zip(sides, before, strict=True)) / 1e6)
    mixed = sum(s * s * a * b for s, a, b in zip(sides, before, after, strict=True)) + 16 * 10
    assert found["pointwise"] == pytest.approx(mixed / 1e6, rel=0.05)  # pools and sums count as if they mixed
    assert found["nodes"] == len(plan.nodes) / 10
    assert price(plan, 10) == pytest.approx(sum(PRICES[kind] * amount for kind, amount in found.items()))


def test_every_network_of_a_space_has_a_price() -> None:
    space = find_space("fashion")
    prices = [price(build_plan(one, space.task), 64) for one in islice(stream(space, 0, bits=Bits(4, 4)), 50)]
    assert min(prices) > 0
    assert max(prices) > 5 * min(prices)
