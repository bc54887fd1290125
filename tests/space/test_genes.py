"""Any choice of genes held against the rules of its space, and the gene table against the space's own choices."""

from dataclasses import replace
from itertools import combinations_with_replacement, islice, product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnas.network.build import build_plan
from qnas.quant.scheme import FP32, MIXED, Bits
from qnas.sampling.generator import stream
from qnas.space.cells import PREVIOUS
from qnas.space.genes import decode, encode, gene_choices, genes_at, operation_choices, places_of
from qnas.space.genotype import Genotype
from qnas.space.operations import OPERATIONS, learning
from qnas.space.space import SearchSpace, find_space

SPACES = [find_space("tiny"), find_space("mobile"), find_space("mobile-bnfree"), find_space("mobile").of_split("deep")]
ONE_OF_EACH = replace(
    find_space("tiny"), operations=("max_pool", "skip", "dil_conv"), kernels=(5,), cells=(3, 3), steps=(2, 2)
)
Genes = dict[str, Any]


@st.composite
def spaces_and_genes(draw: st.DrawFn) -> tuple[SearchSpace, Genes]:
    space = draw(st.sampled_from([*SPACES, ONE_OF_EACH]))
    return space, {name: draw(st.sampled_from(choices)) for name, choices in gene_choices(space).items()}


@st.composite
def spaces_and_mixed_genes(draw: st.DrawFn) -> tuple[SearchSpace, Genes]:
    space, rng = draw(st.sampled_from([*SPACES, ONE_OF_EACH])), draw(st.randoms(use_true_random=False))
    return space, {name: rng.choice(choices) for name, choices in gene_choices(space, MIXED).items()}


def widths_of(genotype: Genotype) -> set[Bits]:
    """All widths that a mixed genotype lists, used or not."""
    branches = [branch for cell in (genotype.normal, genotype.reduction) for step in cell for branch in step]
    return {*genotype.layer_bits, *(bits for branch in branches for bits in branch.bits)}


def first_genes(space: SearchSpace) -> Genes:
    return {name: choices[0] for name, choices in gene_choices(space).items()}


@given(spaces_and_genes())
def test_any_choice_of_genes_is_a_genotype_of_the_space(drawn: tuple[SearchSpace, Genes]) -> None:
    space, genes = drawn
    genotype = decode(space, genes, Bits(4, 4))
    space.check(genotype)
    assert space.steps[0] <= len(genotype.reduction) <= space.steps[1]
    for cell in filter(None, (genotype.normal, genotype.reduction)):
        branches = [branch for step in cell for branch in step]
        assert any(branch.operation in learning() for branch in branches)
        assert any(branch.state == PREVIOUS for branch in branches)
        kernels = {branch.kernel for branch in branches if OPERATIONS[branch.operation].kernel is None}
        assert kernels <= set(space.kernels)


@given(spaces_and_genes())
def test_any_choice_of_genes_can_be_built(drawn: tuple[SearchSpace, Genes]) -> None:
    space, genes = drawn
    plan = build_plan(decode(space, genes, FP32), space.task)
    read = {source for node in plan.nodes for source in node.inputs}
    assert read == set(range(len(plan.nodes) - 1))


@given(spaces_and_genes())
def test_genotypes_are_canonical(drawn: tuple[SearchSpace, Genes]) -> None:
    space, genes = drawn
    genotype = decode(space, genes, FP32)
    assert genotype == genotype.canonical()


@given(spaces_and_genes())
def test_decoding_is_deterministic(drawn: tuple[SearchSpace, Genes]) -> None:
    space, genes = drawn
    assert decode(space, genes, FP32) == decode(space, dict(reversed(genes.items())), FP32)


@given(spaces_and_genes())
def test_outer_sizes_and_bits_are_taken_as_they_are(drawn: tuple[SearchSpace, Genes]) -> None:
    space, genes = drawn
    genotype = decode(space, genes, Bits(4, 8))
    outer = (genotype.stem_kernel, genotype.stem_stride, genotype.channels, genotype.cells, genotype.batch_norm)
    assert outer == tuple(genes[key] for key in ("stem_kernel", "stem_stride", "channels", "cells", "batch_norm"))
    assert genotype.bits == Bits(4, 8)
    assert len(genotype.reduction) == genes["steps"]


@given(spaces_and_genes(), st.randoms(use_true_random=False))
def test_genes_of_steps_that_are_not_there_change_nothing(drawn: tuple[SearchSpace, Genes], random: Any) -> None:
    space, genes = drawn
    unused = {
        name: random.choice(choices)
        for name, choices in gene_choices(space).items()
        if any(f"{cell}{step}_" in name for cell in ("normal", "reduction") for step in range(genes["steps"], 9))
    }
    assert decode(space, {**genes, **unused}, FP32) == decode(space, genes, FP32)


def test_a_cell_that_keeps_the_rules_is_left_as_it_is() -> None:
    space = find_space("tiny")
    genes = first_genes(space) | {
        "cells": 2,
        "steps": 1,
        "reduction0_left": "sep_conv 5",
        "reduction0_left_state": 1,
        "reduction0_right": "skip 1",
        "reduction0_right_state": 0,
    }
    found = {branch[:3] for branch in decode(space, genes, FP32).reduction[0]}
    assert found == {(1, "sep_conv", 5), (0, "skip", 1)}


@pytest.mark.parametrize("space", [*SPACES, ONE_OF_EACH], ids=lambda space: f"{space.name}-{space.split}")
def test_genes_offer_every_choice_of_the_space(space: SearchSpace) -> None:
    choices = gene_choices(space)
    assert choices["stem_kernel"] == space.stem_kernels
    assert choices["stem_stride"] == space.stem_strides
    assert choices["channels"] == space.channels
    assert (choices["cells"][0], choices["cells"][-1]) == space.cells
    assert (choices["steps"][0], choices["steps"][-1]) == space.steps
    assert len(choices["cells"]) == space.cells[1] - space.cells[0] + 1
    for cell in ("normal", "reduction"):
        for step in range(space.steps[1]):
            for side in ("left", "right"):
                assert choices[f"{cell}{step}_{side}_state"] == tuple(range(2 + step))
                assert choices[f"{cell}{step}_{side}"] == operation_choices(space)
    assert len(choices) == 6 + (8 + 2 * (space.branches == (1, 2))) * space.steps[1]


def test_operations_come_with_each_of_their_kernels() -> None:
    assert operation_choices(ONE_OF_EACH) == ("max_pool 3", "skip 1", "dil_conv 5")
    names = ("conv", "sep_conv", "dil_conv")
    convolutions = {f"{name} {kernel}" for name in names for kernel in (3, 5, 7)}
    found = operation_choices(find_space("mobile"))
    assert set(found) == {*convolutions, "max_pool 3", "avg_pool 3", "skip 1"}
    assert len(found) == 12


@pytest.mark.parametrize(
    ("share", "choices"), [(0.0, (False,)), (1.0, (True,)), (0.5, (True, False)), (0.8, (True, False))]
)
def test_batch_norm_is_a_gene_where_both_are_possible(share: float, choices: tuple[bool, ...]) -> None:
    assert gene_choices(replace(find_space("tiny"), batch_norm=share))["batch_norm"] == choices


def test_choices_are_plain_values_that_json_can_hold() -> None:
    values = [value for choices in gene_choices(find_space("mobile")).values() for value in choices]
    assert {type(value) for value in values} == {int, str, bool}


def test_every_network_of_a_small_space_can_be_chosen() -> None:
    small = {"operations": ("conv", "skip"), "kernels": (3,), "channels": (8,), "stem_kernels": (3,)}
    space = replace(find_space("tiny"), cells=(2, 2), steps=(1, 1), batch_norm=1.0, **small)
    choices = gene_choices(space)
    every = (dict(zip(choices, values, strict=True)) for values in product(*choices.values()))
    found = {tuple(sorted(branch[:2] for branch in decode(space, genes, FP32).reduction[0])) for genes in every}
    branches = [(state, operation) for state in (0, 1) for operation in ("conv", "skip")]
    assert found == {
        (left, right)
        for left, right in combinations_with_replacement(branches, 2)
        if 1 in (left[0], right[0]) and "conv" in (left[1], right[1])
    }


@pytest.mark.parametrize("space", [*SPACES, ONE_OF_EACH], ids=lambda space: f"{space.name}-{space.split}")
def test_widths_are_genes_only_where_they_are_given(space: SearchSpace) -> None:
    plain, mixed = gene_choices(space), gene_choices(space, (Bits(2, 2), Bits(4, 8)))
    added = {name: choices for name, choices in mixed.items() if name not in plain}
    assert {name: mixed[name] for name in plain} == plain
    assert not any(name.startswith("bits_") for name in plain)
    assert all(name.startswith("bits_") for name in added)
    assert set(added.values()) == {("w2a2", "w4a8")}
    assert len(added) == 2 + space.cells[1] * (1 + 2 * space.steps[1])


@given(spaces_and_mixed_genes())
def test_any_choice_of_mixed_genes_has_only_the_widths_on_offer(drawn: tuple[SearchSpace, Genes]) -> None:
    space, genes = drawn
    genotype = decode(space, genes, FP32)
    space.check(genotype)
    assert genotype == genotype.canonical()
    assert Genotype.from_json(genotype.to_json()) == genotype
    plan = build_plan(genotype, space.task)
    layers = [node.bits for node in plan.nodes if node.kind in ("conv", "linear")]
    assert set(layers) <= set(MIXED)
    assert genotype.is_mixed == (len(set(layers)) > 1)
    most = (max(bits.weights for bits in layers), max(bits.activations for bits in layers))
    assert (genotype.bits.weights, genotype.bits.activations) == most
    assert widths_of(genotype) <= {*MIXED, Bits(*most)}


@given(spaces_and_mixed_genes())
def test_widths_change_nothing_else(drawn: tuple[SearchSpace, Genes]) -> None:
    space, genes = drawn
    plain = {name: value for name, value in genes.items() if not name.startswith("bits_")}
    mixed, uniform = decode(space, genes, FP32), decode(space, plain, FP32)
    assert not uniform.is_mixed
    assert mixed.with_bits(FP32).canonical() == uniform


@given(spaces_and_mixed_genes(), st.sampled_from(MIXED))
def test_equal_width_genes_give_a_uniform_network(drawn: tuple[SearchSpace, Genes], bits: Bits) -> None:
    space, genes = drawn
    plain = {name: value for name, value in genes.items() if not name.startswith("bits_")}
    equal = {name: str(bits) for name in genes.keys() - plain.keys()}
    assert decode(space, plain | equal, FP32) == decode(space, plain, bits)


@given(spaces_and_mixed_genes())
def test_stem_inputs_and_classifier_have_the_widths_of_their_genes(drawn: tuple[SearchSpace, Genes]) -> None:
    space, genes = drawn
    nodes = build_plan(decode(space, genes, FP32), space.task).nodes
    found = {node.name: str(node.bits) for node in nodes}
    assert (found["stem"], found["classifier"]) == (genes["bits_stem"], genes["bits_classifier"])
    for cell in range(genes["cells"]):
        assert found[f"cell{cell}_input1"] == genes[f"bits_cell{cell}_inputs"]


def test_branches_have_the_widths_of_their_genes_in_each_cell() -> None:
    space = find_space("tiny")
    genes = {name: choices[0] for name, choices in gene_choices(space, MIXED).items()} | {
        "cells": 3,
        "steps": 1,
        **{f"{cell}0_{side}_state": 1 for cell in ("normal", "reduction") for side in ("left", "right")},
        **{f"{cell}0_left": "conv 3" for cell in ("normal", "reduction")},
        **{f"{cell}0_right": "sep_conv 3" for cell in ("normal", "reduction")},
    }
    wanted = {
        ("cell0", "conv"): "w4a4",
        ("cell0", "depthwise"): "w2a2",
        ("cell1", "conv"): "w8a8",
        ("cell1", "depthwise"): "w4a8",
        ("cell2", "conv"): "w4a8",
        ("cell2", "depthwise"): "w4a4",
    }
    sides = {"conv": "left", "depthwise": "right"}
    genes |= {f"bits_{cell}_0_{sides[layer]}": bits for (cell, layer), bits in wanted.items()}
    nodes = build_plan(decode(space, genes, FP32), space.task).nodes
    found = {(node.name.split("_")[0], node.name.split("_")[-1]): str(node.bits) for node in nodes}
    assert {key: found[key] for key in wanted} == wanted
    assert all(found[cell, "pointwise"] == found[cell, "depthwise"] for cell in ("cell0", "cell1", "cell2"))


@given(spaces_and_mixed_genes(), st.randoms(use_true_random=False))
def test_width_genes_of_cells_and_steps_that_are_not_there_change_nothing(
    drawn: tuple[SearchSpace, Genes], random: Any
) -> None:
    space, genes = drawn
    choices = gene_choices(space, MIXED)
    there = {f"bits_cell{cell}_inputs" for cell in range(genes["cells"])} | {"bits_stem", "bits_classifier"}
    for cell, step in product(range(genes["cells"]), range(genes["steps"])):
        there |= {f"bits_cell{cell}_{step}_{side}" for side in ("left", "right")}
    away = {name for name in choices if name.startswith("bits_")} - there
    assert len(away) == len(choices) - len(gene_choices(space)) - len(there)
    assert decode(space, {**genes, **{name: random.choice(choices[name]) for name in away}}, FP32) == decode(
        space, genes, FP32
    )
    other = next(str(bits) for bits in MIXED if str(bits) != genes["bits_stem"])
    assert decode(space, {**genes, "bits_stem": other}, FP32) != decode(space, genes, FP32)


def test_choices_of_widths_are_text_that_json_can_hold() -> None:
    names = [
        value for name, values in gene_choices(find_space("tiny"), MIXED).items() if "bits" in name for value in values
    ]
    assert {type(name) for name in names} == {str}
    assert {Bits.parse(name) for name in names} == set(MIXED)


@pytest.mark.parametrize("name", ["tiny", "fashion", "mobile", "mobile-small"])
def test_a_genotype_has_genes_that_decode_to_it(name: str) -> None:
    space = find_space(name)
    for genotype in islice(stream(space, 0, bits=Bits(4, 4)), 20):
        if len(genotype.normal) in (0, len(genotype.reduction)):
            assert decode(space, encode(space, genotype), Bits(4, 4)) == genotype
            mixed = decode(space, encode(space, genotype, MIXED), Bits(8, 8))
            assert mixed == genotype.with_bits(MIXED[0])


@given(spaces_and_mixed_genes())
def test_genes_come_back_from_their_places(drawn: tuple[SearchSpace, Genes]) -> None:
    space, genes = drawn
    choices = gene_choices(space, MIXED)
    places = places_of(choices, genes)
    assert all(values[place] == genes[name] for (name, values), place in zip(choices.items(), places, strict=True))
    assert genes_at(choices, places) == genes
