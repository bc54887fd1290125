"""Writes a deployed network as a program of ``torch.export``, which torch loads and runs without qnas.

Weights lie in it as integers of a byte and are made real in the program; batches may have any size.
"""

import json
from collections.abc import Mapping
from io import BytesIO

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim

from qnas.data.images import Images
from qnas.exporters.parity import PARITY_BATCH, Parity, held_against, inputs
from qnas.network.deployed import DeployedNetwork
from qnas.network.forward import Parameters, convolve, forward
from qnas.network.plan import Node
from qnas.task import Task

PROGRAM, METADATA = "model.pt2", "metadata.json"


class _Program(nn.Module):
    """A deployed network whose biases are rounded before it is traced: how depends on what they are."""

    def __init__(self, network: DeployedNetwork, pixels: Task | None) -> None:
        super().__init__()
        self.network, self.pixels = network, pixels
        weighted = [node for node in network.plan.nodes if node.name in network.layers]
        self.biases = {node.name: network.real_bias(node) for node in weighted}

    def forward(self, images: Tensor) -> Tensor:
        if self.pixels:
            mean, deviation = (torch.tensor(values) for values in (self.pixels.mean, self.pixels.deviation))
            images = ((images.float() - mean) / deviation).permute(0, 3, 1, 2)
        return forward(self.network.plan, {}, images, self)

    def layer(self, node: Node, x: Tensor, parameters: Parameters) -> Tensor:
        """See ``qnas.network.forward.Arithmetic``."""
        return convolve(node, x, self.network.layers[node.name].real_weight(), self.biases[node.name])

    def activation(self, node: Node, x: Tensor) -> Tensor:
        """See ``qnas.network.forward.Arithmetic``."""
        return self.network.activation(node, x)


@torch.no_grad()
def write_program(network: DeployedNetwork, pixels: Task | None, metadata: Mapping[str, str]) -> bytes:
    """The program of a deployed network.

    Args:
        network: also in float.
        pixels: the task by whose mean and deviation 8-bit pixels are normalised in the program.
        metadata: that lies in the file beside it, as JSON.

    Returns:
        A file whose program takes ``images``, float32, (n, channels, height, width), or, where ``pixels`` are taken,
        uint8, (n, height, width, channels), and gives logits (n, classes).
    """
    channels, height, width = network.plan.nodes[0].shape
    example = torch.zeros(2, channels, height, width)
    if pixels:
        example = example.permute(0, 2, 3, 1).to(torch.uint8).contiguous()
    shapes = {"images": {0: Dim("n", min=1)}}
    program = torch.export.export(_Program(network, pixels).eval(), (example,), dynamic_shapes=shapes)
    program.example_inputs = None  # they would be pickled
    file = BytesIO()
    torch.export.save(program, file, extra_files={METADATA: json.dumps(dict(metadata))})
    return file.getvalue()


@torch.no_grad()
def compare_program(model: bytes, network: DeployedNetwork, images: Images) -> Parity:
    """Load a program and run it beside its network on the same images."""
    beside = {METADATA: ""}
    program = torch.export.load(BytesIO(model), extra_files=beside).module()
    pixels = json.loads(json.loads(beside[METADATA])["images"])["input"]["type"] == "uint8"
    logits = [program(torch.from_numpy(x)).numpy() for x in inputs(images, pixels, PARITY_BATCH)]
    return held_against(network, images, np.concatenate(logits), "torch.export", torch.__version__)
