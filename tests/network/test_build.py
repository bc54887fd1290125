"""From genotype to plan: the macro-architecture held against a network written out by hand."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from qnas.network.build import build_plan
from qnas.network.costs import weight_bytes
from qnas.network.plan import Plan
from qnas.quant.scheme import FP32, Bits
from qnas.space.cells import Branch
from qnas.space.genotype import Genotype
from qnas.space.space import space_names
from qnas.task import Task

NORMAL = ((Branch(1, "conv", 3), Branch(0, "skip", 1)),)
REDUCTION = (
    (Branch(1, "max_pool", 3), Branch(0, "skip", 1)),
    (Branch(1, "sep_conv", 5), Branch(2, "avg_pool", 3)),
)
SMALL = Genotype(3, 1, 4, 3, False, NORMAL, REDUCTION)
NODES = [
    ("image", "input", (), (3, 8, 8)),
    ("stem", "conv", (0,), (4, 8, 8)),
    ("cell0_input0", "conv", (1,), (4, 8, 8)),
    ("cell0_input1", "conv", (1,), (4, 8, 8)),
    ("cell0_step0_left_conv", "conv", (3,), (4, 8, 8)),
    ("cell0_step0", "sum", (4, 2), (4, 8, 8)),
    ("cell1_input0", "conv", (1,), (8, 8, 8)),
    ("cell1_input1", "conv", (5,), (8, 8, 8)),
    ("cell1_step0_left_pool", "max_pool", (7,), (8, 4, 4)),
    ("cell1_step0_right_skip", "conv", (6,), (8, 4, 4)),
    ("cell1_step0", "sum", (8, 9), (8, 4, 4)),
    ("cell1_step1_left_depthwise", "conv", (7,), (8, 4, 4)),
    ("cell1_step1_left_pointwise", "conv", (11,), (8, 4, 4)),
    ("cell1_step1_right_pool", "avg_pool", (10,), (8, 4, 4)),
    ("cell1_step1", "sum", (12, 13), (8, 4, 4)),
    ("cell1_output", "concat", (10, 14), (16, 4, 4)),
    ("cell2_input0", "conv", (5,), (16, 4, 4)),
    ("cell2_input1", "conv", (15,), (16, 4, 4)),
    ("cell2_step0_left_pool", "max_pool", (17,), (16, 2, 2)),
    ("cell2_step0_right_skip", "conv", (16,), (16, 2, 2)),
    ("cell2_step0", "sum", (18, 19), (16, 2, 2)),
    ("cell2_step1_left_depthwise", "conv", (17,), (16, 2, 2)),
    ("cell2_step1_left_pointwise", "conv", (21,), (16, 2, 2)),
    ("cell2_step1_right_pool", "avg_pool", (20,), (16, 2, 2)),
    ("cell2_step1", "sum", (22, 23), (16, 2, 2)),
    ("cell2_output", "concat", (20, 24), (32, 2, 2)),
    ("pool", "global_avg", (25,), (32, 1, 1)),
    ("classifier", "linear", (26,), (7, 1, 1)),
]

MIXED = replace(
    SMALL,
    normal=((Branch(1, "conv", 3, (Bits(2, 3),)), Branch(0, "skip", 1, (Bits(8, 8),))),),
    reduction=(
        (Branch(1, "max_pool", 3, (Bits(8, 8),) * 2), Branch(0, "skip", 1, (Bits(3, 2), Bits(5, 6)))),
        (Branch(1, "sep_conv", 5, (Bits(6, 5), Bits(2, 7))), Branch(2, "avg_pool", 3, (Bits(8, 8),) * 2)),
    ),
    layer_bits=(Bits(4, 4), Bits(5, 3), Bits(3, 5), Bits(7, 2), Bits(2, 8)),
)
WIDTHS = {
    "image": Bits(4, 8),
    "stem": Bits(4, 4),
    "cell0_input0": Bits(5, 3),
    "cell0_input1": Bits(5, 3),
    "cell0_step0_left_conv": Bits(2, 3),
    "cell0_step0": Bits(5, 3),  # of the convolution and of input 0
    "cell1_input0": Bits(3, 5),
    "cell1_input1": Bits(3, 5),
    "cell1_step0_left_pool": Bits(3, 5),
    "cell1_step0_right_skip": Bits(3, 2),
    "cell1_step0": Bits(3, 5),
    "cell1_step1_left_depthwise": Bits(6, 5),
    "cell1_step1_left_pointwise": Bits(6, 5),
    "cell1_step1_right_pool": Bits(3, 5),
    "cell1_step1": Bits(6, 5),
    "cell1_output": Bits(6, 5),
    "cell2_input0": Bits(7, 2),
    "cell2_input1": Bits(7, 2),
    "cell2_step0_left_pool": Bits(7, 2),
    "cell2_step0_right_skip": Bits(5, 6),
    "cell2_step0": Bits(7, 6),  # weights of the pool, activations of the skip
    "cell2_step1_left_depthwise": Bits(2, 7),
    "cell2_step1_left_pointwise": Bits(2, 7),
    "cell2_step1_right_pool": Bits(7, 6),
    "cell2_step1": Bits(7, 7),
    "cell2_output": Bits(7, 7),
    "pool": Bits(7, 7),
    "classifier": Bits(2, 8),
}


def node(plan: Plan, name: str) -> tuple[int, int, int, int]:
    """Kernel, stride, dilation and groups of a node."""
    found = next(node for node in plan.nodes if node.name == name)
    return found.kernel, found.stride, found.dilation, found.groups


def test_a_network_is_built_as_written_out_by_hand() -> None:
    plan = build_plan(SMALL, Task((3, 8, 8), 7))
    assert [(node.name, node.kind, node.inputs, node.shape) for node in plan.nodes] == NODES
    assert plan.classes == 7


def test_slots_follow_their_nodes() -> None:
    plan = build_plan(SMALL, Task((3, 8, 8), 7))
    assert plan.slots[:4] == (
        ("stem/weight", (4, 3, 3, 3), "weight", 1),
        ("stem/bias", (4,), "bias", 1),
        ("cell0_input0/weight", (4, 4, 1, 1), "weight", 2),
        ("cell0_input0/bias", (4,), "bias", 2),
    )
    assert plan.slots[-2:] == (("classifier/weight", (7, 32), "weight", 27), ("classifier/bias", (7,), "bias", 27))


def test_a_batch_norm_takes_the_place_of_the_bias() -> None:
    plan = build_plan(replace(SMALL, batch_norm=True), Task((3, 8, 8), 7))
    assert plan.slots[:3] == (
        ("stem/weight", (4, 3, 3, 3), "weight", 1),
        ("stem/norm_weight", (4,), "norm_weight", 1),
        ("stem/norm_bias", (4,), "norm_bias", 1),
    )
    assert plan.slots[-1].name == "classifier/bias"


def test_only_branches_that_read_a_reduction_cells_inputs_have_a_stride() -> None:
    plan = build_plan(SMALL, Task((3, 8, 8), 7))
    assert node(plan, "cell1_step0_left_pool") == (3, 2, 1, 1)
    assert node(plan, "cell1_step1_left_depthwise") == (5, 2, 1, 8)
    assert node(plan, "cell1_step1_left_pointwise") == (1, 1, 1, 1)
    assert node(plan, "cell1_step1_right_pool") == (3, 1, 1, 1)


def test_the_input_before_a_reduction_is_halved_to_the_size_of_the_other() -> None:
    plan = build_plan(SMALL, Task((3, 8, 8), 7))
    assert node(plan, "cell2_input0") == (1, 2, 1, 1)
    assert node(plan, "cell2_input1") == (1, 1, 1, 1)


def test_a_stem_can_have_a_stride_and_odd_sizes_round_up() -> None:
    plan = build_plan(replace(SMALL, stem_stride=2), Task((3, 9, 5), 7))
    assert plan.nodes[1].shape == (4, 5, 3)
    assert plan.nodes[-3].shape == (32, 2, 1)


def test_an_input_that_no_step_reads_is_not_built() -> None:
    only_previous = ((Branch(1, "conv", 3), Branch(1, "skip", 1)),)
    genotype = replace(SMALL, normal=only_previous)
    assert genotype.projections(genotype.contexts[0]) == [1]
    names = {node.name for node in build_plan(genotype, Task((3, 8, 8), 7)).nodes}
    assert "cell0_input1" in names
    assert "cell0_input0" not in names


def test_without_projections_operations_read_inputs_of_all_shapes() -> None:
    residual = ((Branch(1, "conv", 3), Branch(0, "skip", 1)),)
    genotype = replace(SMALL, cells=7, normal=residual, reduction=residual, projected=False)
    plan = build_plan(genotype, Task((3, 16, 16), 7))
    named = {node.name: node for node in plan.nodes}
    assert not [name for name in named if "input" in name]
    # cells 2 and 4 reduce: channels 4, 8, 16; a cell's state 0 is the cell before the previous one
    assert node(plan, "cell2_step0_left_conv") == (3, 2, 1, 1)
    assert (named["cell2_step0_left_conv"].channels_in, named["cell2_step0_left_conv"].shape) == (4, (8, 8, 8))
    assert node(plan, "cell2_step0_right_skip") == (1, 2, 1, 1)
    assert node(plan, "cell3_step0_right_skip") == (1, 2, 1, 1)
    assert [plan.nodes[source].name for source in named["cell1_step0"].inputs] == ["cell1_step0_left_conv", "stem"]
    assert [plan.nodes[source].name for source in named["cell6_step0"].inputs] == [
        "cell6_step0_left_conv",
        "cell4_step0",
    ]


def test_without_projections_only_steps_that_no_step_reads_are_put_together() -> None:
    first, second, third = (
        (Branch(1, "conv", 3),),
        (Branch(2, "conv", 5), Branch(1, "skip", 1)),
        (Branch(0, "conv", 3),),
    )
    cell = (first, second, third)
    genotype = replace(SMALL, cells=3, normal=cell, reduction=cell, projected=False)
    assert [context.input_channels for context in genotype.contexts] == [(4, 4), (4, 8), (8, 16)]
    plan = build_plan(genotype, Task((3, 16, 16), 7))
    (output,) = (node for node in plan.nodes if node.name == "cell0_output")
    assert [plan.nodes[source].name for source in output.inputs] == ["cell0_step1", "cell0_step2_left_conv"]
    chain = replace(genotype, normal=(first,), reduction=(first,))
    assert [one.name for one in build_plan(chain, Task((3, 16, 16), 7)).nodes] == [
        "image", "stem", *(f"cell{place}_step0_left_conv" for place in range(3)), "pool", "classifier",
    ]  # fmt: skip


def test_the_channels_of_cells_double_at_each_reduction() -> None:
    contexts = replace(SMALL, cells=7).contexts
    assert [context.channels for context in contexts] == [4, 4, 8, 8, 16, 16, 16]
    assert [context.reduction for context in contexts] == [position in (2, 4) for position in range(7)]
    assert [context.input_channels for context in contexts] == [
        (4, 4), (4, 4), (4, 4), (4, 16), (16, 8), (8, 32), (32, 16),
    ]  # fmt: skip
    assert [context.input_strides for context in contexts] == [
        (1, 1), (1, 1), (1, 1), (2, 1), (1, 1), (2, 1), (1, 1),
    ]  # fmt: skip


def test_every_node_carries_the_bits_and_the_image_always_has_eight() -> None:
    plan = build_plan(SMALL.with_bits(Bits(2, 3)), Task((3, 8, 8), 7))
    assert plan.nodes[0].bits.activations == 8
    assert {node.bits for node in plan.nodes[1:]} == {Bits(2, 3)}
    assert {node.bits for node in build_plan(SMALL, Task((3, 8, 8), 7)).nodes} == {FP32}


def test_max_pools_and_logits_are_not_rounded() -> None:
    plan = build_plan(SMALL, Task((3, 8, 8), 7))
    assert {node.kind for node in plan.nodes if not node.quantized} == {"max_pool", "linear"}


@pytest.mark.parametrize("name", space_names())
def test_plans_are_in_topological_order_with_unique_names(name: str, draw: Callable[..., list[Plan]]) -> None:
    for plan in draw(name, "id", 10):
        assert all(source < place for place, node in enumerate(plan.nodes) for source in node.inputs)
        assert len({node.name for node in plan.nodes}) == len(plan.nodes)
        assert len({slot.name for slot in plan.slots}) == len(plan.slots)


@pytest.mark.parametrize("name", space_names())
def test_every_node_but_the_classifier_is_read(name: str, draw: Callable[..., list[Plan]]) -> None:
    for plan in draw(name, "id", 10):
        read = {source for node in plan.nodes for source in node.inputs}
        assert read == set(range(len(plan.nodes) - 1))


def test_every_node_of_a_mixed_network_has_the_widths_written_out_by_hand() -> None:
    assert {node.name: node.bits for node in build_plan(MIXED, Task((3, 8, 8), 7)).nodes} == WIDTHS


def test_widths_change_nothing_else_of_a_plan() -> None:
    mixed, uniform = (build_plan(genotype, Task((3, 8, 8), 7)) for genotype in (MIXED, SMALL))
    assert [node._replace(bits=FP32) for node in mixed.nodes] == list(uniform.nodes)
    assert (mixed.slots, mixed.classes) == (uniform.slots, uniform.classes)


@pytest.mark.parametrize("bits", [Bits(2, 2), Bits(4, 8), Bits(8, 4)], ids=str)
def test_a_mixed_network_of_equal_widths_is_built_as_the_uniform_one(genotype: Genotype, bits: Bits) -> None:
    for plain in (genotype, SMALL, replace(SMALL, cells=5)):
        normal, reduction = (
            tuple((left._replace(bits=(bits,) * count), right._replace(bits=(bits,) * count)) for left, right in cell)
            for cell, count in ((plain.normal, plain.cells - 2), (plain.reduction, 2))
        )
        mixed = replace(plain, normal=normal, reduction=reduction, layer_bits=(bits,) * (plain.cells + 2))
        assert mixed.is_mixed
        assert build_plan(mixed, Task((3, 8, 8), 7)) == build_plan(plain.with_bits(bits), Task((3, 8, 8), 7))


def test_the_weight_bytes_of_a_mixed_network_are_a_sum_made_by_hand() -> None:
    packed = {  # weights x bits / 8
        "stem": 54,
        "cell0": 10 + 10 + 36,
        "cell1": 12 + 12 + 24 + 150 + 48,
        "cell2": 56 + 224 + 160 + 100 + 64,
        "classifier": 56,
    }
    channels = 4 + 3 * 4 + 5 * 8 + 5 * 16 + 7
    assert weight_bytes(build_plan(MIXED, Task((3, 8, 8), 7))) == sum(packed.values()) + 4 * channels
