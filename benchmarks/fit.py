"""How fast a hypernetwork trains, beside GHN-2's published trainer on the same networks, images and threads.

    python benchmarks/fit.py --reference PATH           # a checkout of facebookresearch/ppuda
    python benchmarks/fit.py                            # beside the same step written plainly

A step of theirs begins with finished modules and graphs, as their data set holds them; a step of ours with the
genotypes. Both predict float parameters, run every network on a batch of images forward and backward, and update the
hypernetwork. The last line is JSON: the median over the steps of their time by ours.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import plain_forward
import plain_ghn
import torch
import torch.nn.functional as F
from common import finish, networks, options, seconds, settle, spread
from ppuda_reference import NAME, Reference
from torch import Tensor

from qnas.data.images import DataSet, split_data
from qnas.ghn.config import GHN_2
from qnas.ghn.model import GHN
from qnas.network.build import build_plan
from qnas.network.plan import Plan
from qnas.quant.scheme import PAPER_BITS
from qnas.space.genotype import Genotype
from qnas.space.space import SearchSpace, find_space
from qnas.training.fit_ghn import GHNTrainer
from qnas.training.fit_settings import FitSettings

Step = Callable[[list[Plan], Tensor, Tensor], None]


def noise_images(space: SearchSpace, count: int) -> DataSet:
    """Random images of the space's shape: what they show does not change how long a step takes."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (2 * count, *space.task.image), dtype=torch.uint8, generator=generator).numpy()
    labels = (torch.arange(2 * count) % space.task.classes).numpy()
    names = tuple(str(number) for number in range(space.task.classes))
    return split_data("noise", names, (pixels, labels), (pixels, labels), count)


def plain_step(ghn: GHN) -> Step:
    """One update, every network and every tensor on its own, by autograd alone."""
    optimizer = torch.optim.Adam(ghn.parameters(), 1e-3, weight_decay=1e-5)

    def step(plans: list[Plan], images: Tensor, labels: Tensor) -> None:
        optimizer.zero_grad()
        losses = []
        for plan in plans:
            graph = plain_ghn.PlainGraph(plan, ghn.config.virtual_edges)
            states = plain_ghn.swept(ghn, plain_ghn.embedded(ghn, plan, graph), graph)
            slots = {s.name: plain_ghn.decoded(ghn, states[graph.node_of[s.name]], s) for s in plan.slots}
            losses.append(F.cross_entropy(plain_forward.forward(plan, slots, images), labels))
        torch.stack(losses).mean().backward()
        torch.nn.utils.clip_grad_norm_(ghn.parameters(), 5)
        optimizer.step()

    return step


def main() -> None:
    """Measure and print."""
    given = options(
        __doc__, reference=Path, space="mobile", steps=6, meta_batch=(4, "networks a step"),
        batch=(32, "images a network"), threads=1,
    )  # fmt: skip
    settle(given.threads)
    space = find_space(given.space)
    data = noise_images(space, 256)
    ghn = GHN(GHN_2)
    reference = Reference(given.reference, ghn) if given.reference else None
    plainly = plain_step(GHN(GHN_2))
    size = given.meta_batch
    genotypes = networks(space, (given.steps + 1) * size, part="train")
    chosen: dict[int, Genotype] = {}

    class Trainer(GHNTrainer):
        """Ours, on the networks that the rival has."""

        def draw(self, seed: int, quantized: bool) -> Plan:
            bits = PAPER_BITS[seed % 5] if quantized else PAPER_BITS[0]
            return build_plan(chosen[seed % size].with_bits(bits), space.task)

    def trainer(float_share: float) -> Trainer:
        settings = FitSettings(10**6, float_share=float_share, meta_batch=size, batch=given.batch, optimizer="adam")
        return Trainer(GHN(GHN_2), data, space, settings)

    ours, quantized = trainer(1.0), trainer(0.0)
    images, labels = data.train.batch(slice(0, given.batch))
    times: dict[str, list[float]] = {"theirs": [], "ours": [], "ours, quantization-aware": []}
    for number in range(given.steps + 1):  # the first one warms up
        mine = genotypes[number * size : (number + 1) * size]
        chosen.update(enumerate(mine))
        plans = [build_plan(genotype, space.task) for genotype in mine]
        work: dict[str, Callable[[], object]] = {
            "theirs": reference.step(plans, images, labels) if reference else partial(plainly, plans, images, labels),
            "ours": ours.step,
            "ours, quantization-aware": quantized.step,
        }
        for name, act in work.items():
            times[name].append(seconds(act))
    passes = size * given.batch
    for name, values in times.items():
        rates = [1 / value for value in values[1:]]
        passes = size * given.batch * median(rates)
        print(f"{name:25} {spread(rates, 3)} steps a second, {passes:.0f} image-passes a second")
    pairs = [theirs / own for theirs, own in zip(times["theirs"][1:], times["ours"][1:], strict=True)]
    finish(
        step=round(median(pairs), 2), against=NAME if reference else "the same step written plainly", meta_batch=size,
        batch=given.batch, n=given.steps, threads=given.threads,
    )  # fmt: skip


if __name__ == "__main__":
    main()
