"""Parameters to begin with: random ones held against the formulas of He, and noise against its deviation."""

from dataclasses import replace

import pytest
import torch

from qnas.network.arithmetic import arithmetic_for
from qnas.network.build import build_plan
from qnas.network.forward import forward
from qnas.network.initial import as_large_as_random, he_parameters, with_noise
from qnas.network.plan import Builder, Plan
from qnas.quant.scheme import FP32, Bits
from qnas.space.genotype import Genotype
from qnas.task import Task


def plan_of(genotype: Genotype, batch_norm: bool = True) -> Plan:
    return build_plan(replace(genotype, batch_norm=batch_norm), Task((3, 8, 8), 4))


@pytest.mark.parametrize(("name", "fan_in"), [("a", 3 * 25), ("b", 49), ("classifier", 256)])
def test_random_weights_have_the_variance_of_he(name: str, fan_in: int) -> None:
    builder = Builder(Task((3, 8, 8), 100), True, FP32)
    a = builder.conv("a", 0, 256, 5)
    b = builder.conv("b", a, 256, 7, groups=256)
    values = he_parameters(builder.classifier(b), torch.Generator().manual_seed(0))
    assert values[f"{name}/weight"].var().item() == pytest.approx(2 / fan_in, rel=0.06)
    assert abs(values[f"{name}/weight"].mean().item()) < 0.03 * (2 / fan_in) ** 0.5


def test_random_norms_are_one_and_zero_and_biases_zero(genotype: Genotype) -> None:
    for plan in (plan_of(genotype), plan_of(genotype, batch_norm=False)):
        values = he_parameters(plan, torch.Generator().manual_seed(0))
        for slot in plan.slots:
            if slot.kind != "weight":
                assert torch.equal(values[slot.name], torch.full(slot.shape, float(slot.kind == "norm_weight")))


def test_random_parameters_follow_their_generator(genotype: Genotype) -> None:
    plan = plan_of(genotype)
    first, again, other = (he_parameters(plan, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["stem/weight"], other["stem/weight"])


def test_noise_has_its_deviation_relative_to_each_weight_and_leaves_the_rest_alone(genotype: Genotype) -> None:
    plan = plan_of(replace(genotype, channels=16))
    values = he_parameters(plan, torch.Generator().manual_seed(0))
    noisy = with_noise(plan, values, 0.05, torch.Generator().manual_seed(1))
    for slot in plan.slots:
        difference = noisy[slot.name] - values[slot.name]
        if slot.kind == "weight" and difference.numel() > 1000:
            assert (difference.std() / values[slot.name].std()).item() == pytest.approx(0.05, rel=0.1)
        assert bool(difference.any()) == (slot.kind == "weight")


def test_noise_follows_its_generator(genotype: Genotype) -> None:
    plan = plan_of(genotype)
    values = he_parameters(plan, torch.Generator().manual_seed(0))
    first, again, other = (with_noise(plan, values, 0.05, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["stem/weight"], other["stem/weight"])


@pytest.mark.parametrize("batch_norm", [True, False])
def test_weights_before_norms_get_the_size_of_random_ones_and_nothing_else_changes(
    genotype: Genotype, batch_norm: bool
) -> None:
    plan = plan_of(genotype, batch_norm)
    random = he_parameters(plan, torch.Generator().manual_seed(0))
    given = {name: 30 * value.double() + 0.1 for name, value in random.items()}
    found = as_large_as_random(plan, given)
    for slot in plan.slots:
        scale = found[slot.name] / given[slot.name]
        if slot.kind == "weight" and batch_norm and not slot.name.startswith("classifier"):
            fan_in = slot.shape[1] * slot.shape[2] * slot.shape[3]
            assert found[slot.name].square().mean().item() == pytest.approx(2 / fan_in)
            assert (scale - scale.mean()).abs().max() < 1e-12
        else:
            assert torch.equal(found[slot.name], given[slot.name])
    images = 100 * torch.rand(16, *plan.nodes[0].shape, generator=torch.Generator().manual_seed(1)).double()
    before, after = (forward(plan, one, images, arithmetic_for(plan)) for one in (given, found))
    assert (before - after).abs().max() < 1e-3 * before.abs().max()  # the norms' epsilon


def test_weights_of_nothing_stay_nothing(genotype: Genotype) -> None:
    plan = plan_of(genotype)
    found = as_large_as_random(plan, {slot.name: torch.zeros(slot.shape) for slot in plan.slots})
    assert not any(value.any() for value in found.values())


def test_noise_leaves_a_weight_of_one_number_a_number() -> None:
    builder = Builder(Task((1, 4, 4), 2), True, Bits(4, 4))
    plan = builder.classifier(builder.conv("single", 0, 1, 1))
    values = he_parameters(plan, torch.Generator().manual_seed(0))
    assert values["single/weight"].numel() == 1
    noisy = with_noise(plan, values, 0.05, torch.Generator().manual_seed(1))["single/weight"]
    assert 0 < (noisy - values["single/weight"]).abs().item() < 0.3 * values["single/weight"].abs().item()
