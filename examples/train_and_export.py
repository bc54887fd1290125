"""Train one network for W4A4 from predicted parameters and write it as ONNX, checked in onnxruntime.

Run it with: python examples/train_and_export.py [FOLDER]
"""

import sys
from pathlib import Path

import torch

from qnas.checkpoints.store import load_checkpoint
from qnas.data.registry import find_data
from qnas.exporters.winner import write_winner
from qnas.quant.scheme import Bits
from qnas.sampling.generator import stream
from qnas.space.space import find_space
from qnas.training.qat import QATSettings, deployed_accuracy, train_network


def main(folder: Path) -> None:
    """Train for 100 steps, which takes a few seconds, and write everything to ``folder``."""
    torch.set_num_threads(1)
    checkpoint = load_checkpoint("digits")
    data = find_data(checkpoint.data)
    space = find_space(checkpoint.space).for_task(data.task)
    genotype = next(stream(space, seed=1, bits=Bits(4, 4)))
    network = train_network(genotype, data, QATSettings(steps=100), seed=0, ghn=checkpoint.ghn)
    accuracy = deployed_accuracy(network, data.validation)
    parity = write_winner(folder, genotype, network, data, {"validation top-1": accuracy.top1})
    print(f"{folder}: {parity.torch_top1:.1f} % right in torch, {parity.onnxruntime_top1:.1f} % in onnxruntime")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("runs/example"))
