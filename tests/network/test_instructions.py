"""Loops of the exported C code in closed form: those of the integer network, counted by walking through them."""

from collections import Counter
from itertools import islice

import pytest
import torch

from qnas.exporters.c import function_of
from qnas.network.build import build_plan
from qnas.network.deployed import deploy
from qnas.network.handmade import HandMade
from qnas.network.initial import he_parameters
from qnas.network.instructions import BLOCK, CHANNELS, LANES, instructions, layer_counts
from qnas.network.integers import Step, integer_network
from qnas.network.module import Network
from qnas.quant.scheme import FP32, Bits
from qnas.sampling.generator import stream
from qnas.space.space import find_space
from qnas.task import Task

TASK = Task((1, 12, 12), 4, "made up", (), (70.0,), (80.0,))
SPACES = ("fashion", "cifar", "mobile-small", "tiny")


@pytest.mark.parametrize("bits", ["w8a8", "w4a8", "w4a4", "w2a2"])
@pytest.mark.parametrize("name", SPACES)
def test_kernels_and_loops_are_those_of_the_integer_network(name: str, bits: str) -> None:
    space = find_space(name).for_task(TASK)
    for genotype in islice(stream(space, 0, bits=Bits.parse(bits)), 4):
        plan = build_plan(genotype, TASK)
        network = Network(plan, he_parameters(plan, torch.Generator().manual_seed(0)), (-2.0, 2.2))
        network.calibrate([torch.randn(4, *TASK.image)])
        steps = integer_network(deploy(network), TASK).steps
        counts = layer_counts(plan)
        assert [kernel for _, kernel, _ in counts] == [function_of(step) for step in steps[1:]]
        for step, (_, kernel, turns) in zip(steps[1:], counts, strict=True):
            walked = walk(kernel, step, steps[step.inputs[0]])
            assert {loop: turns[loop] for loop in walked} == walked, (genotype.key, step.name)


def walk(kernel: str, step: Step, source: Step) -> Counter[str]:
    """Turns of the loops that matter most, one by one."""
    channels, height, width = step.shape
    inner, high, wide = source.shape
    node, turns = step.node, Counter[str]()
    blocks = {"convolve": 1}.get(kernel, -(-channels // CHANNELS))
    if kernel == "convolve":
        for _ in range(height):
            for channel in range(0, channels, BLOCK):
                for _ in range(channel, min(channel + BLOCK, channels)):
                    turns["weight calls"] += 1
                for _ in range(0, width, 2):
                    turns["products"] += -(-(node.kernel**2) * inner // LANES) * LANES
    if kernel in ("filter", "average", "maximum"):
        for _ in range(height * width):
            for channel in range(0, channels, CHANNELS):
                turns["windows"] += 1
                turns["products"] += node.kernel**2 * min(CHANNELS, channels - channel)
    if kernel in ("convolve", "filter", "average", "maximum") and (node.kernel > 1 or blocks > 1):
        for row in range(height):
            for tap in range(node.kernel):
                inside = 0 <= row * node.stride + tap * node.dilation - node.padding < high
                for column in range(-node.padding, wide + node.padding):
                    turns["loads" if inside and 0 <= column < wide else "filled"] += blocks
    turns["outputs"] += channels * height * width
    return turns


def test_a_network_in_floats_has_no_instructions() -> None:
    assert instructions(build_plan(HandMade("ds_cnn", 8, FP32), TASK)) == 0.0


def test_a_linear_layer_between_others_is_the_convolution_that_its_code_is() -> None:
    plan = build_plan(HandMade("regular_conv", 4, Bits(8, 8)), TASK)
    kernels = {plan.nodes[position].name: kernel for position, kernel, _ in layer_counts(plan)}
    linear = [node.name for node in plan.nodes if node.kind == "linear"]
    assert [kernels[name] for name in linear] == ["convolve"] * (len(linear) - 1) + ["connect"]
    assert len(linear) > 1
