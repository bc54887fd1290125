"""Every predicted tensor held against the plain reference: GHN-2's equations, one node at a time, in float64."""

import copy
from collections.abc import Callable
from dataclasses import replace

import plain_ghn
import pytest
import torch

from qnas.ghn.config import GHN_2, GHNConfig
from qnas.ghn.model import GHN
from qnas.network.plan import Plan
from qnas.quant.scheme import Bits
from qnas.space.space import find_space, space_names

SPLITS = [(name, split) for name in space_names() for split in ("id", *find_space(name).overrides)]
CONFIGS = pytest.mark.parametrize(
    "config",
    [GHN_2, replace(GHN_2, virtual_edges=10), GHNConfig(), GHNConfig(knows_places=True)],
    ids=["GHN-2 as published", "GHN-2 as in the paper", "with bits", "with places too"],
)
Draw = Callable[..., list[Plan]]


@torch.no_grad()
def largest_difference(config: GHNConfig, plans: list[Plan]) -> float:
    """Over all tensors of all networks, relative to the largest value of each."""
    ghn = GHN(config)
    for table in (*ghn.widths, *ghn.places):
        torch.nn.init.normal_(table.get_parameter("weight"))
    exact, largest = copy.deepcopy(ghn).double(), 0.0
    for plan, found in zip(plans, ghn(plans), strict=True):
        expected = plain_ghn.predict(exact, plan)
        assert expected.keys() == found.keys()
        for name, tensor in expected.items():
            assert tensor.shape == found[name].shape
            largest = max(largest, ((tensor - found[name]).abs().max() / tensor.abs().max()).item())
    return largest


@CONFIGS
def test_a_few_networks_have_the_parameters_of_the_plain_reference(config: GHNConfig, draw: Draw) -> None:
    plans = [*draw("tiny", "id", 2, bits=Bits(4, 2)), *draw("mobile", "bn_free", 1)]
    assert largest_difference(config, plans) < 1e-5


@pytest.mark.slow
@CONFIGS
def test_many_networks_have_the_parameters_of_the_plain_reference(config: GHNConfig, draw: Draw) -> None:
    plans = [plan for name, split in SPLITS for plan in draw(name, split, 1, bits=Bits(2, 8))]
    assert len(plans) >= 20
    assert largest_difference(config, plans) < 1e-5


def test_ghn_2_has_as_many_parameters_as_its_authors_count() -> None:
    unused = 15 - 12  # words of theirs for attention, squeeze-and-excitation and the like, of 32 numbers each
    assert sum(parameter.numel() for parameter in GHN(GHN_2).parameters()) == 1_620_764 - unused * 32
