"""What a training step of a network costs in time, from its plan alone, relative to other networks.

A search that is given minutes gives all full runs the same time, not the same steps: networks of equal
multiply-accumulates differ threefold in images a second. Timing each would let chance decide who gets how many steps,
so prices are counted, and only how long the usual network takes is measured, once.
"""

from math import prod

from qnas.network.plan import Plan

PRICES = {"spatial": 91.0, "pointwise": 54.0, "depthwise": 439.0, "values": 4600.0, "nodes": 656.0}
"""Microseconds of what ``work`` counts: of 65 networks (``benchmarks/results/prices.jsonl``) on one core of an AMD EPYC
that multiplies bfloat16, torch 2.13. Of networks that they are not fitted to, the median error is 12 %, that of one in
ten more than 27 %."""


def work(plan: Plan, batch: int) -> dict[str, float]:
    """What training on one image in a batch of this size takes, by kinds of work.

    Returns:
        Millions of multiply-accumulates of dense convolutions of more than one pixel, of one pixel and linear, and of
        depthwise ones; millions of values that nodes give; and the image's part of the nodes of a step, which take
        their time however many images it has.
    """
    found = dict.fromkeys(PRICES, 0.0) | {"nodes": len(plan.nodes) / batch}
    for node in plan.nodes:
        values = prod(node.shape) / 1e6
        kind = "depthwise" if node.groups > 1 else "spatial" if node.kernel > 1 else "pointwise"
        found["values"] += values
        found[kind] += values * node.channels_in * node.kernel**2 / node.groups
    return found


def price(plan: Plan, batch: int) -> float:
    """Roughly the microseconds that an image of a training step takes on one core, for batches of this size."""
    return sum(PRICES[kind] * amount for kind, amount in work(plan, batch).items())
