"""Exported TensorFlow Lite: every operator within one step of the integer network, in a file as its schema has it."""

import json
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from qnas.errors import QnasError
from qnas.exporters.litert import classified
from qnas.exporters.registry import PROFILES, input_of
from qnas.exporters.tflite import TFLITE, WRITERS, within, write_tflite
from qnas.network.deployed import DeployedNetwork, deploy
from qnas.network.grids import Grids
from qnas.network.initial import he_parameters
from qnas.network.integers import computed, integer_network
from qnas.network.module import Network
from qnas.network.plan import Builder, Kind, Plan
from qnas.quant.fixed_point import LARGEST, Integers
from qnas.quant.scheme import Bits
from qnas.task import Task

TASK = Task((3, 7, 6), 4, "made up", (), (100.0, 120.5, 140.25), (60.0, 50.0, 70.0))
needs_litert = pytest.mark.skipif(find_spec("ai_edge_litert") is None, reason="needs ai-edge-litert")


def pixels(count: int = 32) -> Tensor:
    return torch.randint(0, 256, (count, *TASK.image), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def everything(bits: str) -> Plan:
    """Every kind of node; halving a side of 6, TFLite's SAME is another padding than ours, and of 7 the same."""
    builder = Builder(TASK, True, Bits.parse(bits))
    stem = builder.conv("stem", 0, 5, 3)
    total = builder.sum("total", stem, builder.conv("linear", stem, 5, 1, relu=False))
    seen = builder.pool("seen", "max_pool", 0, 3, 2)
    dilated = builder.conv("dilated", total, 5, 3, 2, dilation=2, groups=5)
    wide = builder.conv("wide", builder.pool("most", "max_pool", total, 3, 1), 18, 3, 2, dilation=2)
    deep = builder.conv("deep", wide, 18, 5, groups=18)
    halved = builder.conv("halved", total, 5, 1, 2)
    mean = builder.pool("mean", "avg_pool", dilated, 3, 1)
    joined = builder.concat("joined", [builder.sum("again", halved, dilated), mean, deep, seen])
    small = builder.conv("small", builder.pool("fewer", "avg_pool", joined, 3, 2), 4, 5)
    return builder.classifier(builder.conv("strided", small, 3, 3, 2), hidden=(6,))


def network_of(bits: str, grid: str = "per-channel") -> DeployedNetwork:
    plan = everything(bits)
    values = he_parameters(plan, torch.Generator().manual_seed(0))
    values |= {name: torch.randn(value.shape) * 0.1 for name, value in values.items() if name.endswith("bias")}
    network = Network(plan, values, (-2.0, 2.0), Grids(grid))
    network.calibrate([torch.randn(8, *TASK.image)])
    return deploy(network.eval())


def tensors_of(model: bytes, read: Tensor, kernels: str) -> dict[str, Integers]:
    """What LiteRT makes of pixels, by the tensors' names: integers without zero points, channels last."""
    litert = import_module("ai_edge_litert.interpreter")
    interpreter = litert.Interpreter(
        model_content=model,
        experimental_op_resolver_type=litert.OpResolverType[kernels],
        experimental_preserve_all_tensors=True,
    )
    place = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(place, read.permute(0, 2, 3, 1).shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(place, read.permute(0, 2, 3, 1).contiguous().numpy())
    interpreter.invoke()
    made = {
        row["name"]: row
        for row in interpreter.get_tensor_details()
        if row["quantization"][0] and row["shape_signature"][0] < 0
    }
    return {
        name: interpreter.get_tensor(row["index"]).astype(np.int64) - row["quantization"][1]
        for name, row in made.items()
    }


def test_every_kind_of_step_has_a_writer() -> None:
    assert set(WRITERS) == set(get_args(Kind))


@needs_litert
@pytest.mark.export
@pytest.mark.filterwarnings("ignore:Warning. Enabling .experimental_preserve_all_tensors")
@pytest.mark.parametrize("grid", ["per-channel", "per-tensor", "power-of-two"])
@pytest.mark.parametrize(
    ("bits", "kernels", "most"), [("w8a8", "AUTO", 5), ("w8a8", "BUILTIN_REF", 10), ("w4a8", "AUTO", 20)]
)
def test_every_step_is_that_of_the_integer_network_to_within_one(
    bits: str, kernels: str, most: float, grid: str
) -> None:
    """Each is given what LiteRT made of the ones before, so that nothing adds up; ``most`` per cent may differ."""
    network, read = network_of(bits, grid), pixels()
    found = tensors_of(write_tflite(network, TASK, {}), read, kernels)
    integers = integer_network(network, TASK)
    image, *steps = (replace(step, weight=least_weights(step.weight)) for step in integers.steps)
    channels = np.arange(len(integers.table))[:, None, None]
    expected = integers.table[channels, read.numpy()].transpose(0, 2, 3, 1).astype(np.int64) - image.zero_point
    made: list[Integers] = []
    for step in (image, *steps[:-1]):
        made.append(found[step.name])
        expected = computed(step, [made[source] for source in step.inputs]) if step.inputs else expected
        apart = np.abs(made[-1] - expected)
        assert apart.max() <= 1, step.name
        assert 100 * (apart > 0).mean() <= most, step.name
    logits = computed(steps[-1], made[-1:])[:, 0, 0] * integers.scale
    assert np.abs(classified(write_tflite(network, TASK, {}), read) - logits).max() <= 0.05 * np.ptp(logits)


def least_weights(weight: Integers | None) -> Integers | None:
    """Weights as TFLite's specification has them."""
    return None if weight is None else weight.clip(-127)


def opened(model: bytes) -> Any:
    return import_module("ai_edge_litert.schema_py_generated").Model.GetRootAs(model)


def constants(model: bytes) -> dict[str, tuple[Any, bytes, int]]:
    """Tensors with content by their names: type, content, and where in the file it begins."""
    root = opened(model)
    graph, found = root.Subgraphs(0), {}
    for tensor in map(graph.Tensors, range(graph.TensorsLength())):
        buffer = root.Buffers(tensor.Buffer())
        if buffer.DataLength():
            start = buffer._tab.Vector(buffer._tab.Offset(4))
            found[tensor.Name().decode()] = tensor, buffer.DataAsNumpy().tobytes(), start
    return found


@needs_litert
@pytest.mark.parametrize("bits", ["w8a8", "w4a8", "w2a8"])
def test_the_written_weights_are_those_of_the_network_at_their_bits(bits: str) -> None:
    network, width = network_of(bits), 8 if bits == "w8a8" else 4
    kept = constants(write_tflite(network, TASK, {}))
    for name, layer in network.layers.items():
        tensor, content, start = kept[f"{name}/weight"]
        assert start % 16 == 0
        expected = layer.weight.long() - 2 ** (Bits.parse(bits).weights - 1)
        expected = expected.reshape(*expected.shape, *[1] * (4 - expected.dim()))
        depthwise = name in ("dilated", "deep")
        ordered = expected.permute((1, 2, 3, 0) if depthwise else (0, 2, 3, 1)).clamp(min=-127)
        assert tensor.ShapeAsNumpy().tolist() == list(ordered.shape)
        assert tensor.Quantization().QuantizedDimension() == (3 if depthwise else 0)
        each = 8 if name == "classifier" else width
        assert len(content) == -(-ordered.numel() * each // 8)
        bytes_ = np.frombuffer(content, np.uint8)
        integers = (
            bytes_.astype(np.int8) if each == 8 else np.stack([bytes_ & 15, bytes_ >> 4], 1).ravel().astype(np.int8)
        )
        if each == 4:
            integers = np.where(integers > 7, integers - 16, integers)[: ordered.numel()]
        assert np.array_equal(integers, ordered.flatten().numpy())


@needs_litert
def test_the_same_network_gives_the_same_file_which_says_what_it_is() -> None:
    network, row = network_of("w4a8"), PROFILES["tflite"]
    model = row.write(network, TASK, False)[TFLITE]
    assert model == row.write(network, TASK, True)[TFLITE]
    assert model[4:8] == b"TFL3"
    root = opened(model)
    told = {}
    for entry in map(root.Metadata, range(root.MetadataLength())):
        told[entry.Name().decode()] = root.Buffers(entry.Buffer()).DataAsNumpy().tobytes().decode()
    assert json.loads(told["images"])["input"] == input_of(pixels=True)
    assert json.loads(told["grids"])["weights"] == ["4 bits, symmetric, a step a channel"]
    graph = root.Subgraphs(0)
    ends = [graph.Tensors(graph.Inputs(0)), graph.Tensors(graph.Outputs(0))]
    assert [(end.Name(), end.ShapeSignatureAsNumpy().tolist()) for end in ends] == [
        (b"images", [-1, 7, 6, 3]),
        (b"logits", [-1, 4]),
    ]


@needs_litert
@pytest.mark.export
def test_the_shapes_in_the_file_are_those_that_kernels_compute() -> None:
    """LiteRT computes them anew; TFLite Micro takes them as they are."""
    model = write_tflite(network_of("w4a8"), TASK, {})
    litert = import_module("ai_edge_litert.interpreter")
    kernels = litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES  # of which each says its own shapes
    interpreter = litert.Interpreter(model_content=model, experimental_op_resolver_type=kernels)
    interpreter.allocate_tensors()
    graph = opened(model).Subgraphs(0)
    told = [graph.Tensors(place).ShapeAsNumpy().tolist() for place in range(graph.TensorsLength())]
    found = interpreter.get_tensor_details()[: len(told)]
    assert told == [row["shape"].tolist() for row in found]
    assert len({row["name"] for row in found}) == len(told)


def test_a_channel_that_is_all_but_switched_off_keeps_its_bias_in_32_bits() -> None:
    weight, steps, bias = np.full((2, 3, 3, 3), 100), np.array([1e-12, 1e-3]), np.array([0.7, -0.3])
    coarser, wider, biases = within(weight, steps, bias, 0.01)
    assert (np.abs(coarser).sum((1, 2, 3)) * 255 + np.abs(biases) <= LARGEST).all()
    assert np.allclose(biases * wider * 0.01, bias, rtol=1e-6)
    assert np.array_equal(coarser[1], weight[1])
    assert wider[1] == steps[1]


@pytest.mark.parametrize(
    ("bits", "grid", "message"),
    [
        ("w4a4", "per-channel", "TFLite has activations of 8 bits, but those of stem have 4; take .* `profile='c'`"),
        (
            "w8a8",
            "asymmetric",
            "TFLite has symmetric weights, but those of stem have .*; train with `grid='per-channel'`",
        ),
        ("fp32", "per-channel", "but stem is FP32"),
    ],
)
def test_what_it_cannot_hold_is_refused_naming_the_layer(bits: str, grid: str, message: str) -> None:
    with pytest.raises(QnasError, match=message):
        write_tflite(network_of(bits, grid), TASK, {})
