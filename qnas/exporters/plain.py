"""Writes a deployed network as plain safetensors, with a program of a few lines that reads it.

For those who bring a runtime or a device of their own: nothing but integers, steps, biases and a list of layers.
"""

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import safetensors
import torch
from torch import Tensor

from qnas.data.images import Images
from qnas.exporters import plain_reader
from qnas.exporters.parity import PARITY_BATCH, Parity, held_against, inputs
from qnas.network.deployed import DeployedLayer, DeployedNetwork
from qnas.network.plan import Node, Plan
from qnas.quant.grid import Grid
from qnas.quant.scheme import Bits
from qnas.runs.files import tensors_as_bytes
from qnas.task import Task

PLAIN, READER = "model.safetensors", "read.py"
OF_NODE = ("name", "kind", "inputs", "shape", "kernel", "stride", "dilation", "groups", "channels_in", "relu")
OF_GRID = ("bits", "scale", "zero_point", "tie_break")


def write_plain(network: DeployedNetwork, pixels: Task | None, metadata: Mapping[str, str]) -> dict[str, bytes]:
    """The file of a deployed network and its reader, by their names.

    Args:
        network: also in float.
        pixels: the task by whose mean and deviation 8-bit pixels are to be normalised.
        metadata: that the file carries besides, by name.
    """
    layers, tensors = [], dict[str, Tensor]()
    for node in network.plan.nodes:
        own = _tensors(network, node)
        tensors |= {f"{node.name}/{key}": value for key, value in own.items()}
        grid = network.activations.get(node.name)
        told: dict[str, Any] = {key: getattr(node, key) for key in OF_NODE}
        told |= {"padding": node.padding, "bits": str(node.bits), "tensors": list(own)}
        told["grid"] = grid and {key: getattr(grid, key) for key in OF_GRID}
        if pixels and node.kind == "input":
            told |= {"mean": pixels.mean, "deviation": pixels.deviation}
        layers.append(told)
    content = tensors_as_bytes(tensors, {**metadata, "layers": json.dumps(layers)})
    return {PLAIN: content, READER: inspect.getsource(plain_reader).encode()}


def _tensors(network: DeployedNetwork, node: Node) -> dict[str, Tensor]:
    layer = network.layers.get(node.name)
    if layer is None:
        return {}
    bias = {"bias": network.real_bias(node)}
    if layer.grid is None:
        return {"weight": layer.weight, **bias}
    steps = {key: torch.as_tensor(getattr(layer.grid, key)).float().reshape(-1) for key in ("scale", "zero_point")}
    return {"integers": layer.weight, **steps, **bias}


@torch.no_grad()
def compare_plain(files: Mapping[str, bytes], network: DeployedNetwork, images: Images) -> Parity:
    """Read a file by its reader, run what it says in torch, beside its network on the same images."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / PLAIN
        path.write_bytes(files[PLAIN])
        layers = plain_reader.read(str(path))
    found, pixels, logits = _network_of(layers), "mean" in layers[0], []
    for x in inputs(images, pixels, PARITY_BATCH):
        if pixels:
            mean, deviation = (np.array(layers[0][key], np.float32) for key in ("mean", "deviation"))
            x = ((x - mean) / deviation).transpose(0, 3, 1, 2)
        logits.append(found(torch.from_numpy(x)).numpy())
    return held_against(network, images, np.concatenate(logits), "safetensors", safetensors.__version__)


def _network_of(layers: list[dict[str, Any]]) -> DeployedNetwork:
    nodes, weighted, grids = [], dict[str, DeployedLayer](), dict[str, Grid]()
    for layer in layers:
        node = Node(bits=Bits.parse(layer["bits"]), **{key: layer[key] for key in OF_NODE})
        channels, height, width = node.shape
        nodes.append(node._replace(inputs=tuple(node.inputs), shape=(channels, height, width)))
        if "weight" in layer:
            weight, bias = (torch.from_numpy(layer[key]) for key in ("weight", "bias"))
            weighted[node.name] = DeployedLayer(weight, None, bias)
        if layer["grid"]:
            grids[node.name] = Grid(**layer["grid"])
    return DeployedNetwork(Plan(tuple(nodes), (), nodes[-1].shape[0]), weighted, grids)
