"""The hypernetwork held against a decoder written out plainly, and what must hold for networks of every space."""

from collections.abc import Callable
from dataclasses import replace
from math import prod, sqrt

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from qnas.errors import QnasError
from qnas.ghn.config import GHNConfig
from qnas.ghn.model import GHN
from qnas.graph.encoding import encode
from qnas.network.arithmetic import arithmetic_for
from qnas.network.build import build_plan
from qnas.network.forward import forward
from qnas.network.handmade import HandMade
from qnas.network.plan import Plan, Slot
from qnas.quant.scheme import PAPER_BITS, Bits
from qnas.space.genotype import Genotype
from qnas.space.space import find_space, space_names
from qnas.task import Task

SPLITS = [(name, split) for name in space_names() for split in ("id", *find_space(name).overrides)]
SMALL = GHNConfig(hidden=16, channels=8, kernel=7, decoder=(12, 20))
SMALL_SYNCHRONOUS = GHNConfig(hidden=16, channels=8, kernel=7, decoder=(12, 20), sweep="synchronous")
Draw = Callable[..., list[Plan]]


def largest_weight(ghn: GHN, state: Tensor) -> Tensor:
    """The whole decoded tensor (channels, channels, kernel, kernel), one position of the kernel after another."""
    channels, kernel = ghn.config.channels, ghn.config.kernel
    maps = ghn.conv.spatial(state).relu().view(-1, kernel, kernel)
    result = state.new_empty(channels, channels, kernel, kernel)
    for row in range(kernel):
        for column in range(kernel):
            mixed = ghn.conv.mix(maps[:, row, column]).relu()
            result[:, :, row, column] = ghn.conv.expand(mixed).view(channels, channels)
    return result


def plainly_decoded(ghn: GHN, state: Tensor, slot: Slot) -> Tensor:
    """One parameter from its node's state, after GHN-2."""
    channels, classes = ghn.config.channels, ghn.config.classes
    if slot.kind == "weight":
        full = largest_weight(ghn, state)
        if len(slot.shape) == 2:
            columns = [ghn.classifier.weight(full[:, column, 0, 0].relu()) for column in range(channels)]
            full = torch.stack(columns, 1)[:, :, None, None]
        out, into, height, width = (*slot.shape, 1, 1)[:4]
        weight = state.new_empty(out, into, height, width)
        for i in range(out):
            for j in range(into):
                weight[i, j] = full[i % full.shape[0], j % channels, :height, :width]
        gain = 1 if into == 1 or height < width else 2
        return (weight * sqrt(gain / prod(slot.shape[1:]))).view(slot.shape)
    scales, shifts = ghn.vectors.layers(state).view(2, channels)
    if slot.name == "classifier/bias":
        shifts = ghn.classifier.bias(shifts.relu())
        assert slot.shape == (classes,)
    source = scales if slot.kind == "norm_weight" else shifts
    raw = torch.stack([source[i % len(source)] for i in range(slot.shape[0])])
    return 2 * torch.sigmoid(raw / 2) if slot.kind == "norm_weight" else torch.tanh(raw / 5)


@pytest.mark.parametrize("batch_norm", [True, False], ids=["batch norm", "bias"])
@torch.no_grad()
def test_parameters_equal_those_of_a_decoder_written_out(genotype: Genotype, batch_norm: bool) -> None:
    ghn = GHN(SMALL).double()
    changed = Genotype(7, 1, 12, 2, batch_norm, (), genotype.reduction)
    plan = build_plan(changed, Task((3, 8, 8), 10))
    graph = encode(plan)
    states = ghn.embed(graph)[graph.slot_index]
    predicted = ghn([plan])[0]
    assert max(slot.shape[0] for slot in plan.slots) > 2 * SMALL.channels
    for slot, state in zip(plan.slots, states, strict=True):
        torch.testing.assert_close(predicted[slot.name], plainly_decoded(ghn, state, slot), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("name", "split"), SPLITS)
@torch.no_grad()
def test_predicted_tensors_have_the_shapes_of_the_slots(name: str, split: str, draw: Draw) -> None:
    plans = draw(name, split, 2)
    for plan, predicted in zip(plans, GHN(GHNConfig())(plans), strict=True):
        assert {key: tuple(value.shape) for key, value in predicted.items()} == {s.name: s.shape for s in plan.slots}
        assert all(value.isfinite().all() for value in predicted.values())


@pytest.mark.parametrize("config", [SMALL, SMALL_SYNCHRONOUS], ids=["sequential", "synchronous"])
@torch.no_grad()
def test_predicting_a_batch_equals_predicting_one_by_one(config: GHNConfig, draw: Draw) -> None:
    ghn = GHN(config)
    plans = [*draw("tiny", "id", 3), *draw("tiny", "deep", 2), *draw("tiny", "bn_free", 1)]
    for plan, together in zip(plans, ghn(plans), strict=True):
        alone = ghn([plan])[0]
        assert together.keys() == alone.keys()
        for name, value in together.items():
            assert (value - alone[name]).abs().max() <= 1e-5 * alone[name].abs().max(), name


@torch.no_grad()
def test_parameters_repeat_with_the_decoders_period(draw: Draw) -> None:
    period = SMALL.channels
    for plan in draw("tiny", "id", 3):
        for value in GHN(SMALL)([plan])[0].values():
            if value.dim() == 4:
                assert torch.equal(value[period:], value[:-period])
                assert torch.equal(value[:, period:], value[:, : max(0, value.shape[1] - period)])


@torch.no_grad()
def test_batch_norm_scales_lie_in_0_to_2_and_vectors_in_plus_minus_1(draw: Draw) -> None:
    for plan in draw("tiny", "id", 4):
        predicted = GHN(SMALL)([plan])[0]
        for slot in plan.slots:
            value = predicted[slot.name]
            assert slot.kind != "norm_weight" or (value - 1).abs().max() < 1
            assert slot.kind not in ("norm_bias", "bias") or value.abs().max() < 1


@torch.no_grad()
def test_a_fresh_hypernetwork_predicts_the_same_at_every_width(draw: Draw) -> None:
    ghn = GHN(SMALL)
    first, *others = [ghn(draw("tiny", "id", 1, bits=bits))[0] for bits in (*PAPER_BITS, Bits(3, 7))]
    assert all(torch.equal(first[name], other[name]) for other in others for name in first)


@pytest.mark.parametrize(("table", "other"), [(0, Bits(2, 4)), (1, Bits(4, 2))], ids=["weights", "activations"])
@torch.no_grad()
def test_once_trained_each_width_counts(draw: Draw, table: int, other: Bits) -> None:
    ghn = GHN(SMALL)
    torch.nn.init.normal_(ghn.widths[table].get_parameter("weight"))
    first, second = (ghn(draw("tiny", "id", 1, bits=bits))[0] for bits in (Bits(4, 4), other))
    assert not torch.equal(first["stem/weight"], second["stem/weight"])


@torch.no_grad()
def test_a_hypernetwork_that_may_learn_places_predicts_what_it_did(draw: Draw) -> None:
    ghn, plans = GHN(SMALL), draw("tiny", "id", 2)
    first = ghn(plans)
    assert ghn.knowing_places().config.knows_places
    assert all(torch.equal(a[name], b[name]) for a, b in zip(first, ghn(plans), strict=True) for name in a)


def test_a_hypernetwork_with_the_features_of_ghn_2_keeps_to_them() -> None:
    assert not GHN(replace(SMALL, features="ghn-2")).knowing_places().config.knows_places


@torch.no_grad()
def test_places_count_once_trained(draw: Draw) -> None:
    ghn, plans = GHN(replace(SMALL, knows_places=True)), draw("tiny", "id", 1)
    first = ghn(plans)[0]
    for table in ghn.places:
        torch.nn.init.normal_(table.get_parameter("weight"))
        second = ghn(plans)[0]
        assert not torch.equal(first["stem/weight"], second["stem/weight"])
        first = second


@pytest.mark.parametrize("config", [SMALL, SMALL_SYNCHRONOUS], ids=["sequential", "synchronous"])
def test_a_quantized_loss_has_a_gradient_for_every_parameter_of_the_hypernetwork(
    config: GHNConfig, genotype: Genotype
) -> None:
    ghn = GHN(config)
    plan = build_plan(genotype.with_bits(Bits(4, 4)), Task((3, 8, 8), 10))
    logits = forward(plan, ghn([plan])[0], torch.randn(16, 3, 8, 8), arithmetic_for(plan))
    F.cross_entropy(logits, torch.arange(16) % 10).backward()
    gradients = {name: parameter.grad for name, parameter in ghn.named_parameters()}
    assert [name for name, gradient in gradients.items() if gradient is None or not gradient.any()] == []
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients.values())


def test_behind_its_embeddings_ghn_2_has_as_many_parameters_as_its_authors_count() -> None:
    ghn = GHN(GHNConfig())
    tables = (ghn.primitive, *ghn.channels, *ghn.kernels, *ghn.widths)
    count = sum(p.numel() for p in ghn.parameters()) - sum(p.numel() for table in tables for p in table.parameters())
    theirs = 15 * 32 + (392 + 9) * 8  # of primitives, and of channels and kernels, each with a word for none
    assert count == 1_620_764 - theirs


def test_another_number_of_classes_is_refused_with_the_way_out(draw: Draw) -> None:
    ghn = GHN(GHNConfig(classes=7, hidden=8, channels=4, kernel=3, decoder=(4, 4)))
    with pytest.raises(QnasError) as error:
        ghn(draw("tiny", "id", 1))
    assert str(error.value) == (
        "This hypernetwork was trained for 7 classes, the data set has 10; train one for it with "
        "`qnas.fit_ghn(data='NAME')`."
    )


def test_a_kernel_larger_than_the_decoders_is_refused(genotype: Genotype) -> None:
    plan = build_plan(replace(genotype, stem_kernel=9), Task((1, 8, 8), 10))
    with pytest.raises(QnasError):
        GHN(SMALL)([plan])


def test_hidden_linear_layers_are_predicted_whole_and_as_first_tiles() -> None:
    torch.manual_seed(0)
    ghn, task = GHN(SMALL).eval(), Task((1, 8, 8), 10)
    plan = build_plan(HandMade("regular_conv", 6), task)
    with torch.no_grad():
        (whole,), (tiles,) = ghn([plan]), ghn([plan], whole=False)
        images, arithmetic = torch.randn(4, 1, 8, 8), arithmetic_for(plan)
        assert all(whole[slot.name].shape == slot.shape for slot in plan.slots)
        assert tiles["hidden0/weight"].shape == (8, 8)
        expected, found = (forward(plan, one, images, arithmetic) for one in (whole, tiles))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
