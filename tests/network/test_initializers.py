"""Initializers held against their closed forms, scipy's distributions and torch's own initializers."""

from collections.abc import Callable

import pytest
import torch
from scipy.stats import kstest, norm, uniform
from torch import Tensor, nn

from qnas.errors import QnasError
from qnas.network.build import build_plan
from qnas.network.handmade import HandMade
from qnas.network.initializers import (
    INITIALIZERS,
    drawn_parameters,
    fans_of,
    find_initializer,
    with_drawn_classifier,
)
from qnas.network.plan import Plan
from qnas.task import Task

SHAPE, FANS = (48, 16, 3, 3), (16 * 9, 48 * 9)
EVERY = pytest.mark.parametrize("name", INITIALIZERS)
LINEAR = {"hidden0/weight", "classifier/weight"}


def plan_of(design: str = "regular_conv", batch_norm: bool = True) -> Plan:
    return build_plan(HandMade(design, 4, batch_norm=batch_norm), Task((3, 16, 16), 10))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@EVERY
def test_each_draws_the_distribution_that_its_row_says(name: str) -> None:
    row = INITIALIZERS[name]
    values = row.draw(SHAPE, FANS, generator()).flatten().double()
    spread = row.spread(*FANS)
    expected = uniform(-spread, 2 * spread) if row.shape == "uniform" else norm(0, spread)
    assert kstest(values.numpy(), expected.cdf).pvalue > 0.01
    assert values.std().item() == pytest.approx(row.deviation(*FANS), rel=0.03)
    assert row.deviation(*FANS) == pytest.approx(expected.std())


KNOWN: dict[str, Callable[[Tensor], object]] = {
    "uniform_small": lambda weight: weight.uniform_(-0.25, 0.25),
    "uniform_medium": lambda weight: weight.uniform_(-0.5, 0.5),
    "uniform_large": lambda weight: weight.uniform_(-1, 1),
    "normal_small": lambda weight: weight.normal_(0, 0.1),
    "normal_medium": lambda weight: weight.normal_(0, 0.5),
    "normal_large": lambda weight: weight.normal_(0, 1),
    "glorot_uniform": nn.init.xavier_uniform_,
    "glorot_normal": nn.init.xavier_normal_,
    "he_uniform": lambda weight: nn.init.kaiming_uniform_(weight, nonlinearity="relu"),
    "he_normal": lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"),
    "modified_glorot_medium": lambda weight: nn.init.xavier_uniform_(weight, gain=6**0.5),
    "modified_glorot_large": lambda weight: nn.init.xavier_uniform_(weight, gain=216**0.5),
}


@pytest.mark.parametrize("name", KNOWN)
def test_the_paper_s_twelve_are_torch_s(name: str) -> None:
    theirs = torch.empty(SHAPE)
    KNOWN[name](theirs)
    ours = INITIALIZERS[name].draw(SHAPE, FANS, generator())
    assert ours.std().item() == pytest.approx(theirs.std().item(), rel=0.03)
    if INITIALIZERS[name].shape == "uniform":
        assert ours.abs().max().item() == pytest.approx(theirs.abs().max().item(), rel=0.01)


@pytest.mark.parametrize("batch_norm", [True, False])
def test_fans_are_torch_s_for_dense_layers_and_one_channel_s_for_depthwise_ones(batch_norm: bool) -> None:
    plan = plan_of("dws_conv", batch_norm)
    for place, slot in enumerate(plan.slots):
        if slot.kind == "weight" and "depthwise" in slot.name:
            assert fans_of(plan, place) == (9, 9)
        elif slot.kind == "weight":
            assert fans_of(plan, place) == nn.init._calculate_fan_in_and_fan_out(torch.empty(slot.shape))


@EVERY
def test_the_first_convolution_and_linear_layers_are_glorot_uniform_and_the_same_for_all(name: str) -> None:
    plan = plan_of()
    drawn, glorot = (drawn_parameters(plan, INITIALIZERS[one], generator(3)) for one in (name, "glorot_uniform"))
    for slot in plan.slots:
        if slot.kind != "weight":
            assert torch.equal(drawn[slot.name], torch.full(slot.shape, float(slot.kind == "norm_weight")))
        elif slot.name in {"stem/weight", *LINEAR}:
            assert torch.equal(drawn[slot.name], glorot[slot.name])
        else:
            row, fans = INITIALIZERS[name], fans_of(plan, plan.slots.index(slot))
            assert drawn[slot.name].std().item() == pytest.approx(row.deviation(*fans), rel=0.25)
    ends = (6 / (9 * (3 + 4))) ** 0.5
    assert 0.9 * ends < drawn["stem/weight"].abs().max() <= ends


def test_members_of_one_shape_draw_multiples_of_the_same_numbers() -> None:
    small, large = (INITIALIZERS[name].draw(SHAPE, FANS, generator()) for name in ("uniform_small", "uniform_large"))
    torch.testing.assert_close(4 * small, large)
    assert not torch.equal(large, INITIALIZERS["uniform_large"].draw(SHAPE, FANS, generator(1)))


def test_other_parameters_get_drawn_linear_layers() -> None:
    plan = plan_of(batch_norm=False)
    others = {slot.name: torch.full(slot.shape, 7.0) for slot in plan.slots}
    mixed = with_drawn_classifier(plan, others, generator(2))
    drawn = drawn_parameters(plan, INITIALIZERS["he_normal"], generator(2))
    linear = LINEAR | {"hidden0/bias", "classifier/bias"}
    assert all(torch.equal(mixed[name], (drawn if name in linear else others)[name]) for name in mixed)


def test_an_unknown_one_is_refused() -> None:
    with pytest.raises(QnasError, match="No initializer is called 'he_norm'; did you mean 'he_normal'"):
        find_initializer("he_norm")
