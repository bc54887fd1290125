"""Zero-cost proxies held against plain autograd, brute force and closed forms."""

from itertools import product
from math import log

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import entropy
from sklearn.decomposition import PCA

from qnas.data.images import DataSet
from qnas.network.arithmetic import FloatArithmetic
from qnas.network.build import build_plan
from qnas.network.forward import forward
from qnas.network.initial import he_parameters
from qnas.network.plan import Builder, Plan
from qnas.quant.fold import EPSILON
from qnas.quant.scheme import FP32, Bits
from qnas.sampling.generator import stream
from qnas.scores.zero_cost import (
    ZERO_COST,
    _correlation,
    expressivity,
    gradient_norm,
    nwot,
    progressivity,
    snip,
    swap,
    synflow,
    trainability,
    zico,
)
from qnas.space.cells import Branch
from qnas.space.genotype import Genotype
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


def values_of(plan: Plan, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """What every layer gives in float, by name, from layers of torch's own; batch norms have the batch's statistics."""
    values: list[torch.Tensor] = []
    parameters = start(plan)
    for node in plan.nodes:
        inputs = [values[source] for source in node.inputs]
        if node.kind == "input":
            value = images
        elif node.kind == "conv":
            weight = parameters[f"{node.name}/weight"]
            value = F.conv2d(
                F.pad(inputs[0], [node.padding] * 4), weight, None, node.stride, 0, node.dilation, node.groups
            )
            value = F.batch_norm(value, None, None, training=True, eps=EPSILON)
        elif node.kind == "linear":
            value = F.linear(inputs[0].flatten(1), parameters[f"{node.name}/weight"])
        else:
            value = inputs[0].mean((2, 3), keepdim=True)
        values.append(value.relu() if node.relu else value)
    return {node.name: value for node, value in zip(plan.nodes, values, strict=True)}


@pytest.fixture(name="chain")
def _chain() -> Plan:
    """A stem, two convolutions, the second on half the places, and a classifier."""
    genotype = Genotype(3, 1, 4, 2, True, (), ((Branch(1, "conv", 3),),), projected=False)
    return build_plan(genotype.with_bits(FP32), Task((1, 8, 8), 10))


def test_the_synaptic_flow_of_a_chain_is_its_output_once_a_layer(chain: Plan) -> None:
    """Euler's theorem: the output is of degree one in each layer's weights."""
    weights = {name: value.double().abs() for name, value in start(chain).items()}
    layers = [node for node in chain.nodes if f"{node.name}/weight" in weights]
    value = torch.ones(1, 1, 8, 8, dtype=torch.float64)
    for node in layers[:-1]:
        value = F.conv2d(F.pad(value, [node.padding] * 4), weights[f"{node.name}/weight"], None, node.stride)
    output = F.linear(value.mean((2, 3)), weights["classifier/weight"]).sum().item()
    images = torch.randn(5, 1, 8, 8)
    assert synflow(chain, start(chain), images, torch.zeros(5).long()) == pytest.approx(log(len(layers) * output))


def test_codes_of_relus_are_compared_image_by_image_and_unit_by_unit(chain: Plan, digits_data: DataSet) -> None:
    images, labels = digits_data.train.batch(slice(0, 12))
    values = values_of(chain, images)
    codes = torch.cat([(values[node.name] > 0).flatten(1) for node in chain.nodes if node.relu], 1)
    kernel = np.array([[(one == other).sum().item() for other in codes] for one in codes], float)
    assert nwot(chain, start(chain), images, labels) == pytest.approx(np.linalg.slogdet(kernel).logabsdet, rel=1e-3)
    patterns = {tuple(unit.tolist()) for unit in codes.T}
    assert swap(chain, start(chain), images, labels) == pytest.approx(len(patterns), rel=0.01)
    alike = images[:1].repeat(4, 1, 1, 1)
    assert nwot(chain, start(chain), alike, labels[:4]) == -1e6  # a kernel of rank one


def test_zico_is_the_ratio_of_mean_and_deviation_layer_by_layer(chain: Plan, digits_data: DataSet) -> None:
    images, labels = digits_data.train.batch(slice(0, 32))
    gradients = []
    for part in (slice(0, 16), slice(16, 32)):
        leaves = {name: value.requires_grad_() for name, value in start(chain).items()}
        F.cross_entropy(forward(chain, leaves, images[part], FloatArithmetic()), labels[part]).backward()
        found = [value.grad for name, value in leaves.items() if name.endswith("/weight")]
        gradients.append([grad.abs().numpy() for grad in found if grad is not None])
    expected = 0.0
    for first, second in zip(*gradients, strict=True):
        mean, deviation = (first + second) / 2, np.abs(first - second) / 2
        expected += log((mean[deviation > 0] / deviation[deviation > 0]).sum())
    assert zico(chain, start(chain), images, labels) == pytest.approx(expected, rel=1e-3)


def test_expressivity_and_its_growth_are_entropies_of_principal_components(chain: Plan, digits_data: DataSet) -> None:
    images, labels = digits_data.train.batch(slice(0, 64))
    values, entropies = values_of(chain, images), []
    for node in chain.nodes:
        if node.kind == "conv":
            shares = PCA().fit(values[node.name].movedim(1, -1).flatten(0, 2).numpy()).explained_variance_ratio_
            entropies.append(entropy(shares))
    assert len(entropies) == 3
    assert expressivity(chain, start(chain), images, labels) == pytest.approx(sum(entropies), rel=1e-3)
    growth = np.diff(entropies).min()
    assert progressivity(chain, start(chain), images, labels) == pytest.approx(growth, rel=1e-2)


def test_gradients_that_are_handed_on_are_correlated_place_by_place() -> None:
    rng = torch.Generator().manual_seed(0)
    handed, signs = torch.randn(3, 2, 7, 7, generator=rng), torch.randn(3, 5, 4, 4, generator=rng)
    wide = F.pad(handed, (0, 1, 0, 1))
    expected = torch.zeros(8, 5)
    for channel, row, column in product(range(2), range(2), range(2)):
        near = wide[:, channel, row::2, column::2]
        expected[4 * channel + 2 * row + column] = (near[:, None] * signs).sum((0, 2, 3)) / 48
    assert torch.allclose(_correlation(handed, signs), expected, atol=1e-6)


def test_what_hands_gradients_on_as_they_are_is_perfectly_trainable(plan: Plan, digits_data: DataSet) -> None:
    images, labels = digits_data.train.batch(slice(0, 64))
    assert -100 < trainability(plan, start(plan), images, labels) <= 1e-5  # 2 - x - 1/x is never above 0
    signs = torch.randint(2, (400, 3, 8, 8), generator=torch.Generator().manual_seed(0)) * 2.0 - 1
    norm = torch.linalg.matrix_norm(_correlation(signs, signs), 2).item()
    assert 2 - norm - 1 / norm == pytest.approx(0, abs=1e-3)


def test_a_network_of_one_block_has_no_growth_and_nothing_to_hand_on(digits_data: DataSet) -> None:
    builder = Builder(digits_data.task, True, FP32)
    plan = builder.classifier(builder.conv("stem", 0, 4, 3))
    images, labels = digits_data.train.batch(slice(0, 16))
    assert [proxy(plan, start(plan), images, labels) for proxy in (progressivity, trainability)] == [0, 0]
