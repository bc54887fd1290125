"""Exported C code: compiled under strict flags and sanitizers, it gives the integer network's logits, bit for bit."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qnas.data.images import DataSet
from qnas.errors import QnasError
from qnas.exporters.c import container, kernels, memory_of_c, sanitized, write_c
from qnas.exporters.compiled import FLAGS, classified, compare_c, compiled, find_compiler
from qnas.exporters.manifest import read_manifest
from qnas.exporters.onnx import packed
from qnas.exporters.winner import write_winner
from qnas.network.build import build_plan
from qnas.network.costs import peak_activation_bytes, weight_bytes
from qnas.network.deployed import DeployedNetwork, deploy
from qnas.network.grids import Grids
from qnas.network.handmade import HAND_MADE, HandMade
from qnas.network.initial import he_parameters
from qnas.network.integers import integer_network
from qnas.network.memory import Layout, scratch_bytes
from qnas.network.module import Network
from qnas.network.plan import Builder, Plan
from qnas.quant.choices import GRIDS as CHOICES
from qnas.quant.scheme import FP32, Bits
from qnas.space.cells import Branch
from qnas.space.genotype import Genotype
from qnas.task import Task
from qnas.training.qat import train_network
from qnas.training.recipe import Recipe

ALL = ["w8a8", "w4a8", "w4a4", "w2a2", "w5a6", "w3a4", "w8a2"]
SMALL = Genotype(3, 1, 8, 2, True, (), ((Branch(0, "conv", 3), Branch(1, "skip", 1)),), Bits(4, 4))
SANITIZED = (*FLAGS, "-pedantic", "-g", "-fsanitize=undefined,address", "-fno-sanitize-recover=all")
COLOUR = Task((3, 7, 6), 4, "made up", (), (100.0, 120.0, 140.0), (60.0, 50.0, 70.0))
PHOTO = Task((3, 32, 32), 10, "made up", (), (100.0, 120.0, 140.0), (60.0, 50.0, 70.0))
LEARNED = Grids()
compiles = pytest.mark.skipif(find_compiler() is None, reason="needs a C compiler")


def pixels_for(task: Task, count: int = 8) -> torch.Tensor:
    return torch.randint(0, 256, (count, *task.image), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def network_of(plan: Plan, task: Task, grids: Grids = LEARNED) -> DeployedNetwork:
    values = he_parameters(plan, torch.Generator().manual_seed(0))
    values |= {name: torch.randn(value.shape) * 0.1 for name, value in values.items() if name.endswith("bias")}
    network = Network(plan, values, (-2.0, 2.0), grids)
    network.calibrate([torch.randn(8, *task.image)])
    return deploy(network.eval())


def everything(bits: Bits, batch_norm: bool) -> Plan:
    """All kinds of nodes at odd sizes: see the test of integer networks."""
    builder = Builder(COLOUR, batch_norm, bits)
    stem = builder.conv("stem", 0, 5, 3)
    total = builder.sum("total", stem, builder.conv("linear", stem, 5, 1, relu=False))
    seen = builder.pool("seen", "max_pool", 0, 3, 1)
    dilated = builder.conv("dilated", total, 5, 3, dilation=2, groups=5)
    wide = builder.conv("wide", builder.pool("most", "max_pool", total, 3, 1), 18, 3, dilation=2)
    deep = builder.conv("deep", wide, 18, 5, groups=18)
    joined = builder.concat("joined", [total, builder.pool("mean", "avg_pool", dilated, 3, 1), deep, seen])
    small = builder.conv("small", joined, 4, 5, stride=2)
    return builder.classifier(builder.pool("last", "avg_pool", builder.conv("strided", small, 3, 3, 2), 3, 2))


def check_bits(network: DeployedNetwork, task: Task, folder: Path) -> None:
    """The compiled code's classes and logits are the integer network's."""
    pixels, integers = pixels_for(task), integer_network(network, task)
    compiler = find_compiler()
    assert compiler is not None
    classes, logits = classified(compiled(write_c(network, task), compiler, folder, SANITIZED), pixels)
    expected = integers(pixels)
    assert np.array_equal(logits, expected)
    assert np.array_equal(classes, expected.argmax(1))
    assert len(np.unique(expected)) > 4


@compiles
@pytest.mark.export
@pytest.mark.parametrize("batch_norm", [True, False], ids=["batch norm", "bias"])
@pytest.mark.parametrize("grid", CHOICES)
@pytest.mark.parametrize("bits", ALL)
def test_every_operation_at_all_bits_and_grids_gives_the_integers_of_python(
    bits: str, grid: str, batch_norm: bool, tmp_path: Path
) -> None:
    grids = Grids(grid)
    check_bits(network_of(everything(Bits.parse(bits), batch_norm), COLOUR, grids), COLOUR, tmp_path)


@pytest.mark.parametrize("grid", CHOICES)
def test_the_header_says_what_the_code_takes(grid: str) -> None:
    network = network_of(everything(Bits(4, 8), batch_norm=True), COLOUR, Grids(grid))
    integers, files = integer_network(network, COLOUR), write_c(network, COLOUR)
    sizes = {"uint8_t": 1, "int32_t": 4}
    arrays = re.findall(r"static const (\w+) \w+\[\] = \{\n([^}]*)\n\};", files["model.c"].decode())
    constants = sum(sizes[kind] * len(values.split(",")) for kind, values in arrays)
    assert memory_of_c(files) == (constants, Layout.of(integers.steps).arena + 3 * 7 * 6 + 4 * 4)


@compiles
@pytest.mark.export
@pytest.mark.parametrize("name", HAND_MADE)
@pytest.mark.parametrize("bits", ["w8a8", "w2a2"])
def test_hand_made_networks_give_the_integers_of_python(name: str, bits: str, tmp_path: Path) -> None:
    plan = build_plan(HandMade(name, 8, Bits.parse(bits), edges=8), PHOTO)
    check_bits(network_of(plan, PHOTO), PHOTO, tmp_path)


@pytest.mark.parametrize("bits", ["w8a8", "w4a8", "w4a4", "w2a2"])
@pytest.mark.parametrize("name", HAND_MADE)
def test_the_arena_and_the_scratch_in_it_are_no_more_than_the_package_counts(name: str, bits: str) -> None:
    """At the widths that memory holds exactly, scratch is made up for by layers that overwrite what they read."""
    plan = build_plan(HandMade(name, 16, Bits.parse(bits)), PHOTO)
    integers = integer_network(network_of(plan, PHOTO), PHOTO)
    scratch = max(scratch_bytes(integers.steps, place) for place in range(1, len(integers.steps)))
    arena = Layout.of(integers.steps).arena
    assert arena <= peak_activation_bytes(plan) + scratch
    if bits in ("w8a8", "w4a8"):
        slack = 1.02 if name == "basic_residual" else 1
        assert arena <= slack * peak_activation_bytes(plan)


@given(st.lists(st.integers(0, 255), min_size=1, max_size=40), st.sampled_from([2, 3, 4, 5, 8]))
def test_packed_integers_are_read_back(numbers: list[int], bits: int) -> None:
    integers, width = np.array(numbers) % (1 << bits), container(bits)
    content = packed(integers, width)
    assert content.size == -(-len(numbers) * width // 8)
    each = 8 // width
    found = [int(content[i // each]) >> width * (i % each) & (1 << width) - 1 for i in range(len(numbers))]
    assert found == integers.tolist()


@pytest.mark.parametrize(("bits", "width"), [(2, 2), (3, 4), (4, 4), (5, 8), (8, 8)])
def test_integers_are_stored_in_the_next_width_that_packs(bits: int, width: int) -> None:
    assert container(bits) == width


def number(files: dict[str, bytes], macro: str) -> int:
    return int(re.search(rf"#define {macro} (\d+)", files["model.h"].decode())[1])  # type: ignore[index]


def test_the_header_says_sizes_and_shapes() -> None:
    plan = everything(Bits(4, 4), True)
    files = write_c(network_of(plan, COLOUR), COLOUR)
    assert set(files) == {"model.c", "model.h", "main.c"}
    shape = [number(files, f"QNAS_{name}") for name in ("CHANNELS", "HEIGHT", "WIDTH", "CLASSES")]
    assert shape == [3, 7, 6, 4]
    channels = sum(node.shape[0] for node in plan.nodes if node.kind in ("conv", "linear"))
    least = weight_bytes(plan) + 5 * channels + 3 * 256
    assert least <= number(files, "QNAS_CONSTANT_BYTES") <= 1.3 * least
    assert b"float" not in files["model.c"].replace(b"floating", b"")
    assert b"double" not in files["model.c"]


@compiles
@pytest.mark.export
def test_a_network_whose_memory_is_too_large_does_not_compile(tmp_path: Path) -> None:
    files = write_c(network_of(everything(Bits(4, 4), True), COLOUR), COLOUR)
    arena, compiler = number(files, "QNAS_ARENA_BYTES"), find_compiler()
    assert compiler is not None
    compiled(files, compiler, tmp_path, (*FLAGS, f"-DQNAS_MAX_ARENA_BYTES={arena}"))
    with pytest.raises(QnasError, match="arena_fits"):
        compiled(files, compiler, tmp_path, (*FLAGS, f"-DQNAS_MAX_ARENA_BYTES={arena - 1}"))


def test_only_what_is_used_is_written() -> None:
    assert "static void maximum(" not in kernels({"convolve", "connect"})
    assert "static void dot(" in kernels({"convolve"})


def test_names_cannot_end_a_comment() -> None:
    assert sanitized("a*/b for c") == "a__b for c"


@pytest.fixture(scope="module")
def trained(digits_data: DataSet) -> Callable[[Bits], Network]:
    return lambda bits: train_network(SMALL.with_bits(bits), digits_data, Recipe(3), 0)


@pytest.mark.export
def test_a_winner_in_c_is_a_folder_whose_manifest_holds(
    trained: Callable[[Bits], Network], digits_data: DataSet, tmp_path: Path
) -> None:
    facts = {"settings": {"bits": "w4a4"}, "accuracy": {}}
    write_winner(tmp_path, SMALL, trained(Bits(4, 4)), digits_data, facts, "c")
    assert {"model.c", "model.h", "main.c", "manifest.json"} <= {path.name for path in tmp_path.iterdir()}
    manifest = read_manifest(tmp_path)
    assert (manifest["model"], manifest["parity"]["images"]) == ("model.c", 360)
    assert manifest["parity"]["runtime"] == ("c" if find_compiler() else "integers")
    assert {"model.c", "model.h", "main.c"} < set(manifest["sha256"])


def test_a_float_network_is_refused_before_anything_is_written(
    trained: Callable[[Bits], Network], digits_data: DataSet, tmp_path: Path
) -> None:
    with pytest.raises(QnasError, match="stem is FP32"):
        write_winner(tmp_path / "out", SMALL.with_bits(FP32), trained(FP32), digits_data, {}, "c")
    assert list(tmp_path.iterdir()) == []


@compiles
@pytest.mark.export
def test_code_that_gives_other_logits_is_refused(trained: Callable[[Bits], Network], digits_data: DataSet) -> None:
    network = deploy(trained(Bits(4, 4)))
    files = write_c(network, digits_data.task)
    changed = {
        **files,
        "model.c": files["model.c"].replace(b"i++)\n        best", b"i++, logits[0] ^= 1)\n        best"),
    }
    assert changed != files
    with pytest.raises(QnasError, match="360 of 360 images have others"):
        compare_c(changed, network, digits_data.validation)


@compiles
@pytest.mark.export
def test_code_that_does_not_compile_is_one_sentence(tmp_path: Path) -> None:
    files = write_c(network_of(everything(Bits(4, 4), True), COLOUR), COLOUR)
    with pytest.raises(QnasError, match="compiles with any compiler of C99"):
        compiled({**files, "model.h": b"#error no\n"}, find_compiler() or "", tmp_path)
