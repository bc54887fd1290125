"""Exported C code on an emulated Cortex-M4 of 256 KiB of flash and 64 KiB of RAM: the integer network's logits.

With `-s` it prints flash, RAM and executed instructions of the network and of its layers.
"""

import re

import numpy as np
import pytest
import torch

from qnas.errors import QnasError
from qnas.exporters.c import HEADER, constant_bytes, write_c
from qnas.exporters.device_profiles import find_device
from qnas.exporters.emulated import can_emulate, emulated
from qnas.network.build import build_plan
from qnas.network.deployed import DeployedNetwork, deploy
from qnas.network.grids import Grids
from qnas.network.handmade import HandMade
from qnas.network.initial import he_parameters
from qnas.network.instructions import MILLION, instructions
from qnas.network.integers import integer_network
from qnas.network.module import Network
from qnas.quant.choices import GRIDS, USUAL
from qnas.quant.scheme import Bits
from qnas.task import Task

TASK = Task((1, 14, 14), 10, "made up", (), (70.0,), (80.0,))
pytestmark = [pytest.mark.export, pytest.mark.skipif(not can_emulate(), reason="needs a compiler and QEMU")]


def small(name: str, width: int, bits: str, grid: str) -> DeployedNetwork:
    plan = build_plan(HandMade(name, width, Bits.parse(bits)), TASK)
    network = Network(plan, he_parameters(plan, torch.Generator().manual_seed(0)), (-2.0, 2.2), Grids(grid))
    network.calibrate([torch.randn(8, *TASK.image)])
    return deploy(network)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("bits", ["w8a8", "w4a8", "w4a4", "w2a2"])
def test_a_small_network_runs_and_fits(bits: str, grid: str) -> None:
    deployed = small("ds_cnn", 8, bits, grid)
    integers, pixels = integer_network(deployed, TASK), torch.randint(0, 256, (1, *TASK.image), dtype=torch.uint8)
    files = write_c(deployed, TASK)
    device, constants = emulated(files, pixels), constant_bytes(integers)
    assert np.array_equal(device.logits, integers(pixels)[0])
    assert device.flash - constants <= find_device("cortex-m4").code
    assert device.flash < 256 * 1024
    assert constants < device.flash < constants + 12 * 1024
    arena = int(re.search(rb"ARENA_BYTES (\d+)", files[HEADER])[1])  # type: ignore[index]
    assert arena <= device.ram <= arena + 1024
    assert min(device.instructions) > 0
    print(f"\n{bits}: flash {device.flash:,} (constants {constants:,}), RAM {device.ram:,} (arena {arena:,})")
    print(f"  {'instructions':20} {sum(device.instructions):10,}")
    for step, count in zip(integers.steps[1:], device.instructions, strict=True):
        print(f"  {step.name:20} {count:10,}")


@pytest.mark.parametrize("bits", ["w8a8", "w4a8", "w4a4", "w2a2"])
@pytest.mark.parametrize("name", ["resnet8", "ds_cnn", "vgg_small"])
def test_the_closed_form_counts_what_the_emulator_counts(name: str, bits: str) -> None:
    deployed = small(name, 6, bits, USUAL)
    device = emulated(write_c(deployed, TASK), torch.zeros(1, *TASK.image, dtype=torch.uint8))
    assert instructions(deployed.plan) * MILLION == pytest.approx(sum(device.instructions), rel=0.1)


def test_what_does_not_fit_is_one_sentence() -> None:
    files = write_c(small("resnet8", 60, "w8a8", USUAL), TASK)
    with pytest.raises(QnasError, match=r"runs on the emulated device, but arm-none-eabi-gcc ended with .*take a netw"):
        emulated(files, torch.zeros(1, *TASK.image, dtype=torch.uint8))
