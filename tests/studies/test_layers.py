"""Layers held against a plain forward pass with rounding in one node only, and against the package's evaluation."""

from dataclasses import replace
from typing import Any

import plain_forward
import pytest
import torch
import torch.nn.functional as F

from qnas.data.images import DataSet
from qnas.errors import QnasError
from qnas.network.build import build_plan
from qnas.network.handmade import HandMade
from qnas.network.initial import he_parameters
from qnas.network.module import Network
from qnas.network.plan import Plan
from qnas.quant.grid import Sharing
from qnas.quant.scheme import FP32, Bits
from qnas.scores.predicted import measure
from qnas.studies.layers import EVERYWHERE, SEEN, NetworkLayers, changes, study_layers
from qnas.studies.studied import trained, untrained
from qnas.training.qat import deployed_accuracy
from qnas.training.recipe import Recipe
from qnas.training.start import untrained as begun

NET = HandMade("resnet8", 4, Bits(4, 4))


@pytest.fixture(scope="module")
def plan(digits_data: DataSet) -> Plan:
    return build_plan(NET, digits_data.task)


def looked_at(plan: Plan, data: DataSet, weights: Sharing = "tensor", **how: Any) -> NetworkLayers:
    """A study of random parameters."""
    parameters = he_parameters(plan, torch.Generator().manual_seed(0))
    studied = untrained("net", "random", plan, parameters, weights)
    return study_layers(studied, data.validation.first(100), seen(data), "digits", **how)


def seen(data: DataSet) -> torch.Tensor:
    return data.train.batch(slice(0, SEEN))[0]


def rounded_at(plan: Plan, names: set[str]) -> Plan:
    """The plan with bits at some nodes and all others in float."""
    return replace(plan, nodes=tuple(n if n.name in names else n._replace(bits=FP32) for n in plan.nodes))


def test_every_rounding_node_has_a_row_from_the_image_on(plan: Plan, digits_data: DataSet) -> None:
    found = looked_at(plan, digits_data)
    assert [row.layer for row in found.rows] == [node.name for node in plan.nodes]
    assert [row.bits for row in found.rows[:3]] == ["a8", "w4a4", "w4a4"]
    assert found.rows[-1].bits == "w4"
    assert {row.kind for row in found.rows if row.weights} == {"conv", "linear"}
    assert [row.layer for row in found.rows if row.activations is None] == ["classifier"]


@torch.no_grad()
def test_errors_are_those_of_a_plain_second_implementation(plan: Plan, digits_data: DataSet) -> None:
    found, parameters = looked_at(plan, digits_data), he_parameters(plan, torch.Generator().manual_seed(0))
    x, labels = digits_data.validation.batch(slice(0, 100))
    batches = [x[:64], x[64:]]

    def logits(names: set[str]) -> torch.Tensor:
        some = rounded_at(plan, names)
        return torch.cat([plain_forward.forward(some, parameters, batch) for batch in batches])

    real, before = logits(set()), set()
    assert found.float_top1 == pytest.approx(100 * (real.argmax(1) == labels).double().mean().item(), abs=1e-4)
    for row in found.rows:
        before |= {row.layer}
        for effect, other in ((row.alone, logits({row.layer})), (row.sequence, logits(before))):
            assert effect.qmse == pytest.approx((other - real).square().mean().item(), rel=0.05, abs=1e-6), row.layer
            between = -(real.softmax(1) * other.log_softmax(1)).sum(1).mean().item()
            assert effect.qce == pytest.approx(between, rel=0.01), row.layer
            assert effect.drop == pytest.approx(found.float_top1 - effect.top1, abs=1e-4)
            if effect is row.alone:  # in a sequence a last bit decides how a value halfway rounds, and all after it
                assert effect.top1 == pytest.approx(100 * (other.argmax(1) == labels).double().mean().item(), abs=1.01)


@pytest.mark.parametrize("weights", ["tensor", "channel"])
def test_the_last_layer_of_the_sequence_is_the_network_as_it_is_scored(
    plan: Plan, digits_data: DataSet, weights: Sharing
) -> None:
    found, parameters = looked_at(plan, digits_data, weights), he_parameters(plan, torch.Generator().manual_seed(0))
    score = measure(plan, parameters, digits_data.validation.first(100), weights)
    assert found.quantized.top1 == score.top1
    assert found.quantized.drop == pytest.approx(score.drop, abs=1e-4)
    assert found.quantized.qmse == pytest.approx(score.qmse, rel=1e-5)
    assert found.quantized.qce == pytest.approx(score.qce, rel=1e-5)


def network_of(plan: Plan, data: DataSet) -> Network:
    """Calibrated and not trained, which is enough to have grids and averages of its own."""
    network = begun(plan, data, Recipe(steps=4, batch=64), 0).eval()
    network.frozen = True
    return network


def test_a_trained_network_ends_as_it_is_deployed(plan: Plan, digits_data: DataSet) -> None:
    network = network_of(plan, digits_data)
    found = study_layers(trained("net", network, plan, seen(digits_data)), digits_data.validation, seen(digits_data))
    assert found.origin == "trained"
    assert found.quantized.top1 == deployed_accuracy(network, digits_data.validation).top1
    assert found.weights == "channel"


@torch.no_grad()
def test_the_classifier_alone_is_rounded_on_its_own_trained_grid(plan: Plan, digits_data: DataSet) -> None:
    network = network_of(plan, digits_data)
    images = digits_data.validation.first(100)
    found = study_layers(trained("net", network, plan, seen(digits_data)), images, seen(digits_data))
    (x, labels), in_float = (
        images.batch(slice(0, 100)),
        Network(build_plan(NET.with_bits(FP32), digits_data.task), dict(network.slots), (0.0, 1.0)).eval(),
    )
    in_float.load_state_dict({k: v for k, v in network.state_dict().items() if k in in_float.state_dict()})
    real = in_float(x)
    weight, step = network.slots["classifier/weight"], network.log_weight_steps["classifier"].exp()[:, None]
    with torch.no_grad():
        in_float.slots["classifier/weight"].copy_((weight / step).round().clamp(-8, 7) * step)
    logits = in_float(x)
    last = found.rows[-1].alone
    assert last.qmse == pytest.approx(F.mse_loss(logits, real).item(), rel=1e-3)
    assert last.top1 == pytest.approx(100 * (logits.argmax(1) == labels).double().mean().item(), abs=1e-4)


def test_a_network_in_float_is_rounded_after_training(digits_data: DataSet) -> None:
    plans = [build_plan(NET.with_bits(bits), digits_data.task) for bits in (FP32, Bits(8, 8), Bits(2, 2))]
    network = network_of(plans[0], digits_data)
    wide, narrow = (
        study_layers(trained("net", network, one, seen(digits_data)), digits_data.validation, seen(digits_data))
        for one in plans[1:]
    )
    assert wide.origin == "post-training"
    assert wide.float_top1 == deployed_accuracy(network, digits_data.validation).top1
    assert 0 < wide.quantized.qmse < 0.01 * narrow.quantized.qmse
    with pytest.raises(QnasError, match="got net in float; give for example `bits='w4a4'`"):
        study_layers(trained("net", network, plans[0], seen(digits_data)), digits_data.validation, seen(digits_data))


def test_remedies_that_change_nothing_gain_nothing_and_eight_bits_bring_float_near(
    plan: Plan, digits_data: DataSet
) -> None:
    told: list[float] = []
    found = looked_at(plan, digits_data, remedies=True, report=lambda share, remark: told.append(share))
    assert told == sorted(told)
    assert told[-1] == 1
    assert {one.layer for one in found.remedies} == {*(row.layer for row in found.worst), EVERYWHERE}
    whole = {one.change: one for one in found.remedies if one.layer == EVERYWHERE}
    assert list(whole) == list(changes("tensor"))
    assert found.entropy < whole["8 bits"].qce < found.quantized.qce
    wide = looked_at(build_plan(NET.with_bits(Bits(8, 8)), digits_data.task), digits_data, remedies=True)
    assert [one.gain for one in wide.remedies if one.change == "8 bits"] == [0] * 4


def test_the_worst_are_those_whose_rounding_alone_costs_most(plan: Plan, digits_data: DataSet) -> None:
    found = looked_at(plan, digits_data)
    others = [row.alone.qce for row in found.rows if row not in found.worst and row.kind != "input"]
    assert len(found.worst) == 3
    assert min(row.alone.qce for row in found.worst) >= max(others)
    assert found.to_json()["worst"] == [row.layer for row in found.worst]
