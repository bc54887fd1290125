"""Predict the parameters of an architecture that no one has trained, and measure it at five bit widths.

Run it with: python examples/predict_parameters.py
"""

import torch

from qnas.checkpoints.store import load_checkpoint
from qnas.data.registry import find_data
from qnas.scores.accuracy import predicted_accuracy
from qnas.network.build import build_plan
from qnas.network.costs import costs
from qnas.quant.scheme import PAPER_BITS
from qnas.sampling.generator import stream
from qnas.space.space import find_space


def main() -> None:
    """Score one network of the tiny space, held out from the hypernetwork's training, on validation images."""
    torch.set_num_threads(1)
    checkpoint = load_checkpoint("digits")
    data = find_data(checkpoint.data)
    space = find_space(checkpoint.space).for_task(data.task)
    genotype = next(stream(space, seed=7, part="held_out"))
    for bits in PAPER_BITS:
        plan = build_plan(genotype.with_bits(bits), data.task)
        with torch.no_grad():
            parameters = checkpoint.ghn([plan])[0]
        accuracy = predicted_accuracy(plan, parameters, data.validation)
        print(f"{bits!s:>5}: {accuracy.top1:5.1f} % right, {costs(plan).weight_bytes:,} bytes of weights, no training")


if __name__ == "__main__":
    main()
