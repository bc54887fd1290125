"""A winner in TensorFlow Lite, run by LiteRT: its folder and its parity."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from qnas.data.images import DataSet
from qnas.exporters.litert import classified
from qnas.exporters.manifest import read_manifest
from qnas.exporters.registry import PROFILES
from qnas.exporters.winner import write_winner
from qnas.network.deployed import deploy
from qnas.network.integers import integer_network
from qnas.network.module import Network
from qnas.quant.scheme import Bits
from qnas.space.cells import Branch
from qnas.space.genotype import Genotype
from qnas.training.qat import train_network
from qnas.training.recipe import Recipe

SMALL = Genotype(3, 1, 8, 2, True, (), ((Branch(0, "conv", 3), Branch(1, "skip", 1)),), Bits(4, 8))
needs_litert = pytest.mark.skipif(find_spec("ai_edge_litert") is None, reason="needs ai-edge-litert")


@pytest.fixture(scope="module")
def network(digits_data: DataSet) -> Network:
    return train_network(SMALL, digits_data, Recipe(12), 0)


@needs_litert
@pytest.mark.export
def test_a_winner_in_tflite_is_a_folder_whose_manifest_and_card_hold(
    network: Network, digits_data: DataSet, tmp_path: Path
) -> None:
    facts = {"settings": {"bits": "w4a8"}, "accuracy": {}}
    parity = write_winner(tmp_path, SMALL, network, digits_data, facts, "tflite")
    manifest = read_manifest(tmp_path)
    assert set(manifest["sha256"]) == {"model.tflite", "genotype.json", "network.safetensors"}
    assert manifest["images"]["input"] == {"name": "images", "type": "uint8", "layout": "NHWC"}
    assert manifest["model_bytes"] == (tmp_path / "model.tflite").stat().st_size
    assert (parity.images, parity.runtime, manifest["parity"]["litert_top1"]) == (360, "litert", parity.runtime_top1)
    (code,) = re.findall(r"^```python\n(import numpy.*?)^```", (tmp_path / "README.md").read_text(), re.M | re.S)
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    blank = classified((tmp_path / "model.tflite").read_bytes(), digits_data.test.pixels[:1] * 0)
    assert int(ended.stdout) == blank.argmax()


@needs_litert
@pytest.mark.export
def test_its_logits_are_those_of_the_integer_network_but_for_rounding(network: Network, digits_data: DataSet) -> None:
    deployed, pixels = deploy(network), digits_data.test.pixels
    integers = integer_network(deployed, digits_data.task)
    expected = integers(pixels) * integers.scale
    found = classified(PROFILES["tflite"].write(deployed, digits_data.task, True)["model.tflite"], pixels)
    assert np.abs(found - expected).mean() < 0.03 * expected.std()
    assert (found.argmax(1) == expected.argmax(1)).mean() >= 0.97
