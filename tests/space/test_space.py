"""Search spaces: every shipped one loads, and every mistake in a file is named with its rule, value and next step."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from qnas.errors import QnasError
from qnas.quant.scheme import FP32, Bits
from qnas.sampling.generator import stream
from qnas.space.cells import Branch, Cell
from qnas.space.genes import decode, gene_choices
from qnas.space.genotype import Genotype
from qnas.space.operations import OPERATIONS, learning
from qnas.space.space import SPLITS, SearchSpace, find_space, read_space, space_names
from qnas.task import Task

GOOD = """
operations = ["conv", "skip"]
kernels = [3, 5]
cells = [2, 4]
steps = [1, 3]
channels = [8, 16]
stem_kernels = [3]
stem_strides = [1]
batch_norm = 0.5
max_params = 1000
max_macs = 0
image = [1, 8, 8]
classes = 10

[splits.deep]
cells = [5, 9]
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_papers_spaces_and_the_embedded_one_are_shipped() -> None:
    assert {"mobile", "mobile-bnfree", "tiny"} <= set(space_names())


@pytest.mark.parametrize("name", space_names())
def test_every_shipped_space_loads_with_its_splits(name: str) -> None:
    space = find_space(name)
    assert space.name == name
    assert {split: space.of_split(split).split for split in ("id", *space.overrides)} == {
        split: split for split in ("id", *space.overrides)
    }


def test_the_mobile_space_is_that_of_the_paper() -> None:
    space = find_space("mobile")
    assert set(space.operations) == {"conv", "sep_conv", "dil_conv", "max_pool", "avg_pool", "skip"}
    assert (space.kernels, space.max_params, space.task.image) == ((3, 5, 7), 10_000_000, (3, 32, 32))
    assert (space.cells, space.of_split("deep").cells) == ((4, 18), (10, 36))
    assert space.of_split("wide").channels == tuple(4 * channels for channels in space.channels)
    assert space.of_split("bn_free").batch_norm == 0
    assert find_space("mobile-bnfree").batch_norm == 0


def test_a_file_is_read_as_it_stands(tmp_path: Path) -> None:
    space = read_space(written(tmp_path, GOOD))
    assert space == SearchSpace(
        name="mine", operations=("conv", "skip"), kernels=(3, 5), cells=(2, 4), steps=(1, 3), channels=(8, 16),
        stem_kernels=(3,), stem_strides=(1,), batch_norm=0.5, max_params=1000, max_macs=0, task=Task((1, 8, 8), 10),
        overrides={"deep": {"cells": (5, 9)}},
    )  # fmt: skip


def test_a_path_ending_in_toml_is_a_file(tmp_path: Path) -> None:
    assert find_space(str(written(tmp_path, GOOD))).name == "mine"


def test_a_split_changes_only_what_it_states(tmp_path: Path) -> None:
    space = read_space(written(tmp_path, GOOD))
    assert replace(space.of_split("deep"), split="id", cells=(2, 4)) == space


def test_underscores_and_whole_floats_are_numbers(tmp_path: Path) -> None:
    space = read_space(written(tmp_path, GOOD.replace("max_params = 1000", "max_params = 1e7")))
    assert (space.max_params, type(space.max_params)) == (10_000_000, int)


def test_limits_can_be_counted_for_other_images(tmp_path: Path) -> None:
    space = read_space(written(tmp_path, GOOD)).for_task(Task((3, 32, 24), 7))
    assert (space.task, space.max_params) == (Task((3, 32, 24), 7), 1000)


MISTAKES = {
    "unknown key": (
        "kernels =", "kernel =",
        "Search space 'mine': unknown key 'kernel'; did you mean 'kernels'?",
    ),
    "unknown split": (
        "[splits.deep]", "[splits.depe]",
        "Search space 'mine': unknown split 'depe'; did you mean 'deep'?",
    ),
    "unknown key in a split": (
        "cells = [5, 9]", "cell = [5, 9]",
        "Search space 'mine': unknown key 'cell'; did you mean 'cells'?",
    ),
    "unknown operation": (
        '"conv"', '"convv"',
        "Search space 'mine': operations has an unusable value, 'convv'; did you mean 'conv'?",
    ),
    "missing key": (
        "classes = 10\n", "",
        "Search space 'mine': classes is missing; copy it from a shipped space.",
    ),
    "splits are no tables": (
        "[splits.deep]\ncells = [5, 9]", "[splits]\ndeep = 3",
        "Search space 'mine': splits must be tables such as [splits.deep]; correct the file.",
    ),
    "a word for a list": (
        'operations = ["conv", "skip"]', 'operations = "conv"',
        "Search space 'mine': operations must be a list of names, got 'conv'; correct it in the file.",
    ),
    "numbers for names": (
        'operations = ["conv", "skip"]', "operations = [3]",
        "Search space 'mine': operations must be a list of names, got [3]; correct it in the file.",
    ),
    "a number for a list": (
        "kernels = [3, 5]", "kernels = 3",
        "Search space 'mine': kernels must be a list of whole numbers, got 3; correct it in the file.",
    ),
    "fractions for whole numbers": (
        "kernels = [3, 5]", "kernels = [3.5]",
        "Search space 'mine': kernels must be a list of whole numbers, got [3.5]; correct it in the file.",
    ),
    "a truth for a number": (
        "max_params = 1000", "max_params = true",
        "Search space 'mine': max_params must be a whole number, got True; correct it in the file.",
    ),
    "a fraction for a whole number": (
        "classes = 10", "classes = 2.5",
        "Search space 'mine': classes must be a whole number, got 2.5; correct it in the file.",
    ),
    "a word for a number": (
        "batch_norm = 0.5", 'batch_norm = "half"',
        "Search space 'mine': batch_norm must be a number, got 'half'; correct it in the file.",
    ),
    "even kernel": (
        "kernels = [3, 5]", "kernels = [3, 4]",
        "Search space 'mine': kernels has an unusable value, [3, 4]; use odd sizes such as 3, 5 and 7.",
    ),
    "even stem kernel": (
        "stem_kernels = [3]", "stem_kernels = [2]",
        "Search space 'mine': stem_kernels has an unusable value, [2]; use odd sizes such as 3, 5 and 7.",
    ),
    "no choice": (
        "channels = [8, 16]", "channels = []",
        "Search space 'mine': channels has an unusable value, []; give at least one choice.",
    ),
    "nothing to learn": (
        '["conv", "skip"]', '["skip"]',
        "Search space 'mine': operations has an unusable value, ['skip']; add one of conv, conv1x1, sep_conv, "
        "dil_conv, mb_conv3, mb_conv6.",
    ),
    "most below fewest": (
        "steps = [1, 3]", "steps = [3, 1]",
        "Search space 'mine': steps has an unusable value, [3, 1]; give the fewest and the most, such as [2, 4].",
    ),
    "no pair": (
        "cells = [2, 4]", "cells = [2]",
        "Search space 'mine': cells has an unusable value, [2]; give the fewest and the most, such as [2, 4].",
    ),
    "no cells": (
        "cells = [2, 4]", "cells = [0, 4]",
        "Search space 'mine': cells has an unusable value, [0, 4]; give the fewest and the most, such as [2, 4].",
    ),
    "no pair in a split": (
        "cells = [5, 9]", "cells = [9, 5]",
        "Search space 'mine': cells has an unusable value, [9, 5]; give the fewest and the most, such as [2, 4].",
    ),
    "no probability": (
        "batch_norm = 0.5", "batch_norm = 1.5",
        "Search space 'mine': batch_norm has an unusable value, 1.5; give a probability from 0 to 1.",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("right", "wrong", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_says_rule_value_and_next_step(tmp_path: Path, right: str, wrong: str, message: str) -> None:
    assert right in GOOD
    with pytest.raises(QnasError) as error:
        read_space(written(tmp_path, GOOD.replace(right, wrong, 1)))
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("channels = [8, 16]", "channels = [8, 0]"),
        ("stem_strides = [1]", "stem_strides = [0]"),
        ("max_params = 1000", "max_params = 0"),
        ("max_macs = 0", "max_macs = -1"),
    ],
)
def test_sizes_must_be_positive(tmp_path: Path, right: str, wrong: str) -> None:
    with pytest.raises(QnasError, match=r"^Search space 'mine': .* has an unusable value, .*; use positive numbers\.$"):
        read_space(written(tmp_path, GOOD.replace(right, wrong)))


@pytest.mark.parametrize(
    ("right", "wrong", "got"),
    [
        ("classes = 10", "classes = -10", "(1, 8, 8) and -10"),
        ("image = [1, 8, 8]", "image = [8, 8]", "(8, 8) and 10"),
        ("image = [1, 8, 8]", "image = [1, 8, 0]", "(1, 8, 0) and 10"),
    ],
)
def test_a_task_that_no_network_can_be_built_for_is_refused(tmp_path: Path, right: str, wrong: str, got: str) -> None:
    with pytest.raises(QnasError) as error:
        read_space(written(tmp_path, GOOD.replace(right, wrong)))
    assert str(error.value) == (
        "Search space 'mine': A task has images of (channels, height, width) and classes, each 1 or more, got "
        f"{got}; correct them."
    )


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none.toml"
    with pytest.raises(QnasError) as error:
        find_space(str(path))
    assert str(error.value).startswith(f"{path} cannot be read as a search space ([Errno 2] No such file")
    assert str(error.value).endswith("; a search space is a TOML file; check the path, or copy a shipped one.")


@pytest.mark.parametrize("content", [b"cells = [", b"\xff\xfe", b"a = 1\na = 2"], ids=["cut off", "no UTF-8", "twice"])
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(QnasError, match=r"bad\.toml cannot be read as a search space \(.*\); a search space is a TOML"):
        read_space(path)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(QnasError) as error:
        find_space("mobil")
    assert str(error.value) == "No search space is called 'mobil'; did you mean 'mobile'?"


def test_an_unknown_split_is_answered_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(QnasError) as error:
        read_space(written(tmp_path, GOOD)).of_split("deeep")
    assert str(error.value) == "Space 'mine' has no split 'deeep'; did you mean 'deep'?"


def test_a_split_that_the_file_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(QnasError, match=r"Space 'mine' has no split 'bn_free'; choose from: deep, id\."):
        read_space(written(tmp_path, GOOD)).of_split("bn_free")


def test_the_names_of_splits_and_of_operations_that_learn_are_known() -> None:
    assert SPLITS == ("id", "deep", "wide", "bn_free")
    assert set(learning()) < set(OPERATIONS)


STEP = ((Branch(1, "conv", 3), Branch(0, "skip", 1)),)
FITTING = Genotype(3, 1, 8, 4, True, STEP, STEP, Bits(4, 4))


def test_a_genotype_of_the_space_passes_its_check(tmp_path: Path) -> None:
    read_space(written(tmp_path, GOOD)).check(FITTING)


@pytest.mark.parametrize(
    ("genotype", "message"),
    [
        (replace(FITTING, stem_kernel=5), "stem_kernels [3], got 5"),
        (replace(FITTING, stem_stride=2), "stem_strides [1], got 2"),
        (replace(FITTING, channels=12), "channels [8, 16], got 12"),
        (replace(FITTING, cells=5), "cells [2, 3, 4], got 5"),
        (replace(FITTING, normal=((Branch(1, "max_pool", 3),) * 2,)), "operations ['conv', 'skip'], got 'max_pool'"),
        (replace(FITTING, reduction=((Branch(1, "max_pool", 3),) * 2,)), "operations ['conv', 'skip'], got 'max_pool'"),
    ],
    ids=["stem kernel", "stem stride", "channels", "cells", "normal cell", "reduction cell"],
)
def test_the_first_choice_outside_the_space_is_named(tmp_path: Path, genotype: Genotype, message: str) -> None:
    with pytest.raises(QnasError) as error:
        read_space(written(tmp_path, GOOD)).check(genotype)
    assert str(error.value) == f"Space 'mine' allows {message}; take another `space`."


@pytest.mark.parametrize("value", ["inf", "nan"])
def test_a_number_without_end_is_refused_as_any_other_wrong_type(tmp_path: Path, value: str) -> None:
    with pytest.raises(QnasError, match=f"max_params must be a whole number, got {value}; correct it in the file"):
        read_space(written(tmp_path, GOOD.replace("max_params = 1000", f"max_params = {value}")))


@pytest.mark.parametrize(
    "cell",
    [((Branch(1, "conv", 9), Branch(0, "skip", 1)),), STEP * 4],
    ids=["kernel", "steps"],
)
def test_kernels_and_steps_outside_the_space_are_refused_too(tmp_path: Path, cell: Cell) -> None:
    with pytest.raises(QnasError):
        read_space(written(tmp_path, GOOD)).check(replace(FITTING, normal=cell))


def test_a_split_of_a_split_changes_only_what_it_states_itself(tmp_path: Path) -> None:
    space = read_space(written(tmp_path, GOOD))
    assert space.of_split("deep").of_split("id") == space


def test_a_space_is_its_own_id_split(tmp_path: Path) -> None:
    space = read_space(written(tmp_path, GOOD.replace("[splits.deep]", "[splits.id]")))
    assert space.of_split("id").cells == space.cells


def test_a_space_of_before_projections_could_be_left_out_keeps_its_hash() -> None:
    space = find_space("tiny")
    assert not {"projected", "branches"} & set(space.to_json())
    assert replace(space, projected=0.5).to_json()["projected"] == 0.5
    assert replace(space, branches=(1, 2)).to_json()["branches"] == [1, 2]
    assert len({space.digest, replace(space, projected=0.5).digest, replace(space, branches=(1, 2)).digest}) == 3


@pytest.mark.parametrize("branches", [(1, 1), (2, 2), (1, 2)])
def test_draws_and_genes_have_as_many_branches_as_the_space_says(branches: tuple[int, int]) -> None:
    space = replace(find_space("tiny"), branches=branches)
    drawn = list(islice(stream(space, 0), 20))
    assert {len(step) for one in drawn for step in (*one.normal, *one.reduction)} == set(branches)
    for one in drawn:
        space.check(one)
    choices = gene_choices(space)
    assert choices.get("normal0_branches") == (None if branches[0] == branches[1] else (1, 2))
    assert ("normal0_right" in choices) == (branches[1] == 2)
    for number in range(2):
        genes = {name: of[number % len(of)] for name, of in choices.items()}
        space.check(decode(space, genes, FP32))
    for count in branches:
        other, one = (
            replace(space, branches=(3 - count,) * 2),
            next(one for one in drawn if len(one.reduction[0]) == count),
        )
        with pytest.raises(QnasError, match="allows branches"):
            other.check(one)


@pytest.mark.parametrize(("share", "allowed"), [(1.0, {True}), (0.0, {False}), (0.5, {True, False})])
def test_draws_and_genes_have_the_inputs_that_the_space_says(share: float, allowed: set[bool]) -> None:
    space = replace(find_space("tiny"), projected=share)
    drawn = list(islice(stream(space, 0), 20))
    assert {one.projected for one in drawn} == allowed
    for one in drawn:
        space.check(one)
    choices = gene_choices(space)
    assert set(choices.get("projected", allowed)) == allowed
    genes = {name: of[-1] for name, of in choices.items()}
    assert decode(space, genes, FP32).projected == (share == 1)
    if len(allowed) == 1:
        with pytest.raises(QnasError, match="allows projected"):
            space.check(replace(drawn[0], projected=not drawn[0].projected))
