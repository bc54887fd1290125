"""A network as a program of torch.export: it runs without qnas, and nothing in it is pickled."""

import subprocess
import sys
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import pytest
import torch

from qnas.data.images import DataSet
from qnas.exporters.program import METADATA, PROGRAM
from qnas.exporters.winner import write_winner
from qnas.network.deployed import deploy
from qnas.quant.scheme import Bits
from qnas.space.cells import Branch
from qnas.space.genotype import Genotype
from qnas.training.qat import train_network
from qnas.training.recipe import Recipe

SMALL = Genotype(3, 1, 8, 2, True, (), ((Branch(0, "conv", 3), Branch(1, "skip", 1)),), Bits(4, 4))
ALONE = """
import sys, torch
program = torch.export.load("model.pt2").module()
images = torch.load("images.pt", weights_only=True)
print(*program(images).argmax(1).tolist())
assert "qnas" not in sys.modules
"""


@pytest.mark.export
@pytest.mark.parametrize("pixels", [False, True])
def test_it_runs_without_qnas_on_any_number_of_images(digits_data: DataSet, tmp_path: Path, pixels: bool) -> None:
    network, facts = train_network(SMALL, digits_data, Recipe(12), 0), {"settings": {"bits": "w4a4"}, "accuracy": {}}
    parity = write_winner(tmp_path, SMALL, network, digits_data, facts, "torch", uint8_input=pixels)
    assert (parity.runtime, parity.same_class) == ("torch.export", 100)
    prepared = digits_data.test.batch(slice(0, 5))[0]
    torch.save(digits_data.test.pixels[:5].permute(0, 2, 3, 1) if pixels else prepared, tmp_path / "images.pt")
    command = [sys.executable, "-c", ALONE]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == [str(one) for one in deploy(network)(prepared).argmax(1).tolist()]
    with ZipFile(BytesIO((tmp_path / PROGRAM).read_bytes())) as archive:
        contents = {entry: archive.read(entry) for entry in archive.namelist()}
    assert any(entry.endswith(METADATA) for entry in contents)
    assert not [entry for entry, content in contents.items() if content.startswith((b"PK", b"\x80"))]
