"""A deployed network held against the trained module it was made from, and its integers against their bits."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from qnas.network.build import build_plan
from qnas.network.deployed import DeployedNetwork, deploy
from qnas.network.grids import Grids
from qnas.network.initial import he_parameters
from qnas.network.module import Network
from qnas.network.plan import Builder, Node
from qnas.quant.choices import GRIDS as CHOICES
from qnas.quant.scheme import FP32, Bits
from qnas.space.genotype import Genotype
from qnas.task import Task

TASK = Task((3, 16, 16), 4)
ALL = [FP32, Bits(8, 8), Bits(4, 8), Bits(4, 4), Bits(2, 2), Bits(5, 6), Bits(3, 4), Bits(8, 2)]
LEARNED = Grids()
WHOLE = Grids("asymmetric")
BOTH_NORMS = pytest.mark.parametrize("batch_norm", [True, False], ids=["batch norm", "bias"])


def some_images() -> Tensor:
    return torch.randn(16, *TASK.image, generator=torch.Generator().manual_seed(1))


def calibrated(genotype: Genotype, bits: Bits, batch_norm: bool = True, weights: Grids = LEARNED) -> Network:
    """Random parameters with biases that are not zero, calibrated and frozen."""
    plan = build_plan(replace(genotype, bits=bits, batch_norm=batch_norm), TASK)
    values = he_parameters(plan, torch.Generator().manual_seed(0))
    values |= {name: torch.randn(value.shape) * 0.3 for name, value in values.items() if name.endswith("bias")}
    images = some_images()
    network = Network(plan, values, (images.min().item(), images.max().item()), weights)
    network.calibrate([images])
    network.frozen = True
    return network.eval()


def layers_of(deployed: DeployedNetwork) -> list[str]:
    return [node.name for node in deployed.plan.nodes if node.kind in ("conv", "linear")]


@BOTH_NORMS
@pytest.mark.parametrize("weights", [*(Grids(name) for name in CHOICES), Grids(learned=False)], ids=str)
@pytest.mark.parametrize("bits", [FP32, Bits(4, 4), Bits(2, 2), Bits(5, 6), Bits(8, 2)], ids=str)
def test_below_eight_bits_of_activation_it_computes_exactly_what_was_trained(
    genotype: Genotype, bits: Bits, batch_norm: bool, weights: Grids
) -> None:
    network, images = calibrated(genotype, bits, batch_norm, weights), some_images()
    expected = network(images).detach()
    assert expected.std() > 0.01
    assert torch.equal(deploy(network)(images), expected)


@BOTH_NORMS
@pytest.mark.parametrize(("bits", "share"), [(Bits(8, 8), 0.05), (Bits(4, 8), 0.15)], ids=["w8a8", "w4a8"])
def test_at_eight_bits_the_rounded_biases_move_the_logits_a_little(
    genotype: Genotype, bits: Bits, share: float, batch_norm: bool
) -> None:
    network, images = calibrated(genotype, bits, batch_norm), some_images()
    expected = network(images).detach()
    found = deploy(network)(images)
    assert not torch.equal(found, expected)
    assert (found - expected).norm() < share * (expected - expected.mean(0)).norm()


@pytest.mark.parametrize("bits", ALL[1:], ids=str)
def test_integers_fit_their_bits_and_use_them(genotype: Genotype, bits: Bits) -> None:
    deployed = deploy(calibrated(genotype, bits))
    highest = 2**bits.weights - 1
    for name in layers_of(deployed):
        layer = deployed.layers[name]
        channels = layer.weight.flatten(1).int()
        assert layer.weight.dtype == torch.uint8
        assert layer.grid is not None
        assert (layer.grid.bits, layer.grid.axis) == (bits.weights, 0)
        assert channels.max().item() <= highest
        half = (highest + 1) // 2
        assert (channels - half).abs().amax(1).min() >= half // 2  # a clipped range still reaches beyond the middle
        assert torch.as_tensor(layer.grid.zero_point).eq(2 ** (bits.weights - 1)).all()
        assert torch.as_tensor(layer.grid.scale).gt(0).all()


@pytest.mark.parametrize("bits", ALL[1:], ids=str)
def test_grids_of_whole_tensors_use_all_their_integers(genotype: Genotype, bits: Bits) -> None:
    deployed = deploy(calibrated(genotype, bits, weights=WHOLE))
    for name in layers_of(deployed):
        layer = deployed.layers[name]
        assert layer.grid is not None
        assert (layer.weight.min().item(), layer.weight.max().item()) == (0, 2**bits.weights - 1)
        assert 0 <= layer.grid.zero_point <= 2**bits.weights - 1


@pytest.mark.parametrize("bits", ALL[1:], ids=str)
def test_real_weights_lie_within_half_a_step_of_the_trained_ones(genotype: Genotype, bits: Bits) -> None:
    network = calibrated(genotype, bits, batch_norm=False)
    deployed = deploy(network)
    for name in layers_of(deployed):
        layer = deployed.layers[name]
        assert layer.grid is not None
        trained, rounded = network.slots[f"{name}/weight"].detach(), layer.real_weight()
        within = (layer.weight > 0) & (layer.weight < 2**bits.weights - 1)  # the outer values may be clipped
        steps = (rounded - trained) / layer.grid.along(layer.grid.scale, trained)
        assert within.any()
        assert steps[within].abs().max() <= 0.501


def test_a_float_network_keeps_its_folded_weights(genotype: Genotype) -> None:
    deployed = deploy(calibrated(genotype, FP32))
    assert all(deployed.layers[name].grid is None for name in layers_of(deployed))
    assert deployed.activations == {}


@pytest.mark.parametrize("bits", ALL, ids=str)
def test_a_bias_is_an_integer_only_where_activations_have_eight_bits(genotype: Genotype, bits: Bits) -> None:
    deployed = deploy(calibrated(genotype, bits))
    found = {name: deployed.integer_bias(next(n for n in deployed.plan.nodes if n.name == name)) is not None
             for name in layers_of(deployed)}  # fmt: skip
    assert set(found.values()) == {bits.activations == 8}


@pytest.mark.parametrize("bits", [Bits(8, 8), Bits(4, 8)], ids=str)
def test_an_integer_bias_is_the_real_one_at_the_step_of_the_accumulator(genotype: Genotype, bits: Bits) -> None:
    deployed = deploy(calibrated(genotype, bits))
    for node in deployed.plan.nodes:
        if node.kind not in ("conv", "linear"):
            continue
        layer, source = deployed.layers[node.name], deployed.plan.nodes[node.inputs[0]]
        assert source.kind != "max_pool"
        assert layer.grid is not None
        integers, step = deployed.integer_bias(node) or pytest.fail(node.name)
        assert integers.dtype == torch.int32
        expected = torch.as_tensor(deployed.activations[source.name].scale * layer.grid.scale)
        torch.testing.assert_close(step.float(), expected)
        assert ((integers * step - layer.bias) / step).abs().max() <= 0.51


@pytest.mark.parametrize("bits", [Bits(8, 8), Bits(4, 8)], ids=str)
def test_a_bias_that_32_bits_cannot_hold_stays_real(genotype: Genotype, bits: Bits) -> None:
    deployed = deploy(calibrated(genotype, bits))
    stem, node = deployed.layers["stem"], deployed.plan.nodes[1]
    assert stem.grid is not None
    scale = torch.as_tensor(stem.grid.scale).clone()
    scale[1] = 1e-12
    faint = replace(stem, grid=replace(stem.grid, scale=scale), bias=torch.full_like(stem.bias, 0.5))
    changed = replace(deployed, layers={**deployed.layers, "stem": faint})
    assert changed.integer_bias(node) is None
    black = torch.zeros(1, *TASK.image)
    torch.testing.assert_close(changed.layer(node, black, {})[0, 1], torch.full_like(black[0, 0], 0.5))


@pytest.mark.parametrize("bits", ALL[1:], ids=str)
def test_every_rounded_activation_has_a_grid_of_its_bits(genotype: Genotype, bits: Bits) -> None:
    deployed = deploy(calibrated(genotype, bits))
    for node in deployed.plan.nodes:
        if node.kind == "max_pool" or node.name == "classifier":
            assert node.name not in deployed.activations
        else:
            grid = deployed.activations[node.name]
            assert grid.bits == (8 if node.kind == "input" else bits.activations)
            assert grid.scale > 0
            assert node.kind == "input" or grid.zero_point == 0


@pytest.mark.parametrize("bits", [Bits(4, 4), Bits(2, 2)], ids=str)
def test_no_activation_takes_more_values_than_its_bits_hold(genotype: Genotype, bits: Bits) -> None:
    deployed = deploy(calibrated(genotype, bits))
    counts: dict[str, int] = {}

    class Counting(DeployedNetwork):
        def activation(self, node: Node, x: Tensor) -> Tensor:
            result = super().activation(node, x)
            counts[node.name] = len(result.unique())
            return result

    Counting(deployed.plan, deployed.layers, deployed.activations)(some_images())
    assert counts.pop("image") <= 256
    assert max(counts.values()) <= 2**bits.activations


def test_a_max_pool_hands_on_the_grid_of_its_input() -> None:
    builder = Builder(TASK, False, Bits(8, 8))
    first = builder.conv("first", 0, 4, 3)
    pooled = builder.pool("max", "max_pool", first, 3, 2)
    plan = builder.classifier(builder.conv("second", pooled, 4, 3))
    network = Network(plan, he_parameters(plan, torch.Generator().manual_seed(0)), (-3.0, 3.0))
    network.calibrate([some_images()])
    deployed = deploy(network)
    assert deployed.input_grid(plan.nodes[3]) == deployed.activations["first"]
