"""What a quantization-aware training step costs, beside a plain float loop of torch's own modules.

    python benchmarks/train.py --networks 8 --bits w4a4

The first held-out networks of a space, and ResNet-8. Steps of both kinds are timed in turn, so that other work on the
machine counts for both; images lie ready, the optimizer is AdamW in both. Prints a line a network; the last line is
JSON: images a second, the ratio to the plain loop, and its geometric mean.
"""

from collections.abc import Callable
from statistics import geometric_mean, median

import torch
import torch.nn.functional as F
from common import finish, load, networks, options, settle, spread, timed
from ppuda_reference import PlainNetwork
from torch import Tensor

import qnas
from qnas.network.build import Architecture, build_plan
from qnas.network.costs import costs
from qnas.network.handmade import HandMade
from qnas.network.plan import Plan
from qnas.training.price import price
from qnas.training.qat import begun
from qnas.training.recipe import Recipe


def plain_step(plan: Plan, images: Tensor, labels: Tensor) -> Callable[[], object]:
    """A step of the plain loop on one batch."""
    network = PlainNetwork(plan).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    images = images.contiguous(memory_format=torch.channels_last)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        optimizer.step()

    return step


def main() -> None:
    """Time all networks."""
    given = options(
        __doc__, data="fashion", space="fashion", bits="w4a4", networks=8, batch=(Recipe.batch, "images a step"),
        repeats=20,
    )  # fmt: skip
    settle()
    data, space = load(given.data, given.space)
    bits = qnas.Bits.parse(given.bits)
    chosen: list[Architecture] = [*networks(space, given.networks, part="held_out", bits=bits)]
    chosen += [HandMade("resnet8", width, bits) for width in (8, 16)]
    images, labels = data.train.batch(slice(0, given.batch))
    ratios, rates, priced = [], [], []
    for architecture in chosen:
        plan = build_plan(architecture, data.task)
        training = begun(plan, data, Recipe(10**6, batch=given.batch), 0)
        steps: list[Callable[[], object]] = [training.step, plain_step(plan, images, labels)]
        for step in steps * 2:
            step()
        pairs = [[timed(step)[1] for step in steps] for _ in range(given.repeats)]
        quantized, plain = (median(column) for column in zip(*pairs, strict=True))
        ratios.append(quantized / plain)
        rates.append(given.batch / quantized)
        priced.append(1e6 * quantized / given.batch / price(plan, given.batch))
        print(f"{architecture.key}: {costs(plan).macs / 1e6:.2f} M MACs, {rates[-1]:.0f} images/s, {ratios[-1]:.2f} x")
    print("ratio to plain:", spread(ratios), "  measured to price:", spread(priced))
    finish(
        bits=given.bits, batch=given.batch, n=len(chosen), ratio=geometric_mean(ratios), ratios=ratios,
        images_per_second=rates, measured_to_price=priced,
    )  # fmt: skip


if __name__ == "__main__":
    main()
