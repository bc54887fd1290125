"""Flash and RAM of C code, counted before there is any, are those of the code that is then written."""

from itertools import islice
from random import Random

import pytest
import torch

from qnas.exporters.c import memory_of_c, write_c
from qnas.network.build import build_plan
from qnas.network.costs import costs
from qnas.network.deployed import DeployedNetwork, deploy
from qnas.network.grids import Grids
from qnas.network.handmade import HAND_MADE, HandMade
from qnas.network.initial import he_parameters
from qnas.network.instructions import instructions
from qnas.network.memory import Memory, costs_in_c, memory
from qnas.network.module import Network
from qnas.network.plan import Plan
from qnas.quant.choices import POWERS
from qnas.quant.scheme import FP32, Bits
from qnas.sampling.generator import stream
from qnas.space.space import find_space
from qnas.task import Task

PHOTO = Task((3, 21, 18), 4, mean=(120.0, 100.0, 90.0), deviation=(60.0, 50.0, 70.0))
WIDTHS = ["w8a8", "w4a8", "w4a4", "w2a2", "w5a6"]


def deployed(plan: Plan, grid: str = "per-channel") -> DeployedNetwork:
    parameters = he_parameters(plan, torch.Generator().manual_seed(0))
    network = Network(plan, parameters, (-2.0, 2.0), Grids(grid))
    network.calibrate([torch.randn(8, *PHOTO.image)])
    return deploy(network)


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("space", ["tiny", "fashion", "cifar", "mobile-small"])
def test_networks_of_a_space_take_what_is_counted(space: str, bits: str) -> None:
    searched = find_space(space).for_task(PHOTO)
    for genotype in islice(stream(searched, 3, bits=Bits.parse(bits)), 3):
        plan = build_plan(genotype, PHOTO)
        assert memory(plan) == memory_of_c(write_c(deployed(plan), PHOTO))


@pytest.mark.parametrize("name", HAND_MADE)
@pytest.mark.parametrize("edges", [0, 8])
def test_hand_made_networks_take_what_is_counted(name: str, edges: int) -> None:
    plan = build_plan(HandMade(name, 8, Bits(4, 4), edges=edges), PHOTO)
    assert memory(plan) == memory_of_c(write_c(deployed(plan), PHOTO))


@pytest.mark.parametrize("bits", WIDTHS)
def test_on_grids_of_powers_of_two_layers_have_no_multipliers(bits: str) -> None:
    plan = build_plan(HandMade("mbnet_v2", 8, Bits.parse(bits)), PHOTO)
    channels = sum(node.shape[0] for node in plan.nodes if node.kind in ("conv", "linear"))
    taken = memory_of_c(write_c(deployed(plan, POWERS), PHOTO))
    assert memory(plan, POWERS) == taken
    assert memory(plan) == Memory(taken.flash + 4 * channels, taken.ram)


def test_networks_of_mixed_widths_take_what_is_counted() -> None:
    rng, searched = Random(0), find_space("fashion").for_task(PHOTO)
    for genotype in islice(stream(searched, 5, bits=Bits(8, 8)), 4):
        mixed = genotype.with_drawn_bits(lambda: rng.choice([Bits.parse(bits) for bits in WIDTHS[:4]]))
        plan = build_plan(mixed, PHOTO)
        assert memory(plan) == memory_of_c(write_c(deployed(plan), PHOTO))


def test_costs_of_c_stand_beside_all_others() -> None:
    plan = build_plan(HandMade("ds_cnn", 8, Bits(8, 8)), PHOTO)
    found, taken = costs_in_c(plan), memory(plan)
    assert (found.params, found.activation_bytes) == (costs(plan).params, costs(plan).activation_bytes)
    assert (found.instructions, found.flash, found.ram) == (instructions(plan), taken.flash, taken.ram)
    assert taken.flash > found.weight_bytes
    assert memory(build_plan(HandMade("ds_cnn", 8, FP32), PHOTO)) == (0, 0)
