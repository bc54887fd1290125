"""Signals of untrained networks held against other code of the package and against plain autograd."""

from itertools import islice

import pytest
import torch
import torch.nn.functional as F

from qnas.data.images import DataSet
from qnas.scores.accuracy import predicted_accuracy
from qnas.studies.ghn_tables import quantized_score
from qnas.scores.predicted import embedding, predicted_score, predicted_signals, zero_cost
from qnas.ghn.config import GHNConfig
from qnas.ghn.model import GHN
from qnas.network.build import build_plan
from qnas.network.forward import FloatArithmetic, forward
from qnas.network.module import he_parameters
from qnas.network.plan import Plan
from qnas.quant.scheme import FP32, Bits
from qnas.sampling.generator import stream
from qnas.space.space import find_space

BITS = [FP32, Bits(4, 4), Bits(2, 2)]


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="module")
def ghn() -> GHN:
    torch.manual_seed(0)
    return GHN(GHNConfig(hidden=8, channels=8, kernel=7, decoder=(8, 8))).eval()


@pytest.fixture(params=BITS, ids=str)
def plan(request: pytest.FixtureRequest) -> Plan:
    return build_plan(next(stream(find_space("tiny"), 3, bits=request.param)), (1, 8, 8), 10)


def test_accuracy_drop_and_error_are_those_of_the_tables(ghn: GHN, plan: Plan, digits_data: DataSet) -> None:
    images = digits_data.validation.first(150)
    (parameters,) = ghn([plan], whole=False)
    found, known = predicted_signals(plan, parameters, images, generator()), quantized_score(plan, parameters, images)
    assert (found.top1, found.drop) == pytest.approx((known.top1, known.drop), abs=1e-4)
    assert found.qmse == pytest.approx(known.qmse, rel=1e-5)
    assert found.top1 == pytest.approx(predicted_accuracy(plan, parameters, images).top1, abs=1e-4)


def test_the_score_is_what_the_signals_begin_with(ghn: GHN, plan: Plan, digits_data: DataSet) -> None:
    images = digits_data.validation.first(150)
    (parameters,) = ghn([plan], whole=False)
    signals = predicted_signals(plan, parameters, images, generator())
    assert predicted_score(plan, parameters, images) == pytest.approx(signals[:3], rel=1e-5)


def test_loss_and_margin_follow_from_the_logits(ghn: GHN, digits_data: DataSet) -> None:
    plan = build_plan(next(stream(find_space("tiny"), 3)), (1, 8, 8), 10)
    images = digits_data.validation.first(64)
    (parameters,) = ghn([plan])
    found = predicted_signals(plan, parameters, images, generator())
    x, labels = images.batch(slice(None))
    with torch.no_grad():
        logits = forward(plan, parameters, x, FloatArithmetic()).double()
    odds = logits.softmax(1)
    margins = [
        (row[label] - max(value for place, value in enumerate(row) if place != label)).item()
        for row, label in zip(odds, labels, strict=True)
    ]
    assert found.loss == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)
    assert found.margin == pytest.approx(sum(margins) / len(margins), rel=1e-4)
    assert found.noisy_loss != found.loss
    assert found.noisy_loss == pytest.approx(found.loss, rel=0.2)


def test_the_same_seed_gives_the_same_signals(ghn: GHN, plan: Plan, digits_data: DataSet) -> None:
    (parameters,) = ghn([plan], whole=False)
    images = digits_data.validation.first(64)
    assert predicted_signals(plan, parameters, images, generator()) == predicted_signals(
        plan, parameters, images, generator()
    )


def test_embeddings_tell_networks_and_widths_apart(ghn: GHN) -> None:
    drawn = islice(stream(find_space("tiny"), 3), 5)
    plans = [build_plan(genotype.with_bits(bits), Task((1, 8, 8), 10)) for genotype in drawn for bits in BITS]
    with torch.no_grad():  # a new hypernetwork does not yet tell widths apart
        for table in ghn.widths:
            table.weight.normal_()
    found = torch.stack([embedding(ghn, plan) for plan in plans])
    assert found.shape == (15, 8)
    assert len({tuple(row) for row in found.tolist()}) == 15


def test_zero_cost_proxies_equal_their_definitions(plan: Plan, digits_data: DataSet) -> None:
    images, labels = digits_data.train.batch(slice(0, 64))
    norm, snip = zero_cost(plan, images, labels, generator())
    assert norm > 0
    assert snip > 0
    if plan.nodes[-1].bits.is_float:
        values = {name: value.requires_grad_() for name, value in he_parameters(plan, generator()).items()}
        F.cross_entropy(forward(plan, values, images, FloatArithmetic()), labels).backward()
        kept = [value for name, value in values.items() if name.endswith("/weight")]
        gradients = [value.grad for value in kept if value.grad is not None]
        assert norm == pytest.approx(torch.cat([grad.flatten() for grad in gradients]).norm().item(), rel=1e-4)
        products = [(grad * value).abs().sum().item() for grad, value in zip(gradients, kept, strict=True)]
        assert snip == pytest.approx(sum(products), rel=1e-4)
