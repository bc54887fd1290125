"""How fast candidates are scored, beside the plain path: plain_forward.py on whole tensors, predicted one at a time.

    python benchmarks/score.py --data digits
    python benchmarks/score.py --data cifar10 --space mobile --networks 6

A score is the accuracy of a network's predicted parameters on some images at one bit width; both sides score the same
networks on the same images at the paper's five. The last line is JSON: evaluations a second of ours by theirs.
"""

import argparse
import json
import statistics
import time
from itertools import islice

import plain_forward
import torch

from qnas.checkpoints.store import load_checkpoint
from qnas.data.batches import evaluation_batches
from qnas.data.registry import find_data
from qnas.data.images import Images
from qnas.scores.accuracy import EVALUATION_BATCH
from qnas.studies.ghn_tables import score_networks
from qnas.ghn.config import config_for
from qnas.ghn.model import GHN
from qnas.network.build import build_plan
from qnas.quant.scheme import PAPER_BITS
from qnas.sampling.generator import stream
from qnas.space.genotype import Genotype
from qnas.space.space import SearchSpace, find_space


@torch.no_grad()
def plainly(ghn: GHN, genotypes: list[Genotype], space: SearchSpace, images: Images) -> list[list[float]]:
    """Per cent right of every network at every bit width."""
    result = []
    for genotype in genotypes:
        row = []
        for bits in PAPER_BITS:
            plan = build_plan(genotype.with_bits(bits), space.task)
            parameters = ghn([plan])[0]
            right = 0
            for x, labels in evaluation_batches(images, EVALUATION_BATCH):
                right += int((plain_forward.forward(plan, parameters, x).argmax(1) == labels).sum())
            row.append(100 * right / len(images))
        result.append(row)
    return result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--ghn", default="digits", help="checkpoint, or 'untrained' for one made for the space")
    parser.add_argument("--space", default="tiny")
    parser.add_argument("--networks", type=int, default=16)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    data = find_data(arguments.data)
    space = find_space(arguments.space).for_task(data.task)
    ghn = GHN(config_for(space)).eval() if arguments.ghn == "untrained" else load_checkpoint(arguments.ghn).ghn
    images = data.validation.first(arguments.images)
    genotypes = list(islice(stream(space, 0, "held_out"), arguments.networks))
    count = len(genotypes) * len(PAPER_BITS)
    times: dict[str, list[float]] = {"plain": [], "ours": []}
    score_networks(ghn, genotypes[:1], space, images, PAPER_BITS)
    for _ in range(arguments.repeats):
        started = time.perf_counter()
        theirs = plainly(ghn, genotypes, space, images)
        times["plain"].append(time.perf_counter() - started)
        started = time.perf_counter()
        ours = score_networks(ghn, genotypes, space, images, PAPER_BITS)
        times["ours"].append(time.perf_counter() - started)
    for place, bits in enumerate(PAPER_BITS):
        pairs = [(row[place].top1, other[place]) for row, other in zip(ours, theirs, strict=True)]
        means = [statistics.mean(column) for column in zip(*pairs, strict=True)]
        largest = max(abs(mine - other) for mine, other in pairs)
        print(
            f"{bits!s:5} mean accuracy {means[0]:.2f}, plain {means[1]:.2f}; largest difference of a net {largest:.2f}"
        )
    for name, values in times.items():
        rates = sorted(count / value for value in values)
        print(f"{name:5} {statistics.median(rates):7.2f} evaluations a second ({rates[0]:.2f} to {rates[-1]:.2f})")
    ratio = statistics.median(plain / own for plain, own in zip(times["plain"], times["ours"], strict=True))
    print(json.dumps({
        "score": round(ratio, 2), "data": data.name, "space": space.name, "n": count, "images": len(images),
        "threads": arguments.threads,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
