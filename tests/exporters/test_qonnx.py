"""QONNX files: their Quant nodes, what they compute by the specification in numpy, and what by qonnx itself."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from qnas.data.images import DataSet
from qnas.errors import QnasError
from qnas.exporters.manifest import read_manifest
from qnas.exporters.parity import Parity, integers_of
from qnas.exporters.qonnx import QONNX, executed, memory_of_qonnx, write_qonnx
from qnas.exporters.registry import PROFILES, check_runs
from qnas.exporters.winner import write_winner
from qnas.network.build import build_plan
from qnas.network.costs import weight_bytes
from qnas.network.deployed import DeployedNetwork, deploy
from qnas.network.grids import Grids
from qnas.network.initial import he_parameters
from qnas.network.module import Network
from qnas.network.plan import Builder
from qnas.quant.scheme import FP32, Bits
from qnas.space.genotype import Genotype
from qnas.training.start import input_range

Made = Callable[..., DeployedNetwork]
ZERO_POINT_0 = ["power-of-two", "per-channel", "per-tensor"]
EACH = pytest.mark.parametrize("grid", ZERO_POINT_0)


class Quant(OpRun):
    """The operator as version 1 of its specification has it, in numpy."""

    op_domain = "qonnx.custom_op.general"

    def _run(
        self,
        x: NDArray[Any],
        scale: NDArray[Any],
        zero_point: NDArray[Any],
        bits: NDArray[Any],
        signed: int = 1,
        narrow: int = 0,
        rounding_mode: str = "ROUND",
    ) -> tuple[NDArray[Any]]:
        assert rounding_mode == "ROUND"
        highest = 2 ** (bits - signed) - 1
        lowest = -(2 ** (bits - 1)) + narrow if signed else 0 * bits
        integers = np.round(np.clip(x / scale + zero_point, lowest, highest))
        return (((integers - zero_point) * scale).astype(np.float32),)


def by_the_specification(model: ModelProto, images: NDArray[Any]) -> NDArray[Any]:
    """Logits of images, which the model takes one by one."""
    evaluator = ReferenceEvaluator(model, new_ops=[Quant])
    (taken,) = model.graph.input
    return np.concatenate([evaluator.run(None, {taken.name: images[at : at + 1]})[0] for at in range(len(images))])


@pytest.fixture
def network(genotype: Genotype, digits_data: DataSet) -> Callable[[str, Bits], Network]:
    def take(grid: str, bits: Bits) -> Network:
        plan = build_plan(genotype.with_bits(bits), digits_data.task)
        parameters = he_parameters(plan, torch.Generator().manual_seed(0))
        made = Network(plan, parameters, input_range(digits_data.train), Grids(grid))
        made.calibrate([digits_data.train.batch(slice(0, 16))[0]])
        return made

    return take


@pytest.fixture
def made(network: Callable[[str, Bits], Network]) -> Made:
    return lambda grid, bits: deploy(network(grid, bits))


def constants_of(model: ModelProto) -> dict[str, NDArray[Any]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def quants_of(model: ModelProto) -> list[NodeProto]:
    return [node for node in model.graph.node if node.op_type == "Quant"]


@EACH
@pytest.mark.parametrize("bits", [Bits(4, 8), Bits(5, 6)], ids=str)
def test_quant_nodes_are_as_specified_and_as_finn_converts_them(made: Made, grid: str, bits: Bits) -> None:
    network = made(grid, bits)
    model = write_qonnx(network)
    constants, makers = constants_of(model), {node.output[0]: node for node in model.graph.node}
    assert [(one.domain, one.version) for one in model.opset_import] == [("", 13), ("qonnx.custom_op.general", 1)]
    weights = []
    for node in quants_of(model):
        told = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        assert (node.domain, told["narrow"], told["rounding_mode"]) == ("qonnx.custom_op.general", 0, b"ROUND")
        scale, zero_point, width = (constants[name] for name in node.input[1:])
        assert (zero_point.shape, zero_point, width.shape) == ((), 0, ())
        assert grid != "power-of-two" or (np.frexp(scale)[0] == 0.5).all()
        if node.input[0] in constants:
            weights.append(node)
            assert (told["signed"], width) == (1, bits.weights)
            assert scale.ndim in (0, constants[node.input[0]].ndim)
        elif node.input[0] == "images":
            assert (told["signed"], width) == (1, 8 if grid == "power-of-two" else 9)
        else:
            assert width == bits.activations
            assert told["signed"] or makers[node.input[0]].op_type == "Relu"
    assert len(weights) == len(network.layers)


def test_every_value_and_constant_is_read(made: Made) -> None:
    graph = write_qonnx(made("power-of-two", Bits(4, 4))).graph
    read = {name for node in graph.node for name in node.input} | {"logits"}
    assert {node.output[0] for node in graph.node} | {tensor.name for tensor in graph.initializer} == read - {"images"}
    assert not [node for node in graph.node if len(set(node.input)) < len(node.input)]


@EACH
@pytest.mark.parametrize("bits", [Bits(8, 8), Bits(2, 2)], ids=str)
def test_by_the_specification_a_file_computes_what_torch_does(
    made: Made, digits_data: DataSet, grid: str, bits: Bits
) -> None:
    network, images = made(grid, bits), digits_data.validation.first(2)
    prepared = images.batch(slice(None))[0]
    with torch.no_grad():
        expected = network(prepared).numpy()
    found = by_the_specification(write_qonnx(network), prepared.numpy())
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    of_pixels = write_qonnx(network, digits_data.task)
    assert of_pixels.graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8
    found = by_the_specification(of_pixels, images.pixels.permute(0, 2, 3, 1).numpy())
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def tiny(data: DataSet) -> DeployedNetwork:
    """A convolution of three channels and a classifier, at W4A4."""
    builder = Builder(data.task, batch_norm=False, bits=Bits(4, 4))
    plan = builder.classifier(builder.conv("stem", 0, 3, 3, stride=2))
    parameters = he_parameters(plan, torch.Generator().manual_seed(1))
    network = Network(plan, parameters, input_range(data.train), Grids("power-of-two"))
    network.calibrate([data.train.batch(slice(0, 64))[0]])
    return deploy(network)


def rounded(x: NDArray[Any], step: float, lowest: int, highest: int) -> NDArray[Any]:
    """Halves up, in double precision."""
    return np.clip(np.floor(x / step + 0.5), lowest, highest) * step


@pytest.mark.export
def test_the_file_of_a_tiny_network_equals_numpy(digits_data: DataSet) -> None:
    network, images = tiny(digits_data), digits_data.validation.first(40)
    steps = {name: float(grid.scale) for name, grid in network.activations.items()}
    weights = {}
    for name, layer in network.layers.items():
        assert layer.grid is not None
        integers = layer.weight.numpy().astype(np.float64) - 8
        weights[name] = integers * np.asarray(layer.grid.scale).reshape(-1, *[1] * (integers.ndim - 1))
    image = rounded(images.batch(slice(None))[0].numpy(), steps["image"], -128, 127)
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(image, [(0, 0), (0, 0), (1, 1), (1, 1)]), (3, 3), (2, 3))
    stem = np.einsum("ncyxij,ocij->noyx", windows[:, :, ::2, ::2], weights["stem"])
    stem = rounded(stem + network.layers["stem"].bias.numpy().reshape(-1, 1, 1), steps["stem"], 0, 15)
    pooled = rounded(stem.mean((2, 3)), steps["pool"], 0, 15)
    expected = pooled @ weights["classifier"].T + network.layers["classifier"].bias.numpy()
    found = executed(write_qonnx(network).SerializeToString(), network.plan, images)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.export
@EACH
def test_the_clean_up_of_qonnx_keeps_the_logits(made: Made, digits_data: DataSet, grid: str) -> None:
    network, images = made(grid, Bits(4, 4)), digits_data.validation.first(5)
    model = write_qonnx(network)
    expected = by_the_specification(model, images.batch(slice(None))[0].numpy())
    found = executed(model.SerializeToString(), network.plan, images)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.export
@pytest.mark.parametrize("bits", [Bits(4, 4), Bits(2, 2)], ids=str)
def test_on_powers_of_two_the_logits_are_the_integer_network_s(made: Made, digits_data: DataSet, bits: Bits) -> None:
    network, images = made("power-of-two", bits), digits_data.validation.first(100)
    integers = integers_of(network, images)
    expected = integers(images.pixels) * integers.scale
    found = executed(write_qonnx(network).SerializeToString(), network.plan, images)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@EACH
def test_memory_is_that_of_the_weights_and_a_number_for_each_bias_and_step(made: Made, grid: str) -> None:
    network = made(grid, Bits(4, 4))
    model = write_qonnx(network)
    needed = memory_of_qonnx({QONNX: model.SerializeToString()})
    steps = sum(torch.as_tensor(layer.grid.scale).numel() for layer in network.layers.values() if layer.grid)
    others = 4 * len(quants_of(model)) + 2 * len(network.activations)  # zero points, bits, steps, tie-breaks
    assert weight_bytes(network.plan) + 4 * steps <= needed.flash <= weight_bytes(network.plan) + 4 * (steps + others)
    assert needed.ram == 0


def test_what_qonnx_cannot_hold_is_refused(made: Made) -> None:
    with pytest.raises(QnasError, match=r"QONNX has zero point 0, but weights of \w+ are integers around \d+; take"):
        write_qonnx(made("asymmetric", Bits(4, 4)))
    with pytest.raises(QnasError, match="layers of 2 to 8 bits, but stem is FP32; take `profile='compact'`"):
        write_qonnx(made("power-of-two", FP32))


def test_a_package_that_is_missing_is_named() -> None:
    with pytest.raises(QnasError, match=r"as qonnx is run by the package nowhere.*`pip install 'qnas\[qonnx\]'`"):
        check_runs(replace(PROFILES["qonnx"], package="nowhere"))
    check_runs(PROFILES["compact"])


@pytest.mark.export
def test_a_winner_in_qonnx_says_how_it_is_run(
    network: Callable[[str, Bits], Network],
    genotype: Genotype,
    digits_data: DataSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    facts = {"settings": {"bits": "w4a4"}, "accuracy": {"test": 10.0}}
    write_winner(
        tmp_path, genotype.with_bits(Bits(4, 4)), network("power-of-two", Bits(4, 4)), digits_data, facts, "qonnx"
    )
    manifest = read_manifest(tmp_path)
    assert (manifest["model"], manifest["parity"]["runtime"]) == ("model_qonnx.onnx", "qonnx")
    assert Parity.from_json(manifest["parity"]).to_json() == manifest["parity"]
    assert manifest["parity"]["same_class"] == manifest["parity"]["integers_same_class"] == 100
    code = (tmp_path / "README.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    space: dict[str, Any] = {"image": digits_data.test.batch(slice(0, 1))[0].numpy()}
    exec(code, space)
    assert space["logits"].shape == (1, 10)
