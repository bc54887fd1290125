"""Plain training held against torch's own loop and schedule, and continued bit for bit."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from qnas.data.batches import training_batches
from qnas.data.images import DataSet
from qnas.errors import QnasError
from qnas.network.build import build_plan
from qnas.network.forward import forward
from qnas.network.handmade import HandMade
from qnas.network.initializers import INITIALIZERS, drawn_parameters
from qnas.network.module import Network
from qnas.network.plan import Plan
from qnas.network.stack import Stack
from qnas.training.plain import PlainTraining, Protocol

SHORT = Protocol(epochs=0.5, batch=64, zoom=0.0, turn=0.0, flip=False)


def plan_of(data: DataSet, batch_norm: bool = True) -> Plan:
    return build_plan(HandMade("regular_conv", 4, batch_norm=batch_norm), data.task)


def stack_of(plan: Plan, *names: str) -> Stack:
    rows = [INITIALIZERS[name] for name in names]
    return Stack(plan, [drawn_parameters(plan, row, torch.Generator().manual_seed(0)) for row in rows])


def test_the_rate_falls_where_the_paper_says() -> None:
    protocol, parameter = Protocol(), torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([parameter], protocol.rate)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [75, 120, 170], 0.1)
    for epoch in range(200):
        assert protocol.rate_at(epoch / 200) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert (protocol.momentum, protocol.batch, protocol.epochs, protocol.dropout) == (0.9, 128, 200, 0.5)


def test_a_run_is_torch_s_own_loop(digits_data: DataSet) -> None:
    plan, protocol = plan_of(digits_data), replace(SHORT, dropout=0.0)
    training = PlainTraining(stack_of(plan, "he_normal"), digits_data, protocol, seed=5)
    network = Network(plan, drawn_parameters(plan, INITIALIZERS["he_normal"], torch.Generator().manual_seed(0)), (0, 1))
    optimizer = torch.optim.SGD(network.slots.parameters(), 0.01, momentum=0.9)
    batches = training_batches(digits_data, 64, 5, protocol.augmentation(digits_data))
    for step in range(4):
        images, labels = next(batches)
        optimizer.param_groups[0]["lr"] = protocol.rate_at(step / training.steps)
        loss = F.cross_entropy(forward(plan, dict(network.train().slots), images, network), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert training.step().item() == pytest.approx(loss.item(), rel=1e-4)
    for name, value in network.slots.items():
        torch.testing.assert_close(training.stack.slots[name], value, rtol=1e-3, atol=1e-4)


def test_a_stopped_run_goes_on_bit_for_bit(digits_data: DataSet) -> None:
    plan = plan_of(digits_data)
    whole, first, second = (
        PlainTraining(stack_of(plan, "he_normal", "uniform_small"), digits_data, SHORT, seed=1) for _ in range(3)
    )
    losses = [whole.step() for _ in range(6)]
    for _ in range(3):
        first.step()
    second.load_state({name: value.clone() for name, value in first.state().items()})
    assert all(torch.equal(second.step(), loss) for loss in losses[3:])
    assert all(torch.equal(value, second.state()[name]) for name, value in whole.state().items())


def test_one_that_diverges_is_noted_and_the_others_go_on(digits_data: DataSet) -> None:
    plan = plan_of(digits_data, batch_norm=False)
    alone = PlainTraining(stack_of(plan, "glorot_uniform", "glorot_uniform"), digits_data, SHORT, seed=1)
    beside = PlainTraining(stack_of(plan, "glorot_uniform", "glorot_uniform"), digits_data, SHORT, seed=1)
    with torch.no_grad():
        beside.stack.slots["classifier/weight"][:10] *= 1e30
    for _ in range(4):
        losses = alone.step(), beside.step()
        assert torch.equal(losses[0][1], losses[1][1])
    assert alone.diverged == [False, False]
    assert beside.diverged == [True, False]


def test_dropout_takes_its_share_of_hidden_values_alike_in_all_networks(digits_data: DataSet) -> None:
    plan = plan_of(digits_data)
    kept, lost = (
        PlainTraining(stack_of(plan, "he_normal", "he_normal"), digits_data, replace(SHORT, dropout=share), seed=1)
        for share in (0.0, 0.5)
    )
    before, after = kept.step(), lost.step()
    assert after[0] == after[1]
    assert after[0] != before[0]
    grown = lost.stack.slots["classifier/weight"].chunk(2)[0]
    assert torch.equal(grown, lost.stack.slots["classifier/weight"].chunk(2)[1])


def test_lengths_are_passes_over_the_images(digits_data: DataSet) -> None:
    per_pass = len(digits_data.train) // 64
    assert SHORT.steps(len(digits_data.train)) == round(0.5 * per_pass)
    assert Protocol(epochs=3, batch=64).steps(len(digits_data.train)) == 3 * per_pass
    with pytest.raises(QnasError, match="`epochs` is above 0, got 0; leave it out for the preset's"):
        Protocol(epochs=0)
