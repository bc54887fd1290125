"""How fast a hypernetwork trains, beside GHN-2's published trainer on the same networks, images and threads.

    python benchmarks/fit.py --reference PATH           # a checkout of facebookresearch/ppuda
    python benchmarks/fit.py                            # beside the same step written plainly

A step of theirs begins with finished modules and graphs, as their data set holds them; a step of ours with the
genotypes. Both predict float parameters, run every network on a batch of images forward and backward, and update the
hypernetwork. The last line is JSON: the median over the steps of their time by ours.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path

import plain_forward
import plain_ghn
import torch
import torch.nn.functional as F
from ppuda_reference import Reference
from torch import Tensor

from qnas.data.images import DataSet, split_data
from qnas.ghn.config import GHN_2
from qnas.ghn.model import GHN
from qnas.network.build import build_plan
from qnas.network.plan import Plan
from qnas.quant.scheme import PAPER_BITS
from qnas.sampling.generator import stream
from qnas.space.genotype import Genotype
from qnas.space.space import SearchSpace, find_space
from qnas.training.fit_ghn import GHNTrainer
from qnas.training.fit_settings import FitSettings

Step = Callable[[list[Plan], Tensor, Tensor], None]


def noise_images(space: SearchSpace, count: int) -> DataSet:
    """Random images of the space's shape: what they show does not change how long a step takes."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (2 * count, *space.image), dtype=torch.uint8, generator=generator).numpy()
    labels = (torch.arange(2 * count) % space.classes).numpy()
    names = tuple(str(number) for number in range(space.classes))
    return split_data("noise", names, (pixels, labels), (pixels, labels), count)


def plain_step(ghn: GHN) -> Step:
    """One update, every network and every tensor on its own, by autograd alone."""
    optimizer = torch.optim.Adam(ghn.parameters(), 1e-3, weight_decay=1e-5)

    def step(plans: list[Plan], images: Tensor, labels: Tensor) -> None:
        optimizer.zero_grad()
        losses = []
        for plan in plans:
            graph = plain_ghn.PlainGraph(plan)
            states = plain_ghn.swept(ghn, plain_ghn.embedded(ghn, plan, graph), graph)
            slots = {s.name: plain_ghn.decoded(ghn, states[graph.node_of[s.name]], s) for s in plan.slots}
            losses.append(F.cross_entropy(plain_forward.forward(plan, slots, images), labels))
        torch.stack(losses).mean().backward()
        torch.nn.utils.clip_grad_norm_(ghn.parameters(), 5)
        optimizer.step()

    return step


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reference", type=Path, help="checkout of facebookresearch/ppuda")
    parser.add_argument("--space", default="mobile")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--meta-batch", type=int, default=4)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    space = find_space(arguments.space)
    data = noise_images(space, 256)
    ghn = GHN(GHN_2)
    reference = Reference(arguments.reference, ghn) if arguments.reference else None
    plainly = plain_step(GHN(GHN_2))
    size = arguments.meta_batch
    genotypes = list(islice(stream(space, 0, "train"), (arguments.steps + 1) * size))
    chosen: dict[int, Genotype] = {}

    class Trainer(GHNTrainer):
        """Ours, on the networks that the rival has."""

        def draw(self, seed: int, quantized: bool) -> Plan:
            bits = PAPER_BITS[seed % 5] if quantized else PAPER_BITS[0]
            return build_plan(chosen[seed % size].with_bits(bits), space.task)

    def trainer(float_share: float) -> Trainer:
        settings = FitSettings(10**6, float_share=float_share, meta_batch=size, batch=arguments.batch)
        return Trainer(GHN(GHN_2), data, space, settings)

    ours, quantized = trainer(1.0), trainer(0.0)
    images, labels = data.train.batch(slice(0, arguments.batch))
    times: dict[str, list[float]] = {"theirs": [], "ours": [], "ours, quantization-aware": []}
    for number in range(arguments.steps + 1):  # the first one warms up
        mine = genotypes[number * size : (number + 1) * size]
        chosen.update(enumerate(mine))
        plans = [build_plan(genotype, space.task) for genotype in mine]
        work: dict[str, Callable[[], object]] = {
            "theirs": reference.step(plans, images, labels) if reference else partial(plainly, plans, images, labels),
            "ours": ours.step,
            "ours, quantization-aware": quantized.step,
        }
        for name, act in work.items():
            started = time.perf_counter()
            act()
            times[name].append(time.perf_counter() - started)
    passes = size * arguments.batch
    for name, values in times.items():
        rates = sorted(1 / value for value in values[1:])
        median = statistics.median(rates)
        spread = f"{rates[0]:.3f} to {rates[-1]:.3f}"
        print(f"{name:25} {median:.3f} steps a second ({spread}), {passes * median:.0f} image-passes a second")
    pairs = [(theirs / own) for theirs, own in zip(times["theirs"][1:], times["ours"][1:], strict=True)]
    print(json.dumps({
        "step": round(statistics.median(pairs), 2),
        "against": "facebookresearch/ppuda" if reference else "the same step written plainly",
        "meta_batch": size, "batch": arguments.batch, "n": arguments.steps, "threads": arguments.threads,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
