"""Zero-cost proxies held against plain autograd."""

import pytest
import torch
import torch.nn.functional as F

from qnas.data.images import DataSet
from qnas.network.arithmetic import FloatArithmetic
from qnas.network.build import build_plan
from qnas.network.forward import forward
from qnas.network.initial import he_parameters
from qnas.network.plan import Plan
from qnas.quant.scheme import FP32, Bits
from qnas.sampling.generator import stream
from qnas.scores.zero_cost import ZERO_COST, gradient_norm, snip
from qnas.space.space import find_space
from qnas.task import Task


@pytest.fixture(params=[FP32, Bits(4, 4), Bits(2, 2)], ids=str)
def plan(request: pytest.FixtureRequest) -> Plan:
    return build_plan(next(stream(find_space("tiny"), 3, bits=request.param)), Task((1, 8, 8), 10))


def start(plan: Plan) -> dict[str, torch.Tensor]:
    return he_parameters(plan, torch.Generator().manual_seed(0))


def test_zero_cost_proxies_equal_their_definitions(plan: Plan, digits_data: DataSet) -> None:
    images, labels = digits_data.train.batch(slice(0, 64))
    norm, connection = (proxy(plan, start(plan), images, labels) for proxy in (gradient_norm, snip))
    assert norm > 0
    assert connection > 0
    if plan.nodes[-1].bits.is_float:
        values = {name: value.requires_grad_() for name, value in start(plan).items()}
        F.cross_entropy(forward(plan, values, images, FloatArithmetic()), labels).backward()
        kept = [value for name, value in values.items() if name.endswith("/weight")]
        gradients = [value.grad for value in kept if value.grad is not None]
        assert norm == pytest.approx(torch.cat([grad.flatten() for grad in gradients]).norm().item(), rel=1e-4)
        products = [(grad * value).abs().sum().item() for grad, value in zip(gradients, kept, strict=True)]
        assert connection == pytest.approx(sum(products), rel=1e-4)


def test_proxies_leave_the_parameters_as_they_are(plan: Plan, digits_data: DataSet) -> None:
    images, labels = digits_data.train.batch(slice(0, 16))
    parameters = start(plan)
    for proxy in ZERO_COST.values():
        proxy(plan, parameters, images, labels)
    for name, value in start(plan).items():
        assert torch.equal(parameters[name], value)
        assert not parameters[name].requires_grad
        assert parameters[name].grad is None


def test_the_proxies_are_known_by_name() -> None:
    assert {"gradient_norm": gradient_norm, "snip": snip} == ZERO_COST
