"""`python examples/train_and_export.py [FOLDER]` trains a network for W4A4 and writes it as ONNX."""

import sys
from pathlib import Path

import torch

import qnas


def main(folder: Path) -> None:
    """Train for 100 steps from predicted parameters, which takes a few seconds, and write everything to ``folder``."""
    torch.set_num_threads(1)
    network = next(qnas.sample("tiny", count=1, bits="w4a4", seed=1))
    trained = qnas.train(network, data="digits", steps=100, out=folder)
    print(f"{trained.costs.params:,} parameters, {trained.accuracies['test']:.1f} % of the test images right")
    parity = qnas.export(trained, profile="compact").parity
    print(f"{folder}: {parity.torch_top1:.1f} % right in torch, {parity.runtime_top1:.1f} % in onnxruntime")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("runs/example"))
