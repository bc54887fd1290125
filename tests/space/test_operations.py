"""What every operation of the table must do, whichever it is: a new row is held to all of this.

Exports are held to it in ``tests/exporters/test_conformance.py``.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import islice, product

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from qnas.errors import QnasError
from qnas.graph.encoding import encode, to_networkx
from qnas.network.arithmetic import DynamicArithmetic, FloatArithmetic, NoisyArithmetic, static_on
from qnas.network.build import build_plan
from qnas.network.costs import count_parameters, parameters
from qnas.network.deployed import DeployedNetwork, deploy
from qnas.network.forward import Arithmetic, forward
from qnas.network.initial import he_parameters
from qnas.network.module import Network
from qnas.network.plan import Builder, Node, Plan
from qnas.quant.fold import EPSILON
from qnas.quant.scheme import FP32, PAPER_BITS, Bits
from qnas.sampling.generator import stream
from qnas.space.cells import Branch
from qnas.space.genes import decode, gene_choices, operation_choices
from qnas.space.genotype import Genotype
from qnas.space.operations import OPERATIONS, Reshaping, find_operation, learning
from qnas.space.space import SearchSpace, find_space
from qnas.task import Task

KERNELS = (3, 5, 7)
EVERY = pytest.mark.parametrize("name", OPERATIONS)
STRIDES = pytest.mark.parametrize("stride", [1, 2])
NORMS = pytest.mark.parametrize("batch_norm", [True, False], ids=["batch norm", "bias"])
PROJECTED = pytest.mark.parametrize("projected", [True, False], ids=["projected", "direct"])
TASK = Task((3, 16, 16), 5)
BOTTLENECKS = pytest.mark.parametrize(("name", "expansion"), [("mb_conv3", 3), ("mb_conv6", 6)])


def built(
    name: str, stride: int, side: int, kernel: int = 3, batch_norm: bool = True, channels: int = 6
) -> tuple[Builder, int]:
    """One operation that reads an image of 6 channels, with the kernel if it may have it."""
    builder = Builder(Task((6, side, side), 5), batch_norm, Bits(4, 4))
    return builder, OPERATIONS[name].build(builder, 0, channels, OPERATIONS[name].kernels((kernel,))[0], stride)


def so_far(builder: Builder) -> Plan:
    """The plan without a classifier."""
    return Plan(tuple(builder.nodes), tuple(builder.slots), builder.task.classes)


def with_operation(
    name: str, bits: Bits = FP32, batch_norm: bool = True, kernel: int = 5, projected: bool = True
) -> Genotype:
    """A network with the operation at both strides, in normal and in reduction cells; alone too, if they are direct."""
    size = OPERATIONS[name].kernels((kernel,))[0]
    cell = (
        (Branch(0, name, size), Branch(1, name, size)),
        (Branch(1, "conv", 3), Branch(2, name, size)),
        *([] if projected or name == "skip" else [(Branch(2, name, size),)]),
    )
    return Genotype(3, 1, 4, 3, batch_norm, cell, cell, bits, projected=projected)


def space_of_all() -> SearchSpace:
    return replace(find_space("tiny"), operations=tuple(OPERATIONS), max_params=10_000_000, max_macs=0)


def operations_of(genotype: Genotype) -> set[str]:
    cells = [genotype.cell(position) for position in range(genotype.cells)]
    return {branch.operation for cell in cells for step in cell for branch in step}


def network_of(genotype: Genotype) -> tuple[Network, Tensor]:
    """A calibrated network of random parameters, and the images that it was calibrated on."""
    plan, images = build_plan(genotype, TASK), torch.randn(16, *TASK.image)
    values = he_parameters(plan, torch.Generator().manual_seed(0))
    network = Network(plan, values, (images.min().item(), images.max().item()))
    network.calibrate([images])
    return network, images


def handed_on_unrounded(plan: Plan) -> set[str]:
    """The sums that only concatenations read, which round them themselves."""
    readers = {place: {node.kind for node in plan.nodes if place in node.inputs} for place in range(len(plan.nodes))}
    return {node.name for place, node in enumerate(plan.nodes) if node.kind == "sum" and readers[place] == {"concat"}}


def test_the_table_is_by_name_and_every_row_reads_differently() -> None:
    assert all(row.name == name for name, row in OPERATIONS.items())
    assert len({row.reads for row in OPERATIONS.values()}) == len(OPERATIONS)


@EVERY
def test_an_operation_is_found_by_its_name(name: str) -> None:
    assert find_operation(name) is OPERATIONS[name]
    with pytest.raises(QnasError, match=f"No operation is called '{name}x'; did you mean '{name}'"):
        find_operation(f"{name}x")


@EVERY
@pytest.mark.parametrize("side", [1, 2, 7, 8])
@STRIDES
@pytest.mark.parametrize("channels", [4, 6, 12])
def test_channels_are_as_asked_and_stride_2_halves_the_size(name: str, side: int, stride: int, channels: int) -> None:
    builder, result = built(name, stride, side, channels=channels)
    half = (side + 1) // 2 if stride == 2 else side
    assert builder.nodes[result].shape == (channels, half, half)


@EVERY
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("side", [1, 5, 8])
@STRIDES
def test_the_shape_is_the_one_that_is_computed(name: str, kernel: int, side: int, stride: int) -> None:
    builder, result = built(name, stride, side, kernel)
    plan = so_far(builder)
    assert result == len(plan.nodes) - 1
    values = {slot.name: torch.randn(slot.shape) for slot in plan.slots}
    output = forward(plan, values, torch.randn(2, 6, side, side), FloatArithmetic())
    assert output.shape == (2, *builder.nodes[result].shape)


@EVERY
@NORMS
def test_it_has_weights_where_its_row_says_so(name: str, batch_norm: bool) -> None:
    for strided, widened in product((False, True), repeat=2):
        channels = 12 if widened else 6
        builder, _ = built(name, 2 if strided else 1, 8, batch_norm=batch_norm, channels=channels)
        weights = [slot for slot in builder.slots if slot.kind == "weight"]
        assert bool(weights) == OPERATIONS[name].has_weights(Reshaping(strided, widened))
    assert (name in learning()) == OPERATIONS[name].learns == OPERATIONS[name].has_weights(Reshaping())


@EVERY
@STRIDES
def test_only_what_no_relu_follows_may_be_negative(name: str, stride: int) -> None:
    builder = Builder(Task((6, 8, 8), 5), True, Bits(4, 4))
    source = builder.conv("source", 0, 6, 3)
    size = OPERATIONS[name].kernels((3,))[0]
    builder.classifier(OPERATIONS[name].build(builder, source, 6, size, stride))
    plan = so_far(builder)
    lowest: dict[str, float] = {}

    class Watching(FloatArithmetic):
        def activation(self, node: Node, x: Tensor) -> Tensor:
            lowest[node.name] = x.min().item()
            return x

    values = {slot.name: torch.randn(slot.shape) for slot in plan.slots}
    forward(plan, values, torch.randn(64, 6, 8, 8), Watching())
    assert {node.name: node.signed for node in plan.nodes if node.name in lowest} == {
        key: low < 0 for key, low in lowest.items()
    }


@EVERY
@given(data=st.data())
def test_a_genotype_with_it_survives_json(name: str, data: st.DataObject) -> None:
    kernel = data.draw(st.sampled_from(OPERATIONS[name].kernels((1, 3, 5, 7, 9))))
    state, other = data.draw(st.integers(0, 1)), data.draw(st.sampled_from(list(OPERATIONS)))
    beside = Branch(1, other, data.draw(st.sampled_from(OPERATIONS[other].kernels(KERNELS))))
    cell = ((Branch(state, name, kernel), beside), (Branch(2, name, kernel), beside))
    genotype = Genotype(3, 1, 8, data.draw(st.integers(2, 6)), data.draw(st.booleans()), cell, cell)
    assert Genotype.from_json(json.loads(json.dumps(genotype.to_json()))) == genotype
    canonical = genotype.canonical()
    assert Genotype.from_json(canonical.to_json()).architecture == genotype.architecture
    assert operations_of(canonical) == operations_of(genotype)


@EVERY
@pytest.mark.parametrize("kernel", [-1, 0, 1, 2, 3, 4, 5, 6, 7])
def test_only_kernels_that_it_can_have_are_read(name: str, kernel: int) -> None:
    data = with_operation(name).to_json()
    data["reduction"] = [[[1, name, kernel], [0, "conv", 3]]]
    possible = {size for offered in (1, 3, 5, 7) for size in OPERATIONS[name].kernels((offered,))}
    assert OPERATIONS[name].allows(kernel) == (kernel in possible)
    if kernel in possible:
        assert Genotype.from_json(data).reduction[0][0] == Branch(1, name, kernel)
    else:
        with pytest.raises(QnasError, match=f"{name} cannot have kernel {kernel}"):
            Genotype.from_json(data)


@pytest.fixture(scope="module")
def drawn() -> list[Genotype]:
    return list(islice(stream(space_of_all(), 0), 40))


@EVERY
def test_a_space_that_offers_it_draws_it(name: str, drawn: list[Genotype]) -> None:
    having = [genotype for genotype in drawn if name in operations_of(genotype)]
    assert having
    for genotype in having:
        space_of_all().check(genotype)
    kernels = {
        branch.kernel
        for genotype in drawn
        for cell in (genotype.normal, genotype.reduction)
        for step in cell
        for branch in step
        if branch.operation == name
    }
    assert kernels == set(OPERATIONS[name].kernels(space_of_all().kernels))


@EVERY
def test_genes_can_choose_it_with_each_of_its_kernels(name: str) -> None:
    space = space_of_all()
    choices = gene_choices(space)
    sizes = OPERATIONS[name].kernels(space.kernels)
    assert [choice for choice in operation_choices(space) if choice.split()[0] == name] == [
        f"{name} {k}" for k in sizes
    ]
    for size in sizes:
        genes = {gene: options[0] for gene, options in choices.items()}
        genes |= {"reduction0_left": f"{name} {size}", "reduction0_left_state": 1, "reduction0_right": "conv 3"}
        found = {branch[1:3] for branch in decode(space, genes, FP32).reduction[0]}
        assert found == {(name, size), ("conv", 3)}


@EVERY
def test_a_cell_of_nothing_else_is_mended_unless_it_learns(name: str) -> None:
    space = space_of_all()
    genes = {gene: options[0] for gene, options in gene_choices(space).items()}
    choice = f"{name} {OPERATIONS[name].kernels(space.kernels)[0]}"
    genes |= {gene: choice for gene in genes if gene.endswith(("_left", "_right"))}
    found = operations_of(decode(space, genes, FP32))
    assert found == {name} if OPERATIONS[name].learns else name in found and found & set(learning())


@EVERY
@NORMS
@PROJECTED
@pytest.mark.parametrize("kernel", KERNELS)
def test_counting_without_a_plan_equals_the_plan(name: str, batch_norm: bool, kernel: int, projected: bool) -> None:
    genotype = with_operation(name, batch_norm=batch_norm, kernel=kernel, projected=projected)
    assert count_parameters(genotype, TASK) == parameters(build_plan(genotype, TASK))


@EVERY
@NORMS
@PROJECTED
def test_its_graph_has_a_node_for_every_slot(name: str, batch_norm: bool, projected: bool) -> None:
    plan = build_plan(with_operation(name, batch_norm=batch_norm, projected=projected), TASK)
    graph = encode(plan)
    assert len(graph.slot_index) == len(plan.slots)
    drawing = to_networkx(plan)
    assert [node for node, degree in drawing.in_degree if degree == 0] == [0]
    assert [node for node, degree in drawing.out_degree if degree == 0] == [len(drawing) - 1]


@EVERY
@pytest.mark.parametrize("bits", PAPER_BITS, ids=str)
def test_every_arithmetic_runs_it(name: str, bits: Bits) -> None:
    plan, images = build_plan(with_operation(name, bits), TASK), torch.randn(8, *TASK.image)
    values = he_parameters(plan, torch.Generator().manual_seed(0))
    arithmetics: list[Arithmetic] = [FloatArithmetic(), static_on(plan, values, images)]
    if not bits.is_float:
        arithmetics += [DynamicArithmetic(), NoisyArithmetic()]
    for arithmetic in arithmetics:
        logits = forward(plan, values, images, arithmetic)
        assert logits.shape == (8, TASK.classes)
        assert logits.isfinite().all()
        assert logits.std() > 0


@EVERY
@pytest.mark.parametrize("arithmetic", [FloatArithmetic(), DynamicArithmetic()], ids=["float", "quantized"])
def test_a_network_with_the_operation_runs_and_its_parameters_learn(
    name: str, arithmetic: FloatArithmetic | DynamicArithmetic
) -> None:
    builder, result = built(name, 2, 8)
    plan = builder.classifier(result)
    values = {slot.name: torch.randn(slot.shape).requires_grad_() for slot in plan.slots}
    logits = forward(plan, values, torch.randn(4, 6, 8, 8), arithmetic)
    logits.square().sum().backward()
    assert logits.shape == (4, 5)
    assert all(value.grad is not None and value.grad.abs().sum() > 0 for value in values.values())


@EVERY
@NORMS
@PROJECTED
@pytest.mark.parametrize("bits", [FP32, Bits(8, 8), Bits(4, 4)], ids=str)
def test_a_network_with_it_is_trained_by_a_step(name: str, bits: Bits, batch_norm: bool, projected: bool) -> None:
    network, images = network_of(with_operation(name, bits, batch_norm, projected=projected))
    labels = torch.arange(len(images)) % TASK.classes
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    before = {key: value.detach().clone() for key, value in network.slots.items()}
    F.cross_entropy(network(images), labels).backward()
    untouched = {key for key, value in network.named_parameters() if value.grad is None or not value.grad.any()}
    assert untouched == (
        set() if bits.is_float else {f"log_steps.{name}" for name in handed_on_unrounded(network.plan)}
    )
    optimizer.step()
    assert [key for key, value in network.slots.items() if torch.equal(value, before[key])] == []
    assert F.cross_entropy(network(images), labels).isfinite()


@EVERY
@NORMS
@PROJECTED
@pytest.mark.parametrize("bits", [FP32, Bits(4, 4), Bits(2, 2)], ids=str)
@torch.no_grad()
def test_deployed_it_computes_exactly_what_was_trained(
    name: str, bits: Bits, batch_norm: bool, projected: bool
) -> None:
    network, images = network_of(with_operation(name, bits, batch_norm, projected=projected))
    network.frozen = True
    expected = network.eval()(images)
    assert expected.std() > 0.01
    assert torch.equal(deploy(network)(images), expected)


@EVERY
@NORMS
@torch.no_grad()
def test_deployed_at_eight_bits_only_its_rounded_biases_move_it_a_step(name: str, batch_norm: bool) -> None:
    network, images = network_of(with_operation(name, Bits(8, 8), batch_norm))
    network.frozen = True
    expected, deployed = network.eval()(images), deploy(network)

    class RealBiases(DeployedNetwork):
        def integer_bias(self, node: Node) -> None:
            return None

    assert torch.equal(RealBiases(deployed.plan, deployed.layers, deployed.activations)(images), expected)
    assert (deployed(images) - expected).norm() < 0.1 * (expected - expected.mean(0)).norm()


class Bottleneck(nn.Module):
    """An inverted bottleneck as papers draw it."""

    def __init__(self, channels: int, expansion: int, kernel: int, stride: int, batch_norm: bool) -> None:
        super().__init__()
        wide = expansion * channels

        def normed(convolution: Callable[..., nn.Conv2d], *sizes: int, **how: int) -> nn.Module:
            if not batch_norm:
                return convolution(*sizes, **how)
            norm = nn.BatchNorm2d(sizes[1], EPSILON, track_running_stats=False)
            return nn.Sequential(convolution(*sizes, **how, bias=False), norm)

        self.stride = stride
        self.layers = nn.Sequential(
            normed(nn.Conv2d, channels, wide, 1),
            nn.ReLU(),
            normed(nn.Conv2d, wide, wide, kernel, stride=stride, padding=kernel // 2, groups=wide),
            nn.ReLU(),
            normed(nn.Conv2d, wide, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return y + x if self.stride == 1 else y


@BOTTLENECKS
@NORMS
@STRIDES
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("side", [7, 8])
def test_an_inverted_bottleneck_equals_one_of_torch_modules(
    name: str, expansion: int, batch_norm: bool, stride: int, kernel: int, side: int
) -> None:
    builder, _ = built(name, stride, side, kernel, batch_norm)
    plan, reference = so_far(builder), Bottleneck(6, expansion, kernel, stride, batch_norm).double()
    owned = list(reference.parameters())
    assert [slot.shape for slot in plan.slots] == [tuple(parameter.shape) for parameter in owned]
    values = {slot.name: torch.randn(slot.shape, dtype=torch.float64).requires_grad_() for slot in plan.slots}
    with torch.no_grad():
        for parameter, value in zip(owned, values.values(), strict=True):
            parameter.copy_(value)
    images = torch.randn(4, 6, side, side, dtype=torch.float64)
    found, expected = forward(plan, values, images, FloatArithmetic()), reference(images)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    weights = torch.randn_like(found)
    ours = torch.autograd.grad((found * weights).sum(), list(values.values()))
    theirs = torch.autograd.grad((expected * weights).sum(), owned)
    for mine, yours in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, yours, rtol=1e-8, atol=1e-8)


@BOTTLENECKS
def test_an_inverted_bottleneck_has_its_layers_and_a_residual_only_where_the_size_stays(
    name: str, expansion: int
) -> None:
    for stride in (1, 2):
        nodes = built(name, stride, 8, 5)[0].nodes[1:]
        layers = [
            (node.name, node.shape[0], node.kernel, node.stride, node.groups, node.relu, node.signed)
            for node in nodes
            if node.kind == "conv"
        ]
        wide = 6 * expansion
        assert layers == [
            ("expand", wide, 1, 1, 1, True, False),
            ("depthwise", wide, 5, stride, wide, True, False),
            ("project", 6, 1, 1, 1, False, True),
        ]
        rest = [(node.name, node.kind, node.inputs, node.signed) for node in nodes if node.kind != "conv"]
        assert rest == ([("residual", "sum", (0, 3), True)] if stride == 1 else [])


def test_a_skip_at_stride_1_adds_nothing() -> None:
    builder, result = built("skip", 1, 8)
    assert (len(builder.nodes), result) == (1, 0)


def test_only_the_dilated_convolution_is_dilated() -> None:
    dilations = {name: max(node.dilation for node in built(name, 1, 8)[0].nodes) for name in OPERATIONS}
    assert dilations == {name: 2 if name == "dil_conv" else 1 for name in OPERATIONS}


def test_separable_convolutions_are_depthwise_then_pointwise() -> None:
    for name in ("sep_conv", "dil_conv"):
        nodes = built(name, 2, 8, 5)[0].nodes[1:]
        assert [(node.kernel, node.stride, node.groups) for node in nodes] == [(5, 2, 6), (1, 1, 1)]
