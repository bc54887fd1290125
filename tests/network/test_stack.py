"""Networks side by side held against the same networks one at a time, and against each other where one diverges."""

import pytest
import torch

from qnas.errors import QnasError
from qnas.network.build import build_plan
from qnas.network.forward import forward
from qnas.network.handmade import HandMade
from qnas.network.initializers import INITIALIZERS, drawn_parameters
from qnas.network.module import Network
from qnas.network.plan import Builder, Plan
from qnas.network.stack import Stack
from qnas.quant.scheme import FP32
from qnas.task import Task

TASK = Task((2, 12, 12), 3)
DESIGNS = pytest.mark.parametrize("design", ["regular_conv", "dws_conv", "basic_residual", "mbnet_v2"])


def plan_of(design: str, batch_norm: bool = True) -> Plan:
    return build_plan(HandMade(design, 4, batch_norm=batch_norm), TASK)


def several(plan: Plan, count: int = 3) -> list[dict[str, torch.Tensor]]:
    he = INITIALIZERS["he_normal"]
    return [drawn_parameters(plan, he, torch.Generator().manual_seed(seed)) for seed in range(count)]


@DESIGNS
@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("count", [1, 3])
def test_each_network_computes_and_learns_as_it_does_alone(design: str, batch_norm: bool, count: int) -> None:
    plan, images = plan_of(design, batch_norm), torch.randn(8, 2, 12, 12).double()
    parameters = [{name: value.double() for name, value in one.items()} for one in several(plan, count)]
    stack = Stack(plan, parameters)
    together = stack(images)
    together.square().sum().backward()
    for place, own in enumerate(parameters):
        network = Network(plan, own, (-1.0, 1.0)).double().train()
        alone = forward(plan, dict(network.slots), images, network)
        torch.testing.assert_close(together[:, place], alone)
        alone.square().sum().backward()
        for name, value in network.slots.items():
            torch.testing.assert_close(stack.slots[name].grad.chunk(count)[place], value.grad)
        handed_over = stack.into(Network(plan, own, (-1.0, 1.0)).double(), place)
        with torch.no_grad():
            torch.testing.assert_close(handed_over(images), network.eval()(images))


@DESIGNS
def test_one_that_diverged_leaves_the_others_alone(design: str) -> None:
    plan, images = plan_of(design), torch.randn(8, 2, 12, 12)
    good, parameters = several(plan), several(plan)
    parameters[1] = {name: torch.full_like(value, float("nan")) for name, value in parameters[1].items()}
    found = []
    for given in (good, parameters):
        stack = Stack(plan, given)
        logits = stack(images)
        logits.square().sum((0, 2)).sum().backward()
        kept = {name: value.grad.view(3, -1)[[0, 2]] for name, value in stack.slots.items()}
        found.append((logits[:, [0, 2]], kept))
    assert torch.equal(found[0][0], found[1][0])
    assert all(torch.equal(found[0][1][name], found[1][1][name]) for name in found[0][1])


def test_its_state_reads_back() -> None:
    plan, images = plan_of("regular_conv"), torch.randn(8, 2, 12, 12)
    first, second = Stack(plan, several(plan)), Stack(plan, several(plan)[::-1])
    first(images)
    second.load_state({name: value.clone() for name, value in first.state().items()})
    assert torch.equal(second(images), first(images))
    assert torch.equal(second.averages["stem/mean"], first.averages["stem/mean"])


def test_concatenations_cannot_be_stacked() -> None:
    builder = Builder(TASK, True, FP32)
    both = [builder.conv("a", 0, 4, 1), builder.conv("b", 0, 4, 1)]
    plan = builder.classifier(builder.concat("both", both))
    with pytest.raises(QnasError, match="Networks with concatenations cannot be stacked"):
        Stack(plan, several(plan))
