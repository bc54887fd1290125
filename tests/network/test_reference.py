"""Plans of every shipped space held against networks of plain torch.nn modules: outputs, parameters and MACs."""

from collections.abc import Callable
from math import prod, sqrt

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from qnas.network.arithmetic import FloatArithmetic
from qnas.network.costs import macs, parameters
from qnas.network.forward import forward
from qnas.network.plan import Plan
from qnas.quant.fold import EPSILON
from qnas.space.space import find_space, space_names

SPLITS = [(name, split) for name in space_names() for split in ("id", *find_space(name).overrides)]
BATCH = 2
Draw = Callable[..., list[Plan]]


class Reference(nn.Module):
    """The network that a plan describes, one module a node, its batch norms in training mode."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.nodes = plan.nodes
        self.layers = nn.ModuleDict()
        for node in plan.nodes:
            channels = plan.nodes[node.inputs[0]].shape[0] if node.inputs else 0
            middle = node.kernel // 2
            if node.kind == "conv":
                shape = (channels, node.shape[0], node.kernel, node.stride, middle * node.dilation)
                conv = nn.Conv2d(*shape, dilation=node.dilation, groups=node.groups, bias=not node.norm)
                norm = nn.BatchNorm2d(node.shape[0], EPSILON, track_running_stats=False) if node.norm else nn.Identity()
                self.layers[node.name] = nn.Sequential(conv, norm, nn.ReLU() if node.relu else nn.Identity())
            elif node.kind == "linear":
                self.layers[node.name] = nn.Sequential(nn.Flatten(), nn.Linear(channels, node.shape[0]))
            elif node.kind == "max_pool":
                self.layers[node.name] = nn.MaxPool2d(node.kernel, node.stride, middle)
            elif node.kind == "avg_pool":
                self.layers[node.name] = nn.AvgPool2d(node.kernel, node.stride, middle, count_include_pad=False)
            elif node.kind == "global_avg":
                self.layers[node.name] = nn.AdaptiveAvgPool2d(1)

    def forward(self, images: Tensor) -> Tensor:
        outputs = [images]
        for node in self.nodes[1:]:
            inputs = [outputs[source] for source in node.inputs]
            if node.kind == "sum":
                outputs.append(inputs[0] + inputs[1])
            elif node.kind == "concat":
                outputs.append(torch.cat(inputs, 1))
            else:
                outputs.append(self.layers[node.name](inputs[0]))
        return outputs[-1]

    def owners(self) -> dict[str, tuple[nn.Module, str]]:
        """The module and the attribute of every parameter, by the name that a plan's slot gives it."""
        found: dict[str, tuple[nn.Module, str]] = {}
        for name, layer in self.layers.items():
            for module in layer.modules():
                prefix = "norm_" if isinstance(module, nn.BatchNorm2d) else ""
                for key, _ in module.named_parameters(recurse=False):
                    found[f"{name}/{prefix}{key}"] = (module, key)
        return found


@pytest.fixture(scope="module")
def noise() -> Tensor:
    return torch.randn(12_000_000, generator=torch.Generator().manual_seed(0))


def random_parameters(plan: Plan, noise: Tensor) -> dict[str, Tensor]:
    values: dict[str, Tensor] = {}
    for place, slot in enumerate(plan.slots):
        value = noise[1000 * place :][: prod(slot.shape)].view(slot.shape)
        fan_in = prod(slot.shape[1:])
        values[slot.name] = value * sqrt(2 / fan_in) if slot.kind == "weight" else 1 + 0.1 * value
    return values


def loaded(plan: Plan, values: dict[str, Tensor]) -> Reference:
    """The reference with these parameters, after a check that it has exactly the plan's slots."""
    with torch.device("meta"):
        reference = Reference(plan)
    owners = reference.owners()
    shapes = {name: tuple(getattr(module, key).shape) for name, (module, key) in owners.items()}
    assert shapes == {slot.name: slot.shape for slot in plan.slots}
    for name, (module, key) in owners.items():
        setattr(module, key, nn.Parameter(values[name]))
    return reference


@torch.no_grad()
def difference(plan: Plan, values: dict[str, Tensor], images: Tensor, expected: Tensor) -> float:
    """How far the plan's logits are from the expected ones, as a share of the largest of these."""
    found = forward(plan, values, images, FloatArithmetic())
    assert found.shape == expected.shape
    return ((found - expected).abs().max() / expected.abs().max()).item()


@torch.no_grad()
def check(plan: Plan, noise: Tensor) -> None:
    """Compare costs and outputs; where batch norms over few pixels have magnified rounding, float64 decides."""
    values, images = random_parameters(plan, noise), torch.randn(BATCH, *plan.nodes[0].shape)
    reference = loaded(plan, values)
    with FlopCounterMode(display=False) as counter:
        expected = reference(images)
    assert parameters(plan) == sum(parameter.numel() for parameter in reference.parameters())
    assert macs(plan) == counter.get_total_flops() / 2 / BATCH
    if difference(plan, values, images, expected) > 1e-4:
        exact, images = {name: value.double() for name, value in values.items()}, images.double()
        assert difference(plan, exact, images, reference.double()(images)) < 1e-8


@pytest.mark.parametrize(("name", "split"), SPLITS)
def test_sampled_networks_equal_their_references(name: str, split: str, draw: Draw, noise: Tensor) -> None:
    for plan in draw(name, split, 10, side=8) + draw(name, split, 20, side=7)[10:]:
        check(plan, noise)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "split"), SPLITS)
def test_many_networks_equal_their_references(name: str, split: str, draw: Draw, noise: Tensor) -> None:
    for plan in draw(name, split, 60, side=8):
        check(plan, noise)
