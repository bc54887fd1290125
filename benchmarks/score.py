"""How fast candidates are scored, beside the plain path: plain_forward.py on whole tensors, predicted one at a time.

    python benchmarks/score.py --data digits
    python benchmarks/score.py --data cifar10 --space mobile --networks 6

A score is the accuracy of a network's predicted parameters on some images at one bit width; both sides score the same
networks on the same images at the paper's five. The last line is JSON: evaluations a second of ours by theirs.
"""

from statistics import mean, median

import plain_forward
import torch
from common import finish, load, networks, options, settle, spread, timed

from qnas.checkpoints.store import load_checkpoint
from qnas.data.batches import evaluation_batches
from qnas.data.images import Images
from qnas.ghn.config import config_for
from qnas.ghn.model import GHN
from qnas.network.build import build_plan
from qnas.quant.scheme import PAPER_BITS
from qnas.scores.accuracy import EVALUATION_BATCH
from qnas.space.genotype import Genotype
from qnas.space.space import SearchSpace
from qnas.studies.ghn_tables import score_networks


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
    given = options(
        __doc__, data="digits", ghn=("digits", "checkpoint, or 'untrained' for one made for the space"), space="tiny",
        networks=16, images=(256, "of the validation part"), repeats=3, threads=1,
    )  # fmt: skip
    settle(given.threads)
    data, space = load(given.data, given.space)
    ghn = GHN(config_for(space)).eval() if given.ghn == "untrained" else load_checkpoint(given.ghn).ghn
    images = data.validation.first(given.images)
    genotypes = networks(space, given.networks, part="held_out")
    count = len(genotypes) * len(PAPER_BITS)
    times: dict[str, list[float]] = {"plain": [], "ours": []}
    score_networks(ghn, genotypes[:1], space, images, PAPER_BITS)
    for _ in range(given.repeats):
        theirs, plain_seconds = timed(lambda: plainly(ghn, genotypes, space, images))
        ours, own_seconds = timed(lambda: score_networks(ghn, genotypes, space, images, PAPER_BITS))
        times["plain"].append(plain_seconds)
        times["ours"].append(own_seconds)
    for place, bits in enumerate(PAPER_BITS):
        pairs = [(row[place].top1, other[place]) for row, other in zip(ours, theirs, strict=True)]
        means = [mean(column) for column in zip(*pairs, strict=True)]
        largest = max(abs(mine - other) for mine, other in pairs)
        print(
            f"{bits!s:5} mean accuracy {means[0]:.2f}, plain {means[1]:.2f}; largest difference of a net {largest:.2f}"
        )
    for name, values in times.items():
        print(f"{name:5} {spread([count / value for value in values])} evaluations a second")
    ratio = median(plain / own for plain, own in zip(times["plain"], times["ours"], strict=True))
    finish(score=round(ratio, 2), data=data.name, space=space.name, n=count, images=len(images), threads=given.threads)


if __name__ == "__main__":
    main()
