"""The written ONNX graph: its inputs, its packed weights and their bytes, and a writer for every kind of node.

What it computes is held against torch in test_conformance.
"""

from dataclasses import replace
from math import prod
from typing import get_args

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import ModelProto, TensorProto, numpy_helper

from qnas.exporters.onnx import CRUMBS, STORED, WRITERS, write_onnx
from qnas.network.build import build_plan
from qnas.network.costs import weight_bytes
from qnas.network.deployed import DeployedNetwork, deploy
from qnas.network.handmade import HandMade
from qnas.network.initial import he_parameters
from qnas.network.module import Network
from qnas.network.plan import Builder, Kind
from qnas.quant.scheme import FP32, PAPER_BITS, Bits
from qnas.space.genotype import Genotype
from qnas.task import Task

TASK = Task((3, 16, 16), 4)
ALL = [*PAPER_BITS, Bits(5, 6), Bits(3, 4)]
EACH = pytest.mark.parametrize("bits", ALL, ids=str)


def deployed(genotype: Genotype, bits: Bits, batch_norm: bool = True, channels: int = 8) -> DeployedNetwork:
    plan = build_plan(replace(genotype, bits=bits, batch_norm=batch_norm, channels=channels), TASK)
    network = Network(plan, he_parameters(plan, torch.Generator().manual_seed(0)), (-3.0, 3.0))
    network.calibrate([torch.randn(8, *TASK.image)])
    return deploy(network)


def weights_of(model: ModelProto) -> dict[str, TensorProto]:
    """The initializers that hold weights, by the name of their layer."""
    return {
        tensor.name.split("/")[0]: tensor
        for tensor in model.graph.initializer
        if tensor.name.split("/", 1)[1] in ("weight", "weight/integers")
    }


def test_every_kind_of_node_has_a_writer() -> None:
    assert set(WRITERS) == set(get_args(Kind))


@EACH
@pytest.mark.parametrize("batch_norm", [True, False], ids=["batch norm", "bias"])
def test_the_model_is_valid_and_takes_any_number_of_images(genotype: Genotype, bits: Bits, batch_norm: bool) -> None:
    model = write_onnx(deployed(genotype, bits, batch_norm))
    onnx.checker.check_model(model, full_check=True)
    (images,), (logits,) = model.graph.input, model.graph.output
    shapes = [
        [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim] for value in (images, logits)
    ]
    assert shapes == [["batch", *TASK.image], ["batch", TASK.classes]]
    assert (images.name, logits.name) == ("images", "logits")


@EACH
def test_every_layer_has_its_weight_in_the_type_of_its_bits(genotype: Genotype, bits: Bits) -> None:
    network = deployed(genotype, bits)
    expected = TensorProto.FLOAT if bits == FP32 else TensorProto.UINT4 if bits.weights <= 4 else TensorProto.UINT8
    found = weights_of(write_onnx(network))
    shapes = {slot.name.split("/")[0]: slot.shape for slot in network.plan.slots if slot.kind == "weight"}
    assert {name: tuple(tensor.dims) for name, tensor in found.items()} == shapes
    assert {tensor.data_type for tensor in found.values()} == {expected}


@EACH
def test_the_written_integers_are_those_of_the_network(genotype: Genotype, bits: Bits) -> None:
    network = deployed(genotype, bits)
    for name, tensor in weights_of(write_onnx(network)).items():
        values = numpy_helper.to_array(tensor)
        assert np.array_equal(values.astype(np.float32), network.layers[name].weight.float().numpy())
        assert bits == FP32 or values.max() == 2**bits.weights - 1


@EACH
def test_opset_25_stores_two_bits_four_a_byte(genotype: Genotype, bits: Bits) -> None:
    network = deployed(genotype, bits)
    model = write_onnx(network, CRUMBS, 25)
    onnx.checker.check_model(model, full_check=True)
    width = 2 if bits.weights == 2 else 4 if bits.weights <= 4 else 8
    for name, tensor in weights_of(model).items():
        values = numpy_helper.to_array(tensor).astype(np.float32)
        assert np.array_equal(values, network.layers[name].weight.float().numpy())
        assert bits == FP32 or tensor.data_type == STORED[width]
        assert bits == FP32 or tensor.ByteSize() <= -(-prod(tensor.dims) * width // 8) + len(tensor.name) + 30


@EACH
def test_a_weight_takes_no_more_of_the_file_than_its_bits(genotype: Genotype, bits: Bits) -> None:
    width = 32 if bits == FP32 else 4 if bits.weights <= 4 else 8
    for name, tensor in weights_of(write_onnx(deployed(genotype, bits))).items():
        content = -(-prod(tensor.dims) * width // 8)
        assert tensor.ByteSize() <= content + len(tensor.name) + 30, name  # shape, type and lengths


@pytest.mark.parametrize("bits", [FP32, Bits(8, 8), Bits(4, 8), Bits(4, 4)], ids=str)
def test_weights_and_biases_in_the_file_are_the_weight_bytes_of_the_costs(genotype: Genotype, bits: Bits) -> None:
    network = deployed(genotype, bits, channels=32)
    model = write_onnx(network)
    kept = [*weights_of(model).values()]
    kept += [tensor for tensor in model.graph.initializer if tensor.name.endswith(("/bias", "/bias/integers"))]
    assert len(kept) == 2 * len(network.layers)
    written, counted = sum(tensor.ByteSize() for tensor in kept), weight_bytes(network.plan)
    assert counted <= written <= counted + 70 * len(kept)


def test_the_whole_file_is_near_the_weight_bytes(genotype: Genotype) -> None:
    network = deployed(genotype, Bits(4, 4), channels=64)
    model = write_onnx(network)
    overhead = 1200 * len(network.plan.nodes)  # names, activations' steps and operators
    steps = 5 * sum(len(layer.bias) for layer in network.layers.values())  # of each channel, and its zero point
    assert len(model.SerializeToString()) <= weight_bytes(network.plan) + steps + overhead


@pytest.mark.parametrize("bits", [Bits(8, 8), Bits(4, 8)], ids=str)
def test_biases_are_integers_where_activations_have_eight_bits(genotype: Genotype, bits: Bits) -> None:
    model = write_onnx(deployed(genotype, bits))
    types = {tensor.data_type for tensor in model.graph.initializer if tensor.name.endswith("/bias/integers")}
    assert types == {TensorProto.INT32}


@pytest.mark.parametrize("bits", [Bits(4, 4), Bits(2, 2), Bits(5, 6), FP32], ids=str)
def test_elsewhere_biases_are_real(genotype: Genotype, bits: Bits) -> None:
    model = write_onnx(deployed(genotype, bits))
    types = {tensor.data_type for tensor in model.graph.initializer if "/bias" in tensor.name}
    assert types == {TensorProto.FLOAT}


@pytest.mark.parametrize("bits", [Bits(4, 4), Bits(2, 2), Bits(5, 6)], ids=str)
def test_activations_of_fewer_bits_are_clipped(genotype: Genotype, bits: Bits) -> None:
    network = deployed(genotype, bits)
    model = write_onnx(network)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    clips = [node for node in model.graph.node if node.op_type == "Clip"]
    assert len(clips) == len(network.activations) - 1  # all but the image, which has 8 bits
    assert {int(constants[node.input[1]]) for node in clips} == {0}
    assert {int(constants[node.input[2]]) for node in clips} == {2**bits.activations - 1}


def test_a_float_model_has_no_quantization(genotype: Genotype) -> None:
    kinds = {node.op_type for node in write_onnx(deployed(genotype, FP32)).graph.node}
    assert kinds.isdisjoint({"QuantizeLinear", "DequantizeLinear", "Clip"})


def test_names_of_nodes_and_constants_are_unique(genotype: Genotype) -> None:
    graph = write_onnx(deployed(genotype, Bits(4, 4))).graph
    names = [node.name for node in graph.node] + [tensor.name for tensor in graph.initializer]
    assert len(names) == len(set(names))


def test_the_same_network_gives_the_same_bytes(genotype: Genotype) -> None:
    network = deployed(genotype, Bits(4, 4))
    assert write_onnx(network).SerializeToString() == write_onnx(network).SerializeToString()


@pytest.mark.export
@pytest.mark.parametrize("bits", [FP32, Bits(8, 8), Bits(4, 4)], ids=str)
def test_hidden_linear_layers_run_in_onnxruntime_as_in_torch(bits: Bits) -> None:
    plan, images = build_plan(HandMade("regular_conv", 4, bits, batch_norm=False), TASK), torch.randn(16, *TASK.image)
    network = Network(plan, he_parameters(plan, torch.Generator().manual_seed(0)), (-3.0, 3.0))
    network.calibrate([images])
    made = deploy(network)
    session = onnxruntime.InferenceSession(write_onnx(made).SerializeToString())
    (logits,) = session.run(None, {"images": images.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(logits, made(images).numpy(), atol=1e-4)


@pytest.mark.export
@pytest.mark.parametrize("bits", [FP32, Bits(8, 8), Bits(4, 4)], ids=str)
def test_a_sum_with_a_relu_beside_negative_values_runs_in_onnxruntime_as_in_torch(bits: Bits) -> None:
    """The concatenation that reads both has a grid with a sign, which is no ReLU."""
    builder = Builder(TASK, False, bits)
    stem = builder.conv("stem", 0, 4, 3)
    linear = builder.conv("linear", stem, 4, 3, relu=False)
    plan = builder.classifier(builder.concat("both", [builder.sum("cut", linear, linear, relu=True), linear]))
    network, images = (
        Network(plan, he_parameters(plan, torch.Generator().manual_seed(0)), (-3.0, 3.0)),
        torch.randn(16, *TASK.image),
    )
    network.calibrate([images])
    made = deploy(network)
    session = onnxruntime.InferenceSession(write_onnx(made).SerializeToString())
    (logits,) = session.run(None, {"images": images.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(logits, made(images).numpy(), atol=0.02)
