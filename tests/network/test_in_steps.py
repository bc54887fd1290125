"""Training in whole numbers held against the deployed network, and its gradients against autograd written out."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from qnas.network.grids import Grids
from qnas.network.in_steps import Steps, weighted_sum
from qnas.network.initial import he_parameters
from qnas.network.module import Network
from qnas.network.plan import Builder, Plan
from qnas.quant.choices import GRIDS as CHOICES
from qnas.quant.fold import EPSILON
from qnas.quant.learned import learned_quant
from qnas.quant.scheme import Bits
from qnas.task import Task

RANGE = (-3.0, 3.0)
LEARNED = Grids()
GRIDS = pytest.mark.parametrize(
    "weights", [*(Grids(name) for name in CHOICES), Grids(learned=False), Grids("power-of-two", learned=False)], ids=str
)
NORMS = pytest.mark.parametrize("batch_norm", [True, False], ids=["batch norm", "bias"])
Draw = Callable[..., list[Plan]]


def some_images(plan: Plan, count: int = 12) -> Tensor:
    return torch.randn(count, *plan.nodes[0].shape, generator=torch.Generator().manual_seed(1))


def calibrated(plan: Plan, weights: Grids = LEARNED) -> Network:
    network = Network(plan, he_parameters(plan, torch.Generator().manual_seed(0)), RANGE, weights)
    network.calibrate([some_images(plan)])
    return network


def residual_plan(bits: Bits) -> Plan:
    """A residual block with a ReLU after its sum, a second sum that is only concatenated, and a max pool."""
    builder = Builder(Task((3, 8, 8), 4), True, bits)
    stem = builder.conv("stem", 0, 6, 3)
    inner = builder.conv("inner", builder.pool("max", "max_pool", stem, 3, 1), 6, 3, relu=False)
    total = builder.sum("total", inner, stem, relu=True)
    other = builder.sum("other", stem, builder.conv("side", total, 6, 1))
    return builder.classifier(builder.concat("both", [total, other]))


@GRIDS
@NORMS
@pytest.mark.parametrize("bits", [Bits(8, 8), Bits(4, 4), Bits(2, 2)], ids=str)
@torch.no_grad()
def test_frozen_it_computes_what_is_deployed(bits: Bits, batch_norm: bool, weights: Grids, draw: Draw) -> None:
    for plan in draw("tiny", "id" if batch_norm else "bn_free", 3, bits=bits):
        network, images = calibrated(plan, weights), some_images(plan)
        network.frozen = True
        trained, deployed = network.train()(images), network.eval()(images)
        apart = (trained - deployed).norm() / (deployed - deployed.mean(0)).norm()
        assert apart < 0.1  # a value at a tie rounds either way, and moves what follows


@torch.no_grad()
def test_a_residual_block_computes_what_is_deployed() -> None:
    plan = residual_plan(Bits(8, 8))
    network, images = calibrated(plan), some_images(plan)
    network.frozen = True
    trained, deployed = network.train()(images), network.eval()(images)
    assert (trained - deployed).norm() < 0.02 * (deployed - deployed.mean(0)).norm()


@torch.no_grad()
def test_mixed_bits_compute_what_is_deployed() -> None:
    plan = residual_plan(Bits(8, 8))
    narrow = {"inner": Bits(2, 4), "side": Bits(4, 8)}
    nodes = tuple(node._replace(bits=narrow.get(node.name, node.bits)) for node in plan.nodes)
    network, images = calibrated(Plan(nodes, plan.slots, plan.classes)), some_images(plan)
    network.frozen = True
    trained, deployed = network.train()(images), network.eval()(images)
    assert (trained - deployed).norm() < 0.05 * (deployed - deployed.mean(0)).norm()


def test_bfloat16_moves_logits_and_gradients_little_and_what_is_deployed_not_at_all(draw: Draw) -> None:
    drawn = [(plan, 0.9) for plan in draw("cifar", "id", 3, bits=Bits(8, 8))]  # the deeper, the further apart
    for plan, least in [(residual_plan(Bits(8, 8)), 0.999), (residual_plan(Bits(4, 4)), 0.99), *drawn]:
        network, images = calibrated(plan), some_images(plan, 64)
        deployed, labels = network.eval()(images), torch.arange(64) % plan.classes
        found: list[list[Tensor]] = []
        for network.precision in (None, torch.bfloat16):
            logits = network.train()(images)
            gradients = torch.autograd.grad(F.cross_entropy(logits, labels), list(network.slots.values()))
            found.append([logits.flatten(), torch.cat([gradient.flatten() for gradient in gradients])])
        for ours, theirs in zip(*found, strict=True):
            assert not torch.equal(ours, theirs)
            assert F.cosine_similarity(ours, theirs, 0) > least
        network.load_state_dict(calibrated(plan).state_dict())
        assert torch.equal(network.eval()(images), deployed)


def written_out(network: Network, images: Tensor) -> Tensor:
    """One normalised convolution and the classifier as autograd does them, real values all along."""
    first, pool, last = (node for node in network.plan.nodes[1:])
    x = network.activation(network.plan.nodes[0], images)

    def weight_of(name: str, bits: int) -> Tensor:
        weight = network.slots[f"{name}/weight"]
        step = network.log_weight_steps[name].exp().view(-1, *[1] * (weight.dim() - 1))
        scaled = weight / step
        half = 2 ** (bits - 1)
        share = (weight[0].numel() * (half - 1)) ** -0.5
        slow = (step - step * share).detach() + step * share
        scaled = (weight / slow).clamp(-half, half - 1)
        return ((scaled.round() - scaled).detach() + scaled) * slow

    y = F.conv2d(x, weight_of("stem", first.bits.weights), padding=1)
    norm = network.slots["stem/norm_weight"].abs(), network.slots["stem/norm_bias"]
    y = F.batch_norm(y, None, None, *norm, training=True, eps=EPSILON)
    y = learned_quant(y, network.step(first), first.bits.activations)
    y = learned_quant(y.mean((2, 3), keepdim=True), network.step(pool), pool.bits.activations).flatten(1)
    return F.linear(y, weight_of("classifier", last.bits.weights), network.slots["classifier/bias"])


@pytest.mark.parametrize("bits", [Bits(8, 8), Bits(4, 4), Bits(2, 2)], ids=str)
def test_gradients_equal_those_written_out_in_real_values(bits: Bits) -> None:
    builder = Builder(Task((3, 8, 8), 4), True, bits)
    plan = builder.classifier(builder.conv("stem", 0, 6, 3))
    network, images = calibrated(plan).double(), some_images(plan).double()
    labels = torch.arange(len(images)) % 4
    with torch.no_grad():
        for log_step in network.log_weight_steps.values():
            log_step.sub_(0.01)  # the largest weights lie beyond the ends, no longer at them
    parameters = dict(network.named_parameters())
    found, expected = (
        torch.autograd.grad(F.cross_entropy(logits, labels), list(parameters.values()))
        for logits in (network.train()(images), written_out(network, images))
    )
    for name, ours, theirs in zip(parameters, found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-9, msg=name)


def test_a_weighted_sum_has_the_gradients_of_autograd() -> None:
    left, right = (torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True) for _ in range(2))
    a, b, step = (torch.rand((), dtype=torch.float64, requires_grad=True) for _ in range(3))
    values, weight = (left, right, a, b, step), torch.randn(2, 3, 4, 5, dtype=torch.float64)
    ours = (weighted_sum(Steps(left, a), Steps(right, b), step) * weight).sum()
    theirs = ((left * a + right * b) / step * weight).sum()
    assert ours.item() == pytest.approx(theirs.item())
    pairs = zip(torch.autograd.grad(ours, values), torch.autograd.grad(theirs, values), strict=True)
    for found, expected in pairs:
        torch.testing.assert_close(found, expected)
