"""Exported models held against torch in onnxruntime and in ONNX's own reference, at every kind of bit widths.

The networks are trained a little from predicted parameters, and together hold every operation at every stride.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from random import Random

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import helper
from onnx.reference import ReferenceEvaluator

from qnas.checkpoints.store import load_checkpoint
from qnas.data.images import DataSet
from qnas.errors import QnasError
from qnas.exporters.onnx import write_onnx
from qnas.exporters.parity import Parity, compare
from qnas.exporters.registry import PROFILES
from qnas.ghn.model import GHN
from qnas.network.build import build_plan
from qnas.network.costs import macs
from qnas.network.deployed import DeployedNetwork, deploy
from qnas.network.initial import he_parameters
from qnas.network.module import Network
from qnas.network.plan import Node
from qnas.quant.choices import GRIDS, USUAL
from qnas.quant.scheme import FP32, Bits
from qnas.sampling.generator import stream
from qnas.space.cells import CELL_INPUTS, Branch
from qnas.space.genes import decode, gene_choices
from qnas.space.genotype import Genotype
from qnas.space.operations import OPERATIONS
from qnas.space.space import find_space
from qnas.task import Task
from qnas.training.qat import train_network
from qnas.training.recipe import Recipe

pytestmark = pytest.mark.export

SETTINGS = ["fp32", "w8a8", "w4a8", "w4a4", "w2a2", "w5a6", "w3a4"]
STEPS, SAMPLED, MIXED = 20, 60, 5
WIDTHS = tuple(Bits.parse(text) for text in ("w2a2", "w4a4", "w4a8", "w8a8"))
Feature = tuple[str, object]


def features(genotype: Genotype) -> set[Feature]:
    """Operations with their strides, batch norm and projections or not, and what is concatenated."""
    found: set[Feature] = {("batch norm", genotype.batch_norm), ("projected", genotype.projected)}
    for position in range(genotype.cells):
        for branch in (branch for step in genotype.cell(position) for branch in step):
            halves = position in genotype.reductions and branch.state < CELL_INPUTS
            found.add((branch.operation, 2 if halves else 1))
        if len(ends := genotype.ends(position)) > 1:
            found.update(("concat", len(genotype.cell(position)[end])) for end in ends)
    return found


WANTED: set[Feature] = {(operation, stride) for operation in OPERATIONS for stride in (1, 2)} | {
    ("batch norm", True),
    ("batch norm", False),
    ("projected", True),
    ("projected", False),
    ("concat", 1),
    ("concat", 2),
}


SPACE = replace(
    find_space("tiny"), operations=tuple(OPERATIONS), projected=0.5, branches=(1, 2), max_params=1_000_000, max_macs=0
)
"""Offers every operation of the table: a new row is held to all that stands here."""


LEAST = {name: 98.0 if name in ("c", "tflite") else 99.0 for name in PROFILES}
"""Per cent of the images that have torch's class. C equals the integer network to the bit, which ``compare_c`` holds,
and that keeps biases finer than torch does where activations have 8 bits; TFLite's kernels round twice
(``docs/deploying.md``)."""


def refusal(profile: str, bits: Bits, grid: str = USUAL) -> str:
    """What a container says that does not hold the networks of these tests at such settings; nothing where it does."""
    if bits.is_float and not PROFILES[profile].floats:
        return "but .* is FP32"
    if profile == "tflite" and bits.activations < 8:
        return "TFLite has activations of 8 bits, but those of .* have"
    if profile == "tflite" and grid == "asymmetric":
        return "TFLite has symmetric weights, but those of .* have the zero point"
    if grid == "asymmetric" and not PROFILES[profile].zero_points:
        return r"zero point 0, but weights of \S+ are .*; take `profile='compact'`"
    return ""


def held(profile: str, network: DeployedNetwork, data: DataSet, pixels: bool, refused: str) -> Parity | None:
    """A network in a container beside itself in torch; nothing if it is refused, as it has to be."""
    row = PROFILES[profile]
    if refused:
        with pytest.raises(QnasError, match=refused):
            row.write(network, data.task, pixels)
        return None
    files = row.write(network, data.task, pixels)
    assert row.file in files
    return row.compare(files, network, data.validation)


@pytest.fixture(scope="session")
def covering() -> list[Genotype]:
    """The few small genotypes, at least three, that hold all that is wanted: always the one that adds the most."""
    left, chosen = set(WANTED), []
    drawn = islice(stream(SPACE, 0), SAMPLED)
    by_size = sorted(drawn, key=lambda genotype: macs(build_plan(genotype, SPACE.task)))
    while left or len(chosen) < 3:
        rest = [genotype for genotype in by_size if genotype not in chosen]
        chosen.append(max(rest, key=lambda genotype: len(features(genotype) & left)))
        left -= features(chosen[-1])
    return chosen


@pytest.fixture(scope="session")
def ghn() -> GHN:
    return load_checkpoint("digits").ghn


@pytest.fixture(scope="session")
def trained(covering: list[Genotype], ghn: GHN, digits_data: DataSet) -> Callable[[str], list[DeployedNetwork]]:
    """The deployed networks at given bit widths, trained once."""
    kept: dict[str, list[DeployedNetwork]] = {}

    def take(bits: str) -> list[DeployedNetwork]:
        if bits not in kept:
            genotypes = [genotype.with_bits(Bits.parse(bits)) for genotype in covering]
            networks = [train_network(genotype, digits_data, Recipe(STEPS), 0, ghn) for genotype in genotypes]
            kept[bits] = [deploy(network) for network in networks]
        return kept[bits]

    return take


Trained = Callable[[str], list[DeployedNetwork]]


def test_the_networks_hold_every_operation_at_every_stride(covering: list[Genotype]) -> None:
    assert set().union(*(features(genotype) for genotype in covering)) >= WANTED
    assert 3 <= len(covering) <= 5


@pytest.mark.parametrize("bits", SETTINGS)
def test_onnxruntime_gives_the_classes_and_most_logits_of_torch(
    trained: Trained, digits_data: DataSet, bits: str
) -> None:
    images, _ = digits_data.validation.batch(slice(None))
    for network in trained(bits):
        parity = compare(write_onnx(network).SerializeToString(), network, digits_data.validation)
        assert parity.images == 360
        assert parity.same_class >= 99, network.plan
        assert abs(parity.torch_top1 - parity.runtime_top1) <= 0.5
        assert parity.mean_logit_difference < 0.02 * network(images).std().item()
        assert bits != "fp32" or parity.largest_logit_difference < 1e-3
        assert parity.first_layer == ""


@pytest.mark.parametrize("bits", SETTINGS)
def test_without_optimisation_onnxruntime_gives_the_same_classes(
    trained: Trained, digits_data: DataSet, bits: str
) -> None:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    images, _ = digits_data.validation.batch(slice(None))
    for network in trained(bits):
        model = write_onnx(network).SerializeToString()
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        (found,) = session.run(None, {"images": images.numpy()})
        assert (found.argmax(1) == network(images).argmax(1).numpy()).mean() >= 0.99


@pytest.mark.parametrize("bits", ["w4a4", "w8a8"])
def test_the_reference_of_onnx_agrees(trained: Trained, digits_data: DataSet, bits: str) -> None:
    images, _ = digits_data.validation.batch(slice(0, 16))
    network = trained(bits)[0]
    (found,) = ReferenceEvaluator(write_onnx(network)).run(None, {"images": images.numpy()})
    assert np.mean(np.isclose(found, network(images).numpy(), rtol=0.01, atol=0.01)) > 0.9


@pytest.mark.parametrize("count", [1, 7])
def test_any_number_of_images_gives_the_same_logits(trained: Trained, digits_data: DataSet, count: int) -> None:
    images = digits_data.validation.batch(slice(0, 32))[0].numpy()
    model = write_onnx(trained("w4a4")[0]).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (every,), (some,) = (session.run(None, {"images": part}) for part in (images, images[:count]))
    assert np.isclose(every[:count], some, atol=1e-4).mean() > 0.9


@pytest.mark.parametrize("bits", ["fp32", "w8a8", "w4a4"])
@pytest.mark.parametrize("side", [7, 9])
def test_images_of_odd_sides_and_three_channels_agree(genotype: Genotype, side: int, bits: str) -> None:
    plan = build_plan(genotype.with_bits(Bits.parse(bits)), Task((3, side, side), 10))
    network = Network(plan, he_parameters(plan, torch.Generator().manual_seed(0)), (-3.0, 3.0))
    images = torch.randn(64, 3, side, side)
    network.calibrate([images])
    exported = write_onnx(deploy(network)).SerializeToString()
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"images": images.numpy()})
    expected = deploy(network)(images).numpy()
    assert np.abs(found - expected).mean() < 0.02 * expected.std()


def test_the_comparison_sees_a_model_of_another_network(trained: Trained, digits_data: DataSet) -> None:
    first, second = trained("w4a4")[:2]
    parity = compare(write_onnx(first).SerializeToString(), second, digits_data.validation)
    images, labels = digits_data.validation.batch(slice(None))
    with torch.no_grad():
        ours, theirs = second(images).argmax(1), first(images).argmax(1)
    assert parity.torch_top1 == pytest.approx(100 * (ours == labels).float().mean().item(), abs=1)
    assert parity.runtime_top1 == pytest.approx(100 * (theirs == labels).float().mean().item(), abs=1)
    assert parity.same_class == pytest.approx(100 * (ours == theirs).float().mean().item(), abs=1)
    assert parity.same_class < 99
    assert parity.failure.startswith("onnxruntime gives torch's class for only ")
    assert replace(parity, same_class=99.0).failure == ""
    assert replace(parity, largest_logit_difference=float("nan")).failure.endswith("no numbers")


@pytest.mark.parametrize("bits", ["w8a8", "w4a4", "w2a2"])
def test_the_comparison_names_the_first_layer_that_is_another(
    trained: Trained, digits_data: DataSet, bits: str
) -> None:
    """Layers after it are computed from its values, so they do not differ by themselves."""
    network = trained(bits)[0]
    places = [node for node in network.plan.nodes if node.name in network.layers and node.name in network.activations]
    for node in (places[0], places[len(places) // 2], places[-1]):
        layer = network.layers[node.name]
        other = replace(layer, bias=layer.bias + 3 * float(network.activations[node.name].scale))
        changed = replace(network, layers={**network.layers, node.name: other})
        parity = compare(write_onnx(network).SerializeToString(), changed, digits_data.validation)
        assert parity.first_layer == node.name
        assert replace(parity, same_class=50.0).failure.endswith(f"layer {node.name} is the first to differ by itself")
    last = network.layers["classifier"]
    other = replace(last, bias=last.bias + torch.arange(len(last.bias)))
    changed = replace(network, layers={**network.layers, "classifier": other})
    parity = compare(write_onnx(network).SerializeToString(), changed, digits_data.validation)
    assert parity.first_layer == "classifier"


@pytest.fixture(scope="session")
def mixed(ghn: GHN, digits_data: DataSet) -> list[DeployedNetwork]:
    """Trained networks of random genes and many layers, each with widths of its own."""
    rng, networks = Random(4), []
    for _ in range(MIXED):
        choices = gene_choices(replace(SPACE, branches=(2, 2)), WIDTHS)
        genes = {name: rng.choice(of) for name, of in choices.items()}
        genotype = decode(SPACE, genes, FP32)
        networks.append(deploy(train_network(genotype, digits_data, Recipe(STEPS), 0, ghn)))
    return networks


def test_the_mixed_networks_hold_all_widths_and_both_kinds_of_biases(mixed: list[DeployedNetwork]) -> None:
    layers = [[node for node in network.plan.nodes if node.name in network.layers] for network in mixed]
    assert all({node.bits for node in nodes} == set(WIDTHS) for nodes in layers)
    for network, nodes in zip(mixed, layers, strict=True):
        assert {network.integer_bias(node) is None for node in nodes} == {True, False}
        read = {(grid.bits, node.bits.activations) for node in nodes if (grid := network.input_grid(node))}
        assert any(wide > narrow for wide, narrow in read)
        assert any(wide < narrow for wide, narrow in read)


@pytest.mark.parametrize("number", range(MIXED))
def test_a_mixed_network_gives_the_classes_and_logits_of_torch(
    mixed: list[DeployedNetwork], digits_data: DataSet, number: int
) -> None:
    network = mixed[number]
    images, _ = digits_data.validation.batch(slice(None))
    parity = compare(write_onnx(network).SerializeToString(), network, digits_data.validation)
    assert parity.images == 360
    assert parity.same_class >= 99
    assert abs(parity.torch_top1 - parity.runtime_top1) <= 0.5
    assert parity.mean_logit_difference < 0.02 * network(images).std().item()
    assert parity.first_layer == ""


@pytest.mark.parametrize("number", range(MIXED))
def test_a_mixed_network_gives_the_same_classes_without_optimisation(
    mixed: list[DeployedNetwork], digits_data: DataSet, number: int
) -> None:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    images, _ = digits_data.validation.batch(slice(None))
    model = write_onnx(mixed[number]).SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"images": images.numpy()})
    assert (found.argmax(1) == mixed[number](images).argmax(1).numpy()).mean() >= 0.99


def test_the_reference_of_onnx_agrees_with_a_mixed_network(mixed: list[DeployedNetwork], digits_data: DataSet) -> None:
    images, _ = digits_data.validation.batch(slice(0, 16))
    (found,) = ReferenceEvaluator(write_onnx(mixed[0])).run(None, {"images": images.numpy()})
    assert np.mean(np.isclose(found, mixed[0](images).numpy(), rtol=0.01, atol=0.01)) > 0.9


def bottlenecks(bits: Bits) -> Genotype:
    """A network of inverted bottlenecks at both strides, in normal and in reduction cells."""
    cell = (
        (Branch(0, "mb_conv3", 3), Branch(1, "mb_conv6", 5)),
        (Branch(1, "mb_conv3", 5), Branch(2, "mb_conv6", 3)),
    )
    return Genotype(3, 1, 8, 3, True, cell, cell, bits)


@pytest.fixture(scope="session")
def bottleneck_networks(ghn: GHN, digits_data: DataSet) -> dict[str, DeployedNetwork]:
    return {
        bits: deploy(train_network(bottlenecks(Bits.parse(bits)), digits_data, Recipe(STEPS), 0, ghn))
        for bits in ("w8a8", "w4a4", "w2a2")
    }


@pytest.mark.parametrize("bits", ["w8a8", "w4a4", "w2a2"])
def test_the_linear_projections_of_inverted_bottlenecks_have_a_signed_grid(
    bottleneck_networks: dict[str, DeployedNetwork], bits: str
) -> None:
    network = bottleneck_networks[bits]
    projections = [node for node in network.plan.nodes if node.name.endswith("_project")]
    assert len(projections) == 12
    for node in projections:
        grid = network.activations[node.name]
        assert node.signed
        assert not node.relu
        assert (grid.zero_point, grid.bits) == (2 ** (grid.bits - 1), node.bits.activations)
    unsigned = [node for node in network.plan.nodes if node.relu]
    assert {network.activations[node.name].zero_point for node in unsigned} == {0}


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(("bits", "pixels"), [("w8a8", False), ("w4a4", True), ("w2a2", False)])
def test_inverted_bottlenecks_give_the_classes_and_logits_of_torch(
    bottleneck_networks: dict[str, DeployedNetwork], digits_data: DataSet, bits: str, profile: str, pixels: bool
) -> None:
    network, refused = bottleneck_networks[bits], refusal(profile, Bits.parse(bits))
    images, _ = digits_data.validation.batch(slice(None))
    parity = held(profile, network, digits_data, pixels, refused)
    if parity is None:
        return
    assert parity.images == 360
    assert parity.same_class >= LEAST[profile]
    assert abs(parity.torch_top1 - parity.runtime_top1) <= 100 - LEAST[profile]
    assert parity.mean_logit_difference < 0.02 * network(images).std().item()
    assert not parity.first_layer


@pytest.fixture(scope="session")
def gridded(ghn: GHN, digits_data: DataSet) -> Callable[[str, str], DeployedNetwork]:
    """A few bottlenecks on a grid at bit widths, trained once: containers that run node by node take a while."""
    kept: dict[tuple[str, str], DeployedNetwork] = {}

    def take(grid: str, bits: str) -> DeployedNetwork:
        if (grid, bits) not in kept:
            recipe = Recipe(STEPS, grid=grid)
            cell = ((Branch(0, "mb_conv3", 3),), (Branch(1, "mb_conv6", 5),))
            genotype = replace(bottlenecks(Bits.parse(bits)), normal=cell, reduction=cell)
            kept[grid, bits] = deploy(train_network(genotype, digits_data, recipe, 0, ghn))
        return kept[grid, bits]

    return take


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("bits", ["w8a8", "w4a8", "w4a4", "w2a2"])
@pytest.mark.parametrize("grid", GRIDS)
def test_every_grid_gives_the_classes_and_logits_of_torch_in_every_container(
    gridded: Callable[[str, str], DeployedNetwork], digits_data: DataSet, grid: str, bits: str, profile: str
) -> None:
    network, refused = gridded(grid, bits), refusal(profile, Bits.parse(bits), grid)
    images, _ = digits_data.validation.batch(slice(None))
    parity = held(profile, network, digits_data, PROFILES[profile].pixels, refused)
    if parity is None:
        return
    assert parity.same_class >= LEAST[profile]
    assert parity.mean_logit_difference < 0.02 * network(images).std().item()


@pytest.mark.parametrize("bits", ["w8a8", "w4a4", "w2a2"])
def test_a_projection_takes_values_below_0_in_onnxruntime_too(
    bottleneck_networks: dict[str, DeployedNetwork], digits_data: DataSet, bits: str
) -> None:
    """The values of a projection itself, rounded, one by one: no layer after it can hide a wrong zero point."""
    network = bottleneck_networks[bits]
    images, _ = digits_data.validation.batch(slice(0, 32))
    kept: dict[str, torch.Tensor] = {}

    class Keeping(DeployedNetwork):
        def activation(self, node: Node, x: torch.Tensor) -> torch.Tensor:
            kept[node.name] = super().activation(node, x)
            return kept[node.name]

    Keeping(network.plan, network.layers, network.activations)(images)
    name = next(name for name, x in kept.items() if name.endswith("_project") and x.min() < 0 < x.max())
    model = write_onnx(network)
    (rounded,) = (
        node.output[0]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.output[0].startswith(f"{name}/") and "rounded" in node.output[0]
    )
    model.graph.output.append(helper.make_empty_tensor_value_info(rounded))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run([rounded], {"images": images.numpy()})
    scale = float(network.activations[name].scale)
    assert (np.abs(found - kept[name].numpy()) < 0.01 * scale).mean() > 0.99


@pytest.mark.parametrize("bits", SETTINGS)
def test_every_profile_gives_the_classes_of_torch(trained: Trained, digits_data: DataSet, bits: str) -> None:
    for name in PROFILES:
        parity = held(name, trained(bits)[0], digits_data, False, refusal(name, Bits.parse(bits)))
        assert parity is None or parity.same_class >= LEAST[name], name
