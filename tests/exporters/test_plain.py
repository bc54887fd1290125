"""A network in plain safetensors, run by what the shipped reader says and nothing else of qnas."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from qnas.data.images import DataSet
from qnas.exporters.manifest import read_manifest
from qnas.exporters.plain import PLAIN, READER
from qnas.exporters.plain_reader import read
from qnas.exporters.winner import write_winner
from qnas.network.deployed import DeployedNetwork, deploy
from qnas.quant.scheme import Bits
from qnas.space.cells import Branch
from qnas.space.genotype import Genotype
from qnas.training.qat import train_network
from qnas.training.recipe import Recipe

CELL = ((Branch(0, "conv", 3), Branch(1, "avg_pool", 3)), (Branch(1, "mb_conv3", 3), Branch(1, "max_pool", 3)))


def by_the_reader(layers: list[dict[str, Any]], x: Tensor) -> Tensor:
    """A runtime of one's own: what the reader's text says, written out."""
    rounded: list[Tensor] = []
    before: list[Tensor] = []
    if "mean" in layers[0]:
        x = ((x.float() - torch.tensor(layers[0]["mean"])) / torch.tensor(layers[0]["deviation"])).permute(0, 3, 1, 2)
    for layer in layers:
        inputs = [rounded[place] for place in layer["inputs"]]
        stride, padding = layer["stride"], layer["padding"]
        match layer["kind"]:
            case "conv":
                weight, bias = torch.from_numpy(layer["weight"]), torch.from_numpy(layer["bias"])
                x = F.conv2d(inputs[0], weight, bias, stride, padding, layer["dilation"], layer["groups"])
            case "linear":
                x = inputs[0].flatten(1) @ torch.from_numpy(layer["weight"]).T + torch.from_numpy(layer["bias"])
            case "max_pool":
                x = F.max_pool2d(inputs[0], layer["kernel"], stride, padding)
            case "avg_pool":
                x = F.avg_pool2d(inputs[0], layer["kernel"], stride, padding, count_include_pad=False)
            case "global_avg":
                x = inputs[0].mean((2, 3), keepdim=True)
            case "sum":
                x = inputs[0] + inputs[1]
            case "concat":
                kinds = [layers[place]["kind"] for place in layer["inputs"]]
                parts = zip(kinds, layer["inputs"], inputs, strict=True)
                x = torch.cat([before[place] if kind == "sum" else one for kind, place, one in parts], 1)
        x = x.relu() if layer["relu"] else x
        before.append(x)
        if grid := layer["grid"]:
            q = ((x / grid["scale"] + grid["tie_break"]).round() + grid["zero_point"]).clamp(0, 2 ** grid["bits"] - 1)
            x = (q - grid["zero_point"]) * grid["scale"]
        rounded.append(x)
    return x


def written(
    folder: Path, data: DataSet, bits: Bits, grid: str = "per-channel", pixels: bool = False
) -> DeployedNetwork:
    """A little trained network, exported to a folder."""
    genotype = Genotype(3, 1, 8, 2, True, CELL, CELL, bits)
    network = train_network(genotype, data, Recipe(3, grid=grid), 0)
    facts = {"settings": {"bits": str(bits)}, "accuracy": {}}
    assert not write_winner(folder, genotype, network, data, facts, "safetensors", uint8_input=pixels).failure
    return deploy(network)


@pytest.mark.parametrize("grid", ["per-channel", "power-of-two", "asymmetric"])
@pytest.mark.parametrize("bits", [Bits(8, 8), Bits(4, 4)], ids=str)
@pytest.mark.parametrize("pixels", [False, True])
def test_a_runtime_of_ones_own_gives_the_logits_of_torch(
    digits_data: DataSet, tmp_path: Path, bits: Bits, grid: str, pixels: bool
) -> None:
    network, images = written(tmp_path, digits_data, bits, grid, pixels), digits_data.validation
    assert {PLAIN, READER} < set(read_manifest(tmp_path)["sha256"])
    prepared, _ = images.batch(slice(None))
    found = by_the_reader(read(str(tmp_path / PLAIN)), images.pixels.permute(0, 2, 3, 1) if pixels else prepared)
    expected = network(prepared)
    assert (found.argmax(1) == expected.argmax(1)).float().mean() > 0.99
    assert (found - expected).abs().mean() < 0.01 * expected.std()


def test_the_shipped_reader_runs_alone_and_its_integers_are_the_networks(digits_data: DataSet, tmp_path: Path) -> None:
    network = written(tmp_path, digits_data, Bits(4, 4))
    code = "import sys, read; layers = read.read('model.safetensors'); "
    code += "print(sum(layer['integers'].sum() for layer in layers if 'integers' in layer)); "
    code += "assert not {'qnas', 'torch'} & set(sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    integers = [layer.weight.numpy() for layer in network.layers.values()]
    assert int(ended.stdout) == sum(int(one.sum(dtype=np.int64)) for one in integers)
    assert max(one.max() for one in integers) < 16
